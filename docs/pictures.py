"""Makes the pictures of README.md and docs/ from a real run of the guided demo: `make pictures`.

    python docs/pictures.py            # all
    python docs/pictures.py RESULTS    # of a demo that was run already: the terminal's picture stays

Everything shown is made from data that comes with scikit-learn and the built-in simulator. Needs chromium for
the picture of the report.
"""

from __future__ import annotations

import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 100, 35  # characters
REPORT = (1400, 1000)  # pixels
STUDY, BUNDLE, RECORDING = "digits", "mill", "recordings/pocket_007_aligned.csv.gz"
_CONTROL = re.compile(rb"\x1b\[([?\d;]*)([A-Za-z])|\r|\n|\x1b[=>]")
# a screen; rich's own form fetches a font from another server
SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>.{unique_id}-matrix, .{unique_id}-title {{ font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace;
font-size: {char_height}px; }} {styles}</style>
<defs>{lines}</defs>{chrome}
<g transform="translate({terminal_x}, {terminal_y})">{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


def main(results: Path | None) -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        if results is None:
            screen = end_of(["-m", "tuner", "tour"], Path(scratch))
            (PICTURES / "terminal.svg").write_text(drawn(screen, "tuner tour"))
            results = Path(scratch) / "results" / "tour"
        toolpath(results, PICTURES / "toolpath.svg")
        report(results, Path(scratch), PICTURES / "report.png")
    subprocess.run([sys.executable, ROOT / "docs" / "draw_architecture.py"], check=True)


# -- a terminal


def shown(output: bytes) -> list[Text]:
    """What a terminal shows in the end. Knows what rich writes: colours, lines up, clearing a line."""
    lines, row, at = [b""], 0, 0
    for match in _CONTROL.finditer(output):
        lines[row] += output[at : match.start()]
        at = match.end()
        if match[0] == b"\n":
            row += 1
            lines += [b""] if row == len(lines) else []
        elif match[2] == b"A":
            row = max(0, row - int(match[1] or 1))
        elif match[2] in (b"K", b"J"):
            lines[row] = b""
        elif match[2] == b"m":
            lines[row] += match[0]
    lines[row] += output[at:]
    found: list[Text] = []
    for line in lines:
        text = Text.from_ansi(line.decode(errors="replace"))
        found += text.divide(range(WIDTH, len(text), WIDTH))  # as a terminal breaks long lines
    while len(found) > HEIGHT and not found[-1].plain.strip():
        found.pop()
    return found[-HEIGHT:]


def end_of(command: Sequence[str], folder: Path) -> list[Text]:
    """Runs a command of Python in a terminal; returns the screen at its end."""
    leader, follower = pty.openpty()
    environment = {
        **os.environ, "COLUMNS": str(WIDTH), "LINES": str(HEIGHT), "TERM": "xterm-256color",
        "COLORTERM": "truecolor", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    running = subprocess.Popen(
        [sys.executable, *command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=follower,
        stderr=follower,
    )  # fmt: skip
    os.close(follower)
    screen = shown(b"".join(iter(lambda: _read(leader), b"")))
    if running.wait():
        sys.exit("\n".join(["the demo failed:", *(line.plain for line in screen)]))
    return screen


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 1 << 16)
    except OSError:  # the program has ended
        return b""


def drawn(lines: Sequence[Text], title: str) -> str:
    """A screen as SVG, by rich."""
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    for line in lines:
        console.print(line, no_wrap=True, highlight=False)
    return console.export_svg(title=title, code_format=SVG, unique_id="t")


# -- the tool path and the report


def toolpath(results: Path, target: Path) -> None:
    """The tool path that is decoded from the sensors of a simulated recording."""
    options = ["--bundle", BUNDLE, "--results", results, "--plot", target]
    _python(["-m", "tuner", "inference", "decode", results / RECORDING, *options])


def report(results: Path, scratch: Path, target: Path) -> None:
    """The top of the report about the script's study, in a browser."""
    page = scratch / "report.html"
    _python(["-m", "tuner", "report", STUDY, "--results", results, "--output", page])
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("the picture of the report needs chromium: apt install chromium")
    whole = scratch / "report.png"
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={REPORT[0]},{REPORT[1]}"]
    subprocess.run(
        [browser, *options, "--virtual-time-budget=5000", f"--screenshot={whole}", page.as_uri()],
        check=True, capture_output=True,
    )  # fmt: skip
    with Image.open(whole) as picture:
        picture.convert("RGB").quantize(128).save(target, optimize=True)


def _python(arguments: Sequence[str | Path]) -> None:
    subprocess.run(
        [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
