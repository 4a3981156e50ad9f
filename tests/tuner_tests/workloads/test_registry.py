"""Which workload a study file asks for, and one line where it cannot be had."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tuner.base import plugins
from tuner.base.errors import InputError
from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile
from tuner.workloads.registry import workload_if_known, workload_of
from tuner.workloads.workload import Workload

STUDY = """
method: random
run_cap: 2
metric: {name: score, goal: maximize}
parameters: {x: {min: 0.0, max: 1.0}}
tuner: {workload: "%s"}
"""
OWN = """
from tuner import Workload

class Squares(Workload):
    def run(self, config, report, *, run_folder=None, inputs=None):
        return {"score": config["x"] ** 2}

other = 3
"""


def study(folder: Path, workload: str) -> StudyFile:
    (folder / "squares.py").write_text(OWN)
    (folder / "needs.py").write_text("import a_package_that_is_not_there")
    path = folder / "squares.yaml"
    path.write_text(STUDY % workload)
    return load_study_file(path)


def test_a_class_in_a_file_beside_the_study(tmp_path: Path) -> None:
    found = workload_of(study(tmp_path, "squares.py:Squares"))
    assert type(found).__name__ == "Squares"
    assert found.run({"x": 3.0}, lambda *_: None) == {"score": 9.0}


def test_a_class_in_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert type(workload_of(study(tmp_path, "squares:Squares"))).__name__ == "Squares"


@pytest.mark.parametrize(
    ("workload", "says"),
    [
        ("squares.py:other", "expected a class that extends tuner.Workload, got 3"),
        ("squares.py:Cubes", "expected a class that extends tuner.Workload, got None"),
        ("cubes.py:Cubes", "cubes.py does not exist"),
        ("needs.py:Any", "No module named 'a_package_that_is_not_there'"),
        ("no_such_package.work:Any", "No module named 'no_such_package'"),
        ("sqares", "no workload 'sqares' is installed"),
    ],
)
def test_what_cannot_be_had_is_said_and_old_results_can_still_be_read(
    tmp_path: Path, workload: str, says: str
) -> None:
    file = study(tmp_path, workload)
    with pytest.raises(InputError) as error:
        workload_of(file)
    assert says in str(error.value)
    assert workload.partition(":")[0] in str(error.value)
    assert type(workload_if_known(file)) is Workload


def test_an_installed_workload_whose_packages_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = EntryPoint("milling", "a_package_that_is_not_there:Work", plugins.WORKLOADS)
    monkeypatch.setattr(plugins, "installed", lambda group: {"milling": there})
    with pytest.raises(InputError, match=r"workload 'milling': No module named .*; install it"):
        workload_of(study(tmp_path, "milling"))
    monkeypatch.setattr(plugins, "installed", lambda group: {})
    with pytest.raises(InputError, match=r"'miling' is installed \(there are: none\)"):
        workload_of(study(tmp_path, "miling"))
    (tmp_path / "nothing.yaml").write_text((STUDY % "x").replace('tuner: {workload: "x"}', ""))
    with pytest.raises(InputError, match="names nothing to run"):
        workload_of(load_study_file(tmp_path / "nothing.yaml"))
