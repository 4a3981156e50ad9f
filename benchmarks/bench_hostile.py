"""How many hostile inputs were tried, and what came of them: the tests marked `hostile("KIND")`, counted.

    python benchmarks/bench_hostile.py                      all of them, slow ones too
    python benchmarks/bench_hostile.py --quick              those that are not slow
    python benchmarks/bench_hostile.py -k "parser or csv"   some, to look at

A test counts as one input, or as many as it says (`record_property("inputs", N)`). A test that fails is a
traceback, or a wrong answer; one that takes over ten minutes is a hang. The working and home folder are empty
ones for the time: a file that is left there is a stray write. Tests look at their own folders themselves.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import figures
import pytest
from hypothesis.configuration import set_hypothesis_home_dir

SECONDS = 600  # for one test
COLUMNS = ("inputs", "tracebacks", "hangs", "stray writes")


class Hangs(Exception):
    """A test takes too long."""


class Count:
    """Counts the marked tests by kind. `guard`: the working and home folder, which is empty."""

    def __init__(self, guard: Path) -> None:
        self.found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.skipped: Counter[str] = Counter()
        self.strays: list[str] = []  # what was left, and by which test
        self._guard = guard

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.get_closest_marker("hostile")]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        def stop(*_: object) -> None:
            raise Hangs(f"over {SECONDS} s")

        signal.signal(signal.SIGALRM, stop)
        signal.alarm(SECONDS)
        result: Any = yield
        signal.alarm(0)
        kind = self.found[item.get_closest_marker("hostile").args[0]]  # type: ignore[union-attr]
        error = result.excinfo and result.excinfo[0]
        if error is not None and issubclass(error, pytest.skip.Exception):
            self.skipped[item.nodeid] += 1
            return
        kind["inputs"] += dict(item.user_properties).get("inputs", 1)  # type: ignore[arg-type]
        kind["hangs"] += error is Hangs
        kind["tracebacks"] += error is not None and error is not Hangs
        kind["stray writes"] += self._strays(item.nodeid)

    def _strays(self, test: str) -> int:
        """Removes what lies in the guarded folder; returns how many files that were."""
        left = [path for path in self._guard.rglob("*") if not path.is_dir()]
        for path in left:
            self.strays.append(f"{path.relative_to(self._guard)} ({test})")
            path.unlink()
        return len(left)


def main() -> int:
    parser = figures.parser(__doc__)
    parser.add_argument("-k", default="", metavar="WORDS", help="only the tests of these names, as in pytest")
    parser.add_argument("--quick", action="store_true", help="leave out the tests that are marked slow")
    options = parser.parse_args()
    marks = "hostile and not slow" if options.quick else "hostile"
    with (
        tempfile.TemporaryDirectory() as guard,
        tempfile.TemporaryDirectory() as notes,
        contextlib.chdir(guard),
    ):
        os.environ["HOME"] = guard
        set_hypothesis_home_dir(notes)  # what hypothesis and matplotlib write is no stray of ours
        os.environ["MPLCONFIGDIR"] = notes
        count = Count(Path(guard))
        words = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", marks, "-k", options.k]
        status = pytest.main([f"--rootdir={figures.ROOT}", f"-c{figures.ROOT}/pyproject.toml", *words,
                              str(figures.ROOT / "tests")], plugins=[count])  # fmt: skip
    table, total = figures.Lines(), sum(count.found.values(), Counter[str]())
    table.head("what is hostile", *COLUMNS)
    for kind in sorted(count.found):
        table.row(kind, *(f"{count.found[kind][column]:,}" for column in COLUMNS))
    table.row("all", *(f"{total[column]:,}" for column in COLUMNS))
    for word, lines in (("skipped here", count.skipped), ("stray", count.strays)):
        for line in lines:
            sys.stderr.write(f"{word}: {line}\n")
    if options.write and not options.k:
        figures.record({"hostile.table": table, "hostile.inputs": f"{total['inputs']:,}"})
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
