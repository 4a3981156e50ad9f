"""docs/python.md is true: its blocks run in order, as one script that somebody has put together from them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tuner

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
AFTER = """
assert best.value == min(run.summary["loss"] for run in runs if run.state == "complete"), best
assert len(table) == 16 and study.study_name == "fit"
assert sorting.best.config == {"gap": 1}
assert {run.state for run in tuner.results("epochs")} == {"complete", "pruned"}
"""


def test_the_page_runs_as_a_script(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    (tmp_path / "page.py").write_text("\n".join(BLOCK.findall(PAGE)) + AFTER)
    done = subprocess.run(
        [sys.executable, "page.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts = {
        name: len(tuner.results(name, results=tmp_path / "results")) for name in ("train", "mine", "loop")
    }
    assert counts == {"train": 20, "mine": 4, "loop": 10}


def test_every_public_name_is_on_the_page() -> None:
    missing = {name for name in tuner.__all__ if not re.search(rf"\b{name}\b", PAGE)}
    assert missing <= {"Results", "StudyResult", "Trial"}, "classes that nobody makes oneself"
