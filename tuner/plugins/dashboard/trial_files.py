"""The artifacts of a trial in optuna-dashboard: files of its run folder, its curve, files of the workload.

Files are read from the run folder. The others are made when a user opens them. So nothing is copied or out of
date.
"""

from __future__ import annotations

import io
import mimetypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO
from xml.sax.saxutils import escape

from tuner.base.errors import InputError
from tuner.base.run_folder import CONFIG, METRICS, RESULT, TRIAL

CURVE = "learning_curve.svg"
FILES = (CONFIG, METRICS, RESULT, TRIAL, "output.log")
TYPES = {".jsonl": "application/x-ndjson", ".log": "text/plain", ".csv": "text/csv"}
SIZE = (640, 320)  # of the curve, in pixels
MARGIN = (60, 20, 34, 44)  # left, right, top, bottom


Made = Mapping[str, Callable[[], bytes]]  # files of the workload, made when a user opens them


def available(folder: Path | None, *, reports: int, made: Made) -> list[str]:
    """Names of the files of a trial. `reports`: the number of reported values."""
    found = [CURVE] if reports > 1 else []
    if folder is None:
        return found
    return [*found, *made, *(name for name in FILES if (folder / name).is_file())]


def media_type(name: str) -> str:
    """The MIME type of a file, from its name."""
    return TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


def open_file(
    name: str,
    folder: Path | None,
    *,
    curve: Mapping[int, float],
    title: str,
    made: Made,
) -> BinaryIO:
    """A file of `available` for reading.

    Args:
        curve: epoch (from 1) → objective.
        title: title of the curve.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if name == CURVE:
        return io.BytesIO(curve_svg(curve, title=title).encode())
    if folder is None:
        raise FileNotFoundError(name)
    if name in made:
        try:
            return io.BytesIO(made[name]())
        except (InputError, KeyError, ValueError) as error:
            raise FileNotFoundError(f"{name}: {error}") from None
    if name not in FILES:
        raise FileNotFoundError(name)
    return (folder / name).open("rb")


def curve_svg(curve: Mapping[int, float], *, title: str) -> str:
    """A learning curve as SVG on white. Without a plotting library, to be fast."""
    points = sorted(curve.items())
    epochs, values = [e for e, _ in points], [v for _, v in points]
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - pad, high + pad
    first, last = min(epochs), max(max(epochs), min(epochs) + 1)
    left, right, top, bottom = MARGIN
    width, height = SIZE[0] - left - right, SIZE[1] - top - bottom

    def place(epoch: float, value: float) -> tuple[float, float]:
        x = left + width * (epoch - first) / (last - first)
        return round(x, 1), round(top + height * (high - value) / (high - low), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE[0]} {SIZE[1]}" width="{SIZE[0]}" '
        f'height="{SIZE[1]}" font-family="sans-serif" font-size="12" fill="#1b2430">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{left}" y="20" font-size="13">{escape(title)}</text>',
    ]
    for k in range(5):
        value = low + (high - low) * (k + 0.5) / 5
        _, y = place(first, value)
        parts.append(f'<path d="M{left} {y}H{left + width}" stroke="#d8dee5"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{value:.3g}</text>')
    step = max(1, -(-(last - first) // 8))
    for epoch in range(first, last + 1, step):
        x, _ = place(epoch, low)
        parts.append(f'<text x="{x}" y="{SIZE[1] - 26}" text-anchor="middle">{epoch}</text>')
    parts.append(f'<text x="{left + width / 2}" y="{SIZE[1] - 8}" text-anchor="middle">epoch</text>')
    parts.append(
        f'<text transform="translate(14 {top + height / 2}) rotate(-90)" text-anchor="middle">'
        "objective</text>"
    )
    places = [place(*point) for point in points]
    path = " ".join(f"{x},{y}" for x, y in places)
    parts.append(f'<polyline points="{path}" fill="none" stroke="#2563a8" stroke-width="2"/>')
    parts += [f'<circle cx="{x}" cy="{y}" r="2.2" fill="#2563a8"/>' for x, y in places]
    return "".join([*parts, "</svg>"])
