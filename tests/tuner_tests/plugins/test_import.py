"""Runs of somewhere else become finished trials of a study, from every kind of source."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from tuner.__main__ import main
from tuner.base.errors import InputError
from tuner.base.wandb_files import identity, wandb_folder
from tuner.definition.study_file import StudyFile
from tuner.plugins.imports import read_parquet, sources
from tuner.plugins.imports.bring import Brought, bring, without_own
from tuner.plugins.imports.rows import Row
from tuner.search import ranking
from tuner.storage import study_store
from tuner.storage.attributes import GRID_POINT, IMPORTED
from tuner.storage.optuna_private import study_id
from tuner.storage.records import Records
from tuner.storage.study import finished
from tuner.storage.study_store import Origin

MakeStudy = Callable[..., StudyFile]


@pytest.fixture
def study(records: Records, make_study: MakeStudy, origin: Origin) -> optuna.Study:
    return study_store.open_study(records, make_study(), origin)


@pytest.fixture
def imported(records: Records, study: optuna.Study, make_study: MakeStudy) -> Callable[..., Brought]:
    """`imported(source, study=None, **options)`: reads a source and adds it."""

    def add(source: Path | str, *, from_study: str | None = None, **options: Any) -> Brought:
        rows = sources.read(str(source), make_study(), study=from_study)
        return bring(records, study, rows, **{"mapped": {}, **options})

    return add


def told(study: optuna.Study) -> list[tuple[dict[str, Any], float]]:
    return [(trial.params, trial.values[0]) for trial in study.get_trials()]


def table(path: Path, *rows: dict[str, Any]) -> Path:
    with path.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_table_becomes_trials_and_says_what_did_not_fit(
    study: optuna.Study, imported: Callable[..., Brought], records: Records, tmp_path: Path
) -> None:
    source = table(
        tmp_path / "runs.csv",
        {"Name": "r1", "x": 0.5, "y": "a", "score": 0.7},
        {"Name": "r2", "x": 5, "y": "a", "score": 0.8},
        {"Name": "r3", "x": 0.5, "y": "d", "score": 0.8},
        {"Name": "r4", "x": 0.5, "y": "b", "score": ""},
        {"Name": "r5", "x": "", "y": "b", "score": 0.1},
        {"Name": "r6", "x": 7, "y": "b", "score": 0.1},
    )
    found = imported(source)
    assert told(study) == [({"x": 0.5, "y": "a"}, 0.7)]
    assert (found.numbers, found.before) == ((0,), 0)
    assert found.left_out == {
        "'x' is not 0 to 1": 2,
        "'y' is not one of a, b, c": 1,
        "no value of 'score'": 1,
        "no value of 'x'": 1,
    }
    (trial,) = study.get_trials()
    assert trial.user_attrs[IMPORTED] == "runs.csv:2"
    assert trial.user_attrs["metrics"] == {"score": 0.7}
    counts = records.queue.counts(study_id(study))
    assert finished(counts, study.user_attrs) == 0, "it does not count towards the study's number"


def test_a_table_with_a_row_for_each_epoch_becomes_a_trial_for_each_run(
    study: optuna.Study, imported: Callable[..., Brought], tmp_path: Path
) -> None:
    rows = [
        {"run": run, "epoch": epoch, "x": x, "y": "a", "score": x + epoch / 100}
        for epoch in (2, 10, 1)
        for run, x in (("first", 0.25), ("second", 0.5))
    ]
    imported(table(tmp_path / "history.csv", *rows))
    assert told(study) == [({"x": 0.25, "y": "a"}, 0.35), ({"x": 0.5, "y": "a"}, 0.6)]
    first, _ = study.get_trials()
    assert first.intermediate_values == {1: 0.26, 2: 0.27, 3: 0.35}
    assert first.user_attrs[IMPORTED] == "history.csv:first"


@pytest.mark.parametrize(
    "rows",
    [
        [{"name": "a", "epoch": 9}, {"name": "b", "epoch": 9}],  # a run a row, with its number of epochs
        [{"name": "a", "epoch": 9}, {"name": "a", "epoch": 9}],  # one name twice
        [{"Name": "a", "State": "finished", "epoch": 8}, {"Name": "a", "State": "finished", "epoch": 9}],
        [{"name": "a", "epoch": ""}, {"name": "a", "epoch": 1}],
        [{"epoch": 8}, {"epoch": 9}],
    ],
)
def test_a_table_with_a_row_for_each_run_may_say_how_many_epochs_it_had(
    study: optuna.Study, imported: Callable[..., Brought], tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    imported(table(tmp_path / "runs.csv", *({**row, "x": 0.5, "y": "a", "score": 0.7} for row in rows)))
    assert len(study.get_trials()) == 2


def test_a_second_import_adds_nothing_twice(
    study: optuna.Study, imported: Callable[..., Brought], tmp_path: Path
) -> None:
    row = {"x": 0.5, "y": "a", "score": 0.7}
    source = table(tmp_path / "runs.csv", row, row)  # two runs of one configuration
    assert len(imported(source).numbers) == 2
    again = imported(table(tmp_path / "runs.csv", row, row, {**row, "x": 0.1}))
    assert (len(again.numbers), again.before) == (1, 2)


def test_counted_runs_are_trials_like_others(
    study: optuna.Study, imported: Callable[..., Brought], records: Records, tmp_path: Path
) -> None:
    imported(table(tmp_path / "runs.csv", {"x": 0.5, "y": "a", "score": 0.7}), count=True)
    assert finished(records.queue.counts(study_id(study)), study.user_attrs) == 1


def test_names_are_mapped_by_prefix_alias_spelling_and_by_the_user(
    records: Records, make_study: MakeStudy, origin: Origin, tmp_path: Path
) -> None:
    more = {
        "y: {values: [a, b, c]}": (
            "learning_rate: {min: 0.0, max: 1.0}\n  opt: {parameters: {n: {min: 1, max: 9}}}"
        ),
        "name: score": "name: val/score",
    }
    file = make_study(**more)
    study = study_store.open_study(records, file, origin)
    source = table(
        tmp_path / "runs.csv", {"config.width": 0.5, "config/lr": 0.1, "config/opt/n": 3, "val_score": 0.7}
    )
    found = bring(records, study, sources.read(str(source), file), mapped={"width": "x"})
    assert told(study) == [({"x": 0.5, "learning_rate": 0.1, "opt.n": 3}, 0.7)]
    assert found.named == {"x": "width", "learning_rate": "lr", "val/score": "val_score"}
    with pytest.raises(InputError, match=r"--map widht=x: no run has 'widht'; did you mean 'width'\?"):
        bring(records, study, sources.read(str(source), file), mapped={"widht": "x"})
    with pytest.raises(InputError, match="has no 'z'"):
        bring(records, study, sources.read(str(source), file), mapped={"width": "z"})


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([{"id": "a1", "config": {"x": 0.5, "y": "a"}, "summary": {"score": 0.7}}]),
        json.dumps(
            {
                "id": "a1",
                "config": '{"x": {"value": 0.5}, "y": {"value": "a"}}',
                "summaryMetrics": '{"score": 0.7}',
            }
        ),
        json.dumps({"id": "a1", "x": 0.5, "y": "a", "score": 0.7}) + "\n",
    ],
    ids=["api", "api as text", "a run a line"],
)  # fmt: skip
def test_an_export_of_wandb_as_json(
    study: optuna.Study, imported: Callable[..., Brought], tmp_path: Path, text: str
) -> None:
    (tmp_path / "runs.json").write_text(text)
    imported(tmp_path / "runs.json")
    assert told(study) == [({"x": 0.5, "y": "a"}, 0.7)]
    assert study.get_trials()[0].user_attrs[IMPORTED] == "runs.json:a1"


def test_the_export_that_wandbs_pages_show(
    study: optuna.Study, imported: Callable[..., Brought], tmp_path: Path
) -> None:
    """`pd.DataFrame({"summary": …, "config": …, "name": …}).to_csv()`: dictionaries as Python prints them."""
    row = {"": 0, "summary": {"score": 0.7, "_step": 3}, "config": {"x": 0.5, "y": "a"}, "name": "wild-sun-1"}
    imported(table(tmp_path / "project.csv", row))
    assert told(study) == [({"x": 0.5, "y": "a"}, 0.7)]


WANDB = """
import sys, wandb
for x, fails in ((0.25, False), (0.5, True)):
    run = wandb.init(mode="offline", dir=sys.argv[1], config={"x": x, "y": "b", "nested": {"n": 1}})
    for epoch in range(3):
        run.log({"score": x * (epoch + 1), "loss": 1.0})
    run.finish(exit_code=int(fails))
"""


def test_offline_runs_of_wandb_with_what_they_logged_on_the_way(
    study: optuna.Study, imported: Callable[..., Brought], tmp_path: Path
) -> None:
    pytest.importorskip("wandb")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    environment |= {"WANDB_SILENT": "true", "WANDB_CACHE_DIR": str(tmp_path), "WANDB_DATA_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", WANDB, tmp_path], check=True, env=environment, timeout=120)
    found = imported(tmp_path / "wandb")
    assert found.left_out == {"the run failed": 1}
    (trial,) = study.get_trials()
    assert (trial.params, trial.values) == ({"x": 0.25, "y": "b"}, [0.75])
    assert trial.intermediate_values == {1: 0.25, 2: 0.5, 3: 0.75}
    assert trial.user_attrs[IMPORTED].startswith("offline-run-")
    assert trial.user_attrs["metrics"]["loss"] == 1.0
    assert imported(tmp_path / "wandb").before == 1


def test_a_parquet_file_that_ends_its_reader_is_refused(
    study: optuna.Study,
    imported: Callable[..., Brought],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "crash.py").write_text("import os\nos.abort()\n")
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(read_parquet, "__file__", str(tmp_path / "crash.py"))
    with pytest.raises(InputError, match="not a parquet file: its reader crashed"):
        imported(tmp_path / "t.parquet")


def test_a_parquet_table(study: optuna.Study, imported: Callable[..., Brought], tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    polars.DataFrame({"x": [0.5, None], "y": ["a", "b"], "score": [0.7, 0.1]}).write_parquet(
        tmp_path / "t.parquet"
    )
    assert imported(tmp_path / "t.parquet").left_out == {"no value of 'x'": 1}
    assert told(study) == [({"x": 0.5, "y": "a"}, 0.7)]


def test_without_a_reader_of_parquet_it_is_one_line(
    imported: Callable[..., Brought], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "polars", None)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="parquet needs polars"):
        imported(tmp_path / "t.parquet")


@pytest.mark.parametrize("kind", ["url", "file"])
def test_a_study_of_optuna(
    study: optuna.Study, imported: Callable[..., Brought], tmp_path: Path, kind: str
) -> None:
    url = f"sqlite:///{tmp_path / 'theirs.db'}"
    theirs = optuna.create_study(storage=url, study_name="old", direction="maximize")

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 2)
        trial.suggest_categorical("y", ["a", "b"])
        trial.report(x / 2, 5)
        if trial.number == 2:
            raise optuna.TrialPruned
        return x

    for x in (0.5, 1.5, 0.1):
        theirs.enqueue_trial({"x": x, "y": "b"})
    theirs.optimize(objective, n_trials=3)
    optuna.create_study(storage=url, study_name="another")
    source = url if kind == "url" else str(tmp_path / "theirs.db")
    found = imported(source, from_study="old")
    assert told(study) == [({"x": 0.5, "y": "b"}, 0.5)]
    assert study.get_trials()[0].intermediate_values == {1: 0.25}
    assert found.left_out == {"'x' is not 0 to 1": 1, "the trial is pruned": 1}
    with pytest.raises(InputError, match=r"which study\? --from-study NAME \(there are: another, old\)"):
        imported(source)
    with pytest.raises(
        InputError, match="the goal of study 'another' there is to minimize, that of 'small' to maximize"
    ):
        imported(source, from_study="another")


def test_a_folder_of_ray_tune(study: optuna.Study, imported: Callable[..., Brought], tmp_path: Path) -> None:
    for number, (x, lines) in enumerate([(0.5, 3), (0.6, 0)]):
        folder = tmp_path / "exp" / f"train_{number:05d}"
        folder.mkdir(parents=True)
        (folder / "params.json").write_text(json.dumps({"x": x, "y": "c"}))
        history = [
            json.dumps({"score": x + n, "training_iteration": n + 1, "config": {"x": x}})
            for n in range(lines)
        ]
        (folder / "result.json").write_text("\n".join(history))
    found = imported(tmp_path)
    assert told(study) == [({"x": 0.5, "y": "c"}, 2.5)]
    assert study.get_trials()[0].intermediate_values == {1: 0.5, 2: 1.5, 3: 2.5}
    assert found.left_out == {"the trial reported nothing": 1}


RAY = """
import sys
from pathlib import Path
import ray
from ray import tune

marks = Path(sys.argv[1])


def train(config):
    once = marks / f"once-{config['x']}"
    for epoch in range(3):
        tune.report({"score": config["x"] * (epoch + 1), "nested": {"loss": 1.0}})
    if config["x"] == 0.75 or (config["x"] == 0.5 and not once.exists()):
        once.touch()
        raise RuntimeError("no good")


ray.init(num_cpus=1, include_dashboard=False)
tune.Tuner(
    train,
    param_space={"x": tune.grid_search([0.25, 0.5, 0.75]), "y": "c"},
    run_config=tune.RunConfig(
        name="exp", storage_path=sys.argv[1], failure_config=tune.FailureConfig(max_failures=1)
    ),
).fit()
"""


def test_an_experiment_that_ray_tune_has_run(
    study: optuna.Study, imported: Callable[..., Brought], tmp_path: Path
) -> None:
    try:
        from ray import tune  # noqa: F401
    except ImportError:
        pytest.skip("needs ray[tune]")
    (tmp_path / "train.py").write_text(RAY)
    subprocess.run([sys.executable, "train.py", str(tmp_path)], cwd=tmp_path, check=True, capture_output=True)
    found = imported(tmp_path / "exp")
    assert sorted(told(study), key=str) == [({"x": 0.25, "y": "c"}, 0.75), ({"x": 0.5, "y": "c"}, 1.5)]
    assert found.left_out == {"the trial failed": 1}  # the one at 0.5 failed once and was tried again


def test_how_a_trial_of_ray_tune_ended_is_what_its_experiment_says(
    study: optuna.Study, imported: Callable[..., Brought], tmp_path: Path
) -> None:
    """The files are as Ray 2.60 writes them, with what is not read left out."""
    ends = {"a_0": "TERMINATED", "a_1": "ERROR", "a_2": "RUNNING"}
    for number, name in enumerate(ends):
        folder = tmp_path / "exp" / f"train_{name}"
        folder.mkdir(parents=True)
        (folder / "params.json").write_text(json.dumps({"x": 0.1 * (number + 1), "y": "c"}))
        (folder / "result.json").write_text(json.dumps({"score": number, "trial_id": name, "done": False}))
        (folder / "error.txt").write_text("RuntimeError: once")
    trials = [[json.dumps({"trial_id": name, "status": end}), "{}"] for name, end in ends.items()]
    (tmp_path / "exp" / "experiment_state-2026-01-01_00-00-00.json").write_text(
        json.dumps({"trial_data": trials, "runner_data": {}, "stats": {}})
    )
    found = imported(tmp_path)
    assert told(study) == [({"x": 0.1, "y": "c"}, 0)]
    assert found.left_out == {"the trial failed": 1, "the trial did not end": 1}


def test_points_of_a_grid_are_tried_when_they_count(
    records: Records, make_study: MakeStudy, origin: Origin, tmp_path: Path
) -> None:
    grid = {"method: bayes\nrun_cap: 6": "method: grid", "{min: 0.0, max: 1.0}": "{values: [1, 2]}"}
    file = make_study(**grid)
    study = study_store.open_study(records, file, origin)
    source = table(tmp_path / "runs.csv", {"x": 2, "y": "b", "score": 1}, {"x": 1, "y": "a", "score": 2})
    rows = sources.read(str(source), file)
    bring(records, study, rows[:1], mapped={})
    bring(records, study, rows[1:], mapped={}, count=True)
    assert [trial.user_attrs.get(GRID_POINT) for trial in study.get_trials()] == [None, 0]


def test_constraints_are_judged_by_what_the_runs_logged(
    records: Records, make_study: MakeStudy, origin: Origin, tmp_path: Path
) -> None:
    file = make_study(**{"max_epochs: 4": "max_epochs: 4\n  constraints: ['extra >= 3']"})
    study = study_store.open_study(records, file, origin)
    rows = [{"x": 0.5, "y": "a", "score": 0.9, "extra": 1}, {"x": 0.4, "y": "a", "score": 0.1, "extra": 4}]
    source = table(tmp_path / "runs.csv", *rows)
    bring(records, study, sources.read(str(source), file), mapped={})
    assert [trial.number for trial in ranking.ranked(study.get_trials(), file)] == [1, 0]


@pytest.mark.parametrize("name", ["nothing.csv", "notes.txt", "empty"])
def test_what_is_no_source_is_one_line(imported: Callable[..., Brought], tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"nothing there; expected|expected a folder|no runs of W&B"):
        imported(tmp_path / name)


@pytest.mark.usefixtures("agents_in_this_process")
def test_the_command_makes_the_study_says_what_it_did_and_the_study_goes_on_from_there(
    make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = ["--results", str(tmp_path / "results")]
    path = str(make_study(**{"run_cap: 6": "run_cap: 2"}).path)
    source = table(
        tmp_path / "runs.csv", {"w": 0.5, "y": "a", "score": 0.99}, {"w": 5, "y": "a", "score": 0.7}
    )
    assert main(["import", str(source), "--study", path, "--map", "w=x", *results]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "small: 1 of 2 runs imported, not counted among its trials",
        "read as: w → x",
        "1 left out: 'x' is not 0 to 1",
    ]
    assert main(["study", path, "--agents", "1", "--wandb", "off", *results]) == 0
    capsys.readouterr()
    assert main(["status", "small", "--json", *results]) == 0
    (state,) = json.loads(capsys.readouterr().out)
    assert (state["finished"], state["imported"], state["complete"]) == (2, 1, 3)
    assert main(["best", "small", *results]) == 0
    assert "imported from" in capsys.readouterr().out
    assert main(["report", "small", *results]) == 0
    assert "2 of 2 trials finished: 2 complete, 0 pruned; 1 imported, not counted" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["state", "State"])
def test_a_run_that_did_not_end_well_has_no_result(
    study: optuna.Study, imported: Callable[..., Brought], tmp_path: Path, name: str
) -> None:
    rows = [
        {name: state, "x": x, "y": "a", "score": x}
        for x, state in ((0.1, "finished"), (0.2, "running"), (0.3, "crashed"), (0.4, "killed"))
    ]
    brought = imported(table(tmp_path / "runs.csv", *rows))
    assert len(brought.numbers) == 1
    assert brought.left_out == {"the run failed": 2, "the run did not end": 1}


def test_trials_of_the_study_itself_are_not_brought_back(tmp_path: Path) -> None:
    salt = identity(wandb_folder(tmp_path, "small")).salt
    again = identity(wandb_folder(tmp_path, "small.verify")).salt
    names = [f"offline-run-20261202_082311-{salt}-3", f"run-2-{again}-0", "offline-run-20261202_082311-abc-3"]
    found = without_own([Row(name, {"x": 0.5}, {"score": 1}) for name in names], "small", tmp_path)
    assert [row.problem for row in found] == ["it is a trial of this study"] * 2 + [""]
