"""Finds CSV recordings and reads them into arrays.

A recording is a `.csv` or `.csv.gz` with a row every ~0.26 s. Its columns are `board.Channel` of the sensor
boards, motor currents (`spindle`, `x_motor` …), the state of the controller, and `gcode_string`, the line in
execution.
"""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from model.controller_log import read_log, read_setup
from model.tokens import ENDLESS, LONGEST_LINE, canonical
from tuner.base.errors import InputError
from tuner.base.files import check_file

MOTORS = tuple(name + twin for name in ("spindle", "x_motor", "y_motor", "z_motor") for twin in ("", "_A"))
POSITION = ("mpox", "mpoy", "mpoz")
LINE_TEXT = "gcode_string"
SUFFIXES = (".csv", ".csv.gz")

_SENSOR = re.compile(r"\w+\.[A-Za-z]\w*")
_NUMBERED = re.compile(r"(?P<operation>.+)_\d+")
_NUMBER = re.compile(rb"[-+]?[0-9.]+(e[-+]?[0-9]+)?", re.IGNORECASE)
_DUPLICATED = re.compile(r"(?P<column>.+)_duplicated_\d+")
LARGEST_RATIO, UNSUSPICIOUS = 200, 64 * 2**20  # a CSV compresses to a fifth; a zip bomb, to 1/1000
LARGEST = 256 * 2**20  # bytes of a recording: some twelve hours
LONGEST_ROW = 2**20  # bytes
FROZEN_ROWS = 20  # last rows without any change in any channel: the boards had stopped sending


@dataclass(frozen=True)
class RecordingFile:
    """One recording in memory: its rows that have a line, `channels` in the order of the file.

    `lines`: the canonical line of each row, "" in a file without lines. `position`: NaN if the file has none.
    """

    name: str
    source: str
    channels: tuple[str, ...]
    signals: np.ndarray  # (rows, channels) float32
    position: np.ndarray  # (rows, 3) float32, millimetres
    lines: tuple[str, ...]
    log: np.ndarray  # (rows,) of `controller_log.ROW`
    setup: str = ""  # modal words that hold in it, such as `G20 G90`
    dropped_rows: int = 0
    filled_cells: int = 0  # empty or infinite sensor cells, filled with the value before
    runs: int = 1
    frozen_rows: int = 0

    @property
    def operation(self) -> str:
        """The operation: the name up to `_NNN`."""
        return operation_of(self.name)


def operation_of(name: str) -> str:
    """`face150025_009` → `face150025`; a name without a number is its own operation."""
    match = _NUMBERED.fullmatch(name)
    return match["operation"] if match else name


def is_sensor(column: str) -> bool:
    """Whether a column is a sensor: `board.Channel` or a motor current, but not the controller state."""
    return column in MOTORS or _SENSOR.fullmatch(column) is not None


def name_of(path: Path) -> str:
    """`face_012_aligned.csv.gz` → `face_012`."""
    return re.sub(r"(_aligned)?\.csv(\.gz)?$", "", path.name)


def find_recordings(sources: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """All recordings in files and (nested) folders, sorted by name, and the other files.

    Raises:
        InputError: a source is missing or not a CSV, a folder is empty, or two recordings have the same name.
    """
    found: list[Path] = []
    others: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            inside = [path for path in sorted(source.rglob("*")) if not path.is_dir()]
            hits = [path for path in inside if _looks_like_recording(path)]
            if not hits:
                raise InputError(
                    f"{source}: no .csv or .csv.gz in this folder; give the folder of the recordings"
                )
            found += hits
            others += [path for path in inside if not _looks_like_recording(path)]
        elif not source.exists():
            raise InputError(f"{source}: no such file or folder")
        elif not _looks_like_recording(source):
            raise InputError(f"{source}: not a recording; expected a .csv or .csv.gz file")
        else:
            found.append(source)
    if not found:
        raise InputError("no recording given; name a folder or .csv and .csv.gz files")
    by_name: dict[str, Path] = {}
    for path in dict.fromkeys(found):
        other = by_name.setdefault(name_of(path), path)
        if other is not path:
            raise InputError(
                f"two recordings are named '{name_of(path)}': {other} and {path}; rename or remove one"
            )
    return [by_name[name] for name in sorted(by_name)], others


def read_recording(path: Path, *, require_lines: bool = True) -> RecordingFile:
    """Reads one recording. If lines are required, rows without one are dropped and counted.

    Raises:
        InputError: unreadable, cut off, not a CSV, no lines, no sensor column, or a cell is not a number.
    """
    table = _read_table(path)
    return from_table(
        table, name=name_of(path), source=path.name, where=str(path), require_lines=require_lines
    )


def from_table(
    table: pl.DataFrame, *, name: str, source: str, where: str, require_lines: bool = True
) -> RecordingFile:
    """A recording from a table (sensors as float32); errors name it `where`. See `read_recording`."""
    channels = tuple(column for column in table.columns if is_sensor(column))
    if not channels:
        raise InputError(f"{where}: not a recording: no sensor column (expected names like 'frame_r2.Ax')")
    if LINE_TEXT not in table.columns:
        if require_lines:
            raise InputError(f"{where}: no column '{LINE_TEXT}'; training needs the line of each row")
        lines = [""] * table.height
    else:
        spelled = {text: _spelled(text, where) for text in table[LINE_TEXT].drop_nulls().unique().to_list()}
        lines = [spelled.get(text, "") for text in table[LINE_TEXT].to_list()]
    rows = table.height
    if require_lines:
        keep = np.array([line != "" for line in lines], dtype=bool)
        table, lines = table.filter(pl.Series(keep)), [line for line in lines if line]
    if not lines:
        raise InputError(f"{where}: no row has a line in '{LINE_TEXT}'" if rows else f"{where}: no rows")
    signals, filled = _numbers(table, channels)
    live = ~np.isnan(signals[0]) if len(signals) else np.ones(len(channels), dtype=bool)
    signals, channels = signals[:, live], tuple(c for c, there in zip(channels, live, strict=True) if there)
    if not channels:
        raise InputError(f"{where}: no sensor column has a number in it")
    log = read_log(table)
    return RecordingFile(
        name=name,
        source=source,
        channels=channels,
        signals=np.ascontiguousarray(signals),
        position=_position(table),
        lines=tuple(lines),
        log=log,
        setup=read_setup(table),
        dropped_rows=rows - len(lines),
        filled_cells=filled,
        runs=count_runs(log["number"][log["number"] >= 0].tolist()),
        frozen_rows=_frozen(signals),
    )


def _spelled(text: str, where: str) -> str:
    """The canonical line; InputError for text that no controller would accept as a line."""
    if len(text) > LONGEST_LINE:
        raise InputError(
            f"{where}: a line of {len(text):,} characters, longer than {LONGEST_LINE}: '{text[:20]}…'"
        )
    if number := ENDLESS.search(text):
        raise InputError(
            f"{where}: expected a number of at most 40 digits in a line, got '{number[0][:20]}…'"
        )
    return canonical(text)


def count_runs(numbers: Sequence[int]) -> int:
    """How often the program was run in one recording, from the line number in each row.

    A run ends when the number falls by more than half of the program after at least half of the distinct
    lines were seen. (A recording may start with rows of the previous program or of queued lines. The clock of
    the controller does not help: in one file it lacks the hour.)
    """
    if not numbers:
        return 1
    span, distinct = max(numbers) - min(numbers), len(set(numbers))
    runs, seen = 1, set[int]()
    for before, now in pairwise(numbers):
        seen.add(before)
        if before - now > span / 2 and 2 * len(seen) >= distinct > 2:
            runs, seen = runs + 1, set()
    return runs


def _looks_like_recording(path: Path) -> bool:
    return path.name.endswith(SUFFIXES) and not path.name.startswith(".")


def _read_table(path: Path) -> pl.DataFrame:
    """Sensors and position as float32, the rest as text; any error becomes an InputError of one line."""
    content = _content(path).removeprefix(codecs.BOM_UTF8)
    header = content[: content.find(b"\n") + 1] or content
    _check_text(content, header, path)
    _check_shape(content, path)
    if b", " in header or header.startswith(b" "):
        plain = b",".join(map(bytes.strip, header.split(b","))) + b"\n"
        header, content = plain, plain + content[len(header) :]
    try:
        columns = pl.read_csv(header, infer_schema=False).columns
        numeric = {column: pl.Float32 for column in columns if is_sensor(column) or column in POSITION}
        try:
            table = pl.read_csv(content, infer_schema=False, schema_overrides=numeric)
        except pl.exceptions.ComputeError:
            _name_bad_cell(pl.read_csv(content, infer_schema=False), numeric, path)
            raise
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable CSV ({str(error).splitlines()[0]})") from None
    for column in table.columns:
        if twice := _DUPLICATED.fullmatch(column):
            raise InputError(f"{path}: two columns are named '{twice['column']}'")
    return table


def _content(path: Path) -> bytes:
    try:
        check_file(path, LARGEST)
        return _unzipped(path) if path.suffix == ".gz" else path.read_bytes()
    except EOFError:
        raise InputError(f"{path}: the .gz is cut off; copy or download it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: not a readable .gz file ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _unzipped(path: Path) -> bytes:
    """The content of a .gz; InputError as soon as it is suspiciously large."""
    limit = min(max(UNSUSPICIOUS, LARGEST_RATIO * path.stat().st_size), LARGEST)
    parts, size = [], 0
    with gzip.open(path) as file:
        while part := file.read(2**22):
            parts.append(part)
            size += len(part)
            if size > limit:
                much = f"{LARGEST // 2**20} MiB" if limit == LARGEST else f"{LARGEST_RATIO} times its size"
                raise InputError(f"{path}: expands to more than {much}: no recording")
    return b"".join(parts)


def _check_text(content: bytes, header: bytes, path: Path) -> None:
    """InputError for a file that was not saved as this program reads it, with what to save it as."""
    if header.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{path}: the text is UTF-16; save it as a CSV in UTF-8")
    if b"\0" in content:
        raise InputError(f"{path}: not a readable CSV (it holds bytes of zero)")
    if not header.strip():
        raise InputError(f"{path}: the file is empty; expected a row with the names of the columns")
    if b"," not in header and (other := next((mark for mark in b";\t|" if mark in header), None)):
        name = "tabs" if other == ord("\t") else f"'{chr(other)}'"
        raise InputError(f"{path}: the columns are separated by {name}; save the file with commas")
    cells = header.split(b",")
    if 2 * sum(_NUMBER.fullmatch(cell.strip()) is not None for cell in cells) > len(cells):
        raise InputError(
            f"{path}: the first row holds numbers; expected the names of the columns, such as frame_r2.Ax"
        )


def _check_shape(content: bytes, path: Path) -> None:
    """InputError for what is no table: endless rows, rows with other cells than the header."""
    if b'"' in content:  # commas and ends of lines between quotes are text
        content = re.sub(rb'"[^"]*"', b"", content)
    letters = np.frombuffer(content if content.endswith(b"\n") else content + b"\n", dtype=np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    longest = int((ends - starts).argmax())
    if ends[longest] - starts[longest] > LONGEST_ROW:
        name = f"row {longest}" if longest else "the header"
        raise InputError(f"{path}: not a recording: {name} is longer than {LONGEST_ROW // 2**20} MiB")
    commas = np.add.reduceat(letters == ord(","), starts, dtype=np.int32)
    blank = ends - starts <= (letters[ends - 1] == ord("\r"))
    if (wrong := np.flatnonzero((commas != commas[0]) & ~blank)).size:
        row = int(wrong[0])
        raise InputError(
            f"{path}: not a readable CSV: row {row} has {commas[row] + 1} cells, the header {commas[0] + 1}"
        )


def _name_bad_cell(text: pl.DataFrame, numeric: Iterable[str], path: Path) -> None:
    for column in numeric:
        parsed = text[column].cast(pl.Float32, strict=False)
        bad = (text[column].is_not_null() & parsed.is_null()).arg_true()
        if len(bad):
            row = int(bad[0])
            raise InputError(
                f"{path}: column '{column}', row {row + 1}: expected a number, got {text[column][row]!r}"
            )


def _numbers(table: pl.DataFrame, columns: Sequence[str]) -> tuple[np.ndarray, int]:
    """(rows, columns) float32 and the number of filled cells; a column without any value stays NaN."""
    values = table.select(columns).to_numpy()
    missing = ~np.isfinite(values)
    some = missing.any(axis=0) & ~missing.all(axis=0)
    values = np.where(missing, np.float32("nan"), values) if missing.any() else values
    for column in np.flatnonzero(some):
        filled = pl.Series(values[:, column]).fill_nan(None).fill_null(strategy="forward")
        values[:, column] = filled.fill_null(strategy="backward").to_numpy()
    return np.ascontiguousarray(values), int(missing[:, some].sum())


def _position(table: pl.DataFrame) -> np.ndarray:
    if not set(POSITION) <= set(table.columns):
        return np.full((table.height, len(POSITION)), np.nan, dtype=np.float32)
    return _numbers(table, POSITION)[0]


def _frozen(signals: np.ndarray) -> int:
    """The number of last rows in which nothing changes; 0 if fewer than `FROZEN_ROWS`."""
    changes = np.flatnonzero((signals[1:] != signals[:-1]).any(axis=1))
    still = len(signals) - 1 - (int(changes[-1]) + 1 if len(changes) else 0)
    return still if still >= FROZEN_ROWS else 0
