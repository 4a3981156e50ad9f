"""URLs of SQLite files: `sqlite:///FILE`, with `%`, `?` and `#` in the path as `%25`, `%3F` and `%23`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from tuner.base.errors import InputError

PREFIX = "sqlite:///"


def sqlite_url(path: Path) -> str:
    """The URL of a file, as SQLAlchemy 2.1 reads it."""
    text = str(path)
    for mark, quoted in (("%", "%25"), ("?", "%3F"), ("#", "%23")):
        text = text.replace(mark, quoted)
    return f"{PREFIX}{text}"


def sqlite_path(url: str) -> Path | None:
    """The file of a `sqlite:///FILE` URL; None for other URLs. Raises InputError if it has a query."""
    name = url.removeprefix(PREFIX)
    if name in ("", ":memory:", url):  # agents are processes: a database in memory is of one alone
        return None
    if "?" in name:
        raise InputError(f"{url}: expected sqlite:///FILE without '?'; in the name of a file write %3F")
    return Path(unquote(name))
