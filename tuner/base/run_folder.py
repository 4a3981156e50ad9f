"""A run's folder: written under a temporary name, then renamed. So it is complete or absent."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

from tuner.base.errors import DamagedFile, InputError, reason_of
from tuner.base.files import check_file, make_folder, write_json, writing
from tuner.base.words import is_finite

CONFIG = "config.json"
METRICS = "metrics.jsonl"
RESULT = "result.json"
TRIAL = "trial.json"  # how the trial ended, written by the tuner; result.json is written by the run
METRICS_LIMIT = 64 << 20  # bytes of metrics.jsonl; then every second line is left out, and again
STORED = "artifacts.json"  # in a results folder: its runs are also in an artefact store

T = TypeVar("T")


def if_readable(read: Callable[[Path], T], path: Path) -> T | None:
    """What `read` makes of a run's file; None if there is none, or it is damaged: a warning says so."""
    try:
        return read(path) if path.exists() else None
    except (InputError, OSError) as error:
        warnings.warn(f"left out: {reason_of(error, where=True)}", DamagedFile, stacklevel=2)
        return None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`, oldest first.

    Skips an incomplete last line (of a killed writer), and what else is no line of metrics: scripts write
    beside it.

    Raises:
        InputError: it is a device or a pipe, or larger than the tuner writes it.
    """
    lines = []
    for line in (
        check_file(path, 2 * METRICS_LIMIT).read_text(encoding="utf-8", errors="replace").splitlines()
    ):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            lines.append(found)
    return lines


def lines_before(epoch: int, lines: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of `lines` that are of earlier epochs."""
    return [line for line in lines if is_finite(at := line.get("epoch")) and at < epoch]


# called with an epoch, counted from 0, and its metrics; may raise
Report = Callable[[int, Mapping[str, float]], None]


def check(report: Report) -> None:
    """Raises what `report` would raise now. Called between reports by work that can be ended at any time."""
    ask = getattr(report, "check", None)
    if ask is not None:
        ask()


def due(report: Report, epoch: int) -> bool:
    """Whether `report` needs the metric of this epoch (from 0). One that does not say needs all."""
    ask = getattr(report, "due", None)
    return ask is None or bool(ask(epoch))


class RunFolder:
    """Collects a run's files in `<final>.partial-<pid>` and renames the folder to `final` at the end.

    A context manager. A run that ends without `finish` (an unexpected exception, a kill) leaves only the
    partial folder. The next run with the same `final` removes it, and keeps what it printed as
    `output-1.log`.

    Args:
        checkpoint: the trial's checkpoint. The lines of metrics are kept beside it until the run ends, so
            that a trial that goes on from it has all of them.

    Attributes:
        before: the lines of metrics that an interrupted trial left. The first `log` of an epoch takes those
            of earlier epochs over and drops the others.
    """

    def __init__(self, final: Path, *, checkpoint: Path | None = None) -> None:
        self.final = final
        self.path = final.with_name(f"{final.name}.partial-{os.getpid()}")
        self.before: list[dict[str, Any]] = []
        self.metrics_file = (self.path if checkpoint is None else checkpoint.parent) / METRICS
        self._metrics: IO[str] | None = None
        self._stride = 1  # of so many lines one is kept
        self._count = 0

    def __enter__(self) -> RunFolder:
        make_folder(self.final.parent)
        left_over = sorted(self.final.parent.glob(f"{self.final.name}.partial-*"))
        kept = [log.read_bytes() for folder in left_over for log in sorted(folder.glob("output*.log"))]
        for folder in left_over:
            shutil.rmtree(folder, ignore_errors=True)
        make_folder(self.path, private=True)
        for number, content in enumerate(kept, 1):  # of runs that were interrupted
            with writing(self.path):
                (self.path / f"output-{number}.log").write_bytes(content)
        self.before = if_readable(read_metrics, self.metrics_file) or []
        with writing(self.metrics_file):
            if not self.before:  # a file without a whole line is begun again
                self.metrics_file.unlink(missing_ok=True)
            self._metrics = self.metrics_file.open("a+", encoding="utf-8")
        return self

    def log(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Appends one line of metrics and flushes it. The line stays even if the tracker fails."""
        assert self._metrics is not None, "RunFolder is used in a with block"
        if self.before:
            self.log_anew(lines_before(epoch, self.before))
        self._count += 1
        if self._count % self._stride:
            return
        with writing(self.metrics_file):
            self._metrics.write(json.dumps({"epoch": epoch, **metrics}) + "\n")
            self._metrics.flush()
        if self._metrics.tell() > METRICS_LIMIT:
            self._stride *= 2
            self.log_anew(read_metrics(self.metrics_file)[1::2])

    def log_anew(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Writes `lines` in place of the metrics so far."""
        assert self._metrics is not None, "RunFolder is used in a with block"
        self.before = []
        with writing(self.metrics_file):
            self._metrics.truncate(0)
            self._metrics.writelines(json.dumps(dict(line)) + "\n" for line in lines)
            self._metrics.flush()

    def finish(self, result: Mapping[str, Any]) -> Path:
        """Writes `result.json` and renames the folder to `final`. Replaces an older run there.

        Raises:
            CannotWrite: the disk is full, say. It can be called again.
        """
        assert self._metrics is not None, "RunFolder is used in a with block"
        if self._stride > 1:
            note = (
                f"{METRICS} has one line of {self._stride}: it would be larger than {METRICS_LIMIT >> 20} MiB"
            )
            result = {**result, "notes": [*result.get("notes", ()), note]}
        write_json(self.path / RESULT, dict(result))
        with writing(self.final):
            if self.metrics_file.parent != self.path:  # read as it was opened: its name may be another file's
                self._metrics.seek(0)
                with (self.path / METRICS).open("w", encoding="utf-8") as copy:
                    shutil.copyfileobj(self._metrics, copy)
            self._metrics.close()
            if self.final.exists():
                shutil.rmtree(self.final)
            self.path.replace(self.final)
        return self.final

    def __exit__(self, *_: object) -> None:
        if self._metrics is not None:
            with contextlib.suppress(OSError):  # of lines that could not be written: that was said
                self._metrics.close()
