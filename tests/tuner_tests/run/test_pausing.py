"""Studies whose trials are paused and resumed: from their checkpoints, exactly N, by any agent."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from tuner.artifacts import gc
from tuner.artifacts.run_results import load
from tuner.base.errors import InputError
from tuner.base.files import read_json
from tuner.base.run_folder import METRICS, RESULT, TRIAL, read_metrics
from tuner.claims import material
from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile
from tuner.run import launch
from tuner.run.request import Request
from tuner.search import thawing
from tuner.show.lines import PlainView
from tuner.show.report import over_time
from tuner.show.report.charts import Chart
from tuner.show.status import status_table
from tuner.show.summary import Summary
from tuner.storage.access import open_records
from tuner.storage.attributes import CHECKPOINT, PAUSED
from tuner.storage.study import OpenStudy

TRAIN = """
import json, os, signal

def train(config, report, checkpoint):
    state = checkpoint / "state.json"
    begin = json.loads(state.read_text()) if state.exists() else 0
    for epoch in range(begin, 18):
        if config.get("dies") and epoch == 3 and not (checkpoint / "died").exists():
            (checkpoint / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if config.get("keeps", True):
            state.write_text(str(epoch + 1))
        report(epoch, {"score": config["x"] * (1 - 0.8 ** (epoch + 1)), "began": begin})
    return {}

train.defaults = {"x": 0.1}
"""
STUDY = """
method: bayes
run_cap: 12
metric: {name: score, goal: maximize}
parameters:
  x: {min: 0.0, max: 1.0}
  MORE
tuner:
  objective: train.py:train
  sampler: freeze_thaw
  max_epochs: 18
  pruner: {type: hyperband, min_resource: 2, max_resource: 18}
"""
Run = Callable[..., optuna.Study]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run("keeps: {value: false}", count=2)`: runs the study in agents, or goes on with it."""

    def run(
        more: str = "",
        *,
        count: int | None = None,
        agents: int = 2,
        train: str = TRAIN,
        say: Callable[[str], None] = lambda line: None,
    ) -> optuna.Study:
        (tmp_path / "train.py").write_text(train)
        (tmp_path / "thaw.yaml").write_text(STUDY.replace("MORE", more))
        request = Request(
            study_file=file_of(tmp_path),
            url=f"sqlite:///{tmp_path}/results/studies.db",
            results=tmp_path / "results",
            wandb="off",
            agents=agents,
            count=count,
        )
        view = PlainView(Console(quiet=True))
        view.say = say  # type: ignore[method-assign]
        left = launch.run(request, view)
        assert left.fine, left.reason
        return optuna.load_study(study_name="thaw", storage=open_records(request.url))

    return run


def file_of(folder: Path) -> StudyFile:
    return load_study_file(folder / "thaw.yaml")


def test_a_study_ends_with_exactly_its_trials_and_each_goes_on_where_it_was(run: Run, tmp_path: Path) -> None:
    study = run()
    trials = study.get_trials()
    states = [trial.state for trial in trials]
    assert len(states) == 12 and set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
    resumed = [trial for trial in trials if trial.user_attrs["metrics"]["began"] > 0]
    assert resumed
    results = tmp_path / "results"
    for trial in trials:
        steps = sorted(trial.intermediate_values)
        assert steps == list(range(1, len(steps) + 1))
        folder = results / "runs" / "thaw" / str(trial.number)
        assert [row["epoch"] + 1 for row in read_metrics(folder / METRICS)] == steps
        state = trial.state.name.lower()
        assert (read_json(folder / RESULT)["state"], read_json(folder / TRIAL)["state"]) == (state, state)
        assert PAUSED not in trial.user_attrs
        if trial.state is TrialState.PRUNED:
            assert trial.value == trial.intermediate_values[max(steps)]
            assert "the study ended" in trial.user_attrs["pruned_because"]
    assert any("likely to beat" in trial.user_attrs["chosen"] for trial in trials[1:])
    epochs = sum(max(trial.intermediate_values) for trial in trials)
    assert epochs <= 12 * 2 + 3 * 18 + 36  # the budget; what leads then is run to its end
    assert list((results / "checkpoints" / "thaw").iterdir()) == []
    assert study.best_value > 0.5
    poor = trials[0]  # the default configuration: it is paused as others are, and run to its end at last
    assert poor.state is TrialState.COMPLETE and poor.value < 0.1
    complete = [t.datetime_complete for t in trials if t.state is TrialState.COMPLETE]
    assert sum(ended > poor.datetime_complete for ended in complete) <= 1  # the trial of the other agent
    assert "others are compared with the default" in poor.user_attrs["chosen"]


@pytest.mark.slow
def test_a_report_shows_when_each_agent_ran_trials_and_not_their_pauses(run: Run, tmp_path: Path) -> None:
    run()
    results = tmp_path / "results"
    records = open_records(f"sqlite:///{results}/studies.db")
    study = material.load(records, [], results, made=datetime.now()).studies[0]
    stints = [stint for trial in study.trials for stint in trial.stints]
    assert len(stints) > len(study.trials) == 12  # some were resumed
    agents = {stint.agent for stint in stints}
    for agent in agents:
        own = sorted((s for s in stints if s.agent == agent), key=lambda stint: stint.started)
        assert all(one.ended <= after.started for one, after in itertools.pairwise(own))
    chart = over_time.timeline(study)
    assert isinstance(chart, Chart) and chart.caption.startswith(f"{len(agents)} agent")
    assert len(agents) <= 2
    assert len(chart.plots[0].start) == len(stints)


@pytest.mark.slow
def test_a_trial_that_evaluates_when_it_is_due_reaches_the_same_rungs(run: Run, tmp_path: Path) -> None:
    whole = 'report(epoch, {"score": config["x"] * (1 - 0.8 ** (epoch + 1)), "began": begin})'
    sparse = f"({whole}) if report.due(epoch) else report(epoch, {{'loss': 0.5}})"
    assert whole in TRAIN
    study = run(train=TRAIN.replace(whole, sparse))
    trials = study.get_trials()
    assert len(trials) == 12 and {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    rungs = set(thawing.rungs_for(file_of(tmp_path), 18))
    assert all(trial.intermediate_values.keys() <= rungs for trial in trials)
    assert any(len(trial.intermediate_values) > 1 for trial in trials)
    folder = tmp_path / "results" / "runs" / "thaw"
    for trial in trials:
        lines = read_metrics(folder / str(trial.number) / METRICS)
        assert [line["epoch"] for line in lines] == list(range(max(trial.intermediate_values)))


@pytest.mark.slow
def test_a_killed_agent_costs_no_epoch_and_no_trial(run: Run) -> None:
    trials = run("dies: {value: true}").get_trials()
    ended = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert len(ended) == 12
    lost = [trial for trial in trials if trial.user_attrs.get("agent_lost")]
    assert lost
    retries = [trial for trial in ended if "retry_of" in trial.user_attrs]
    assert {trial.user_attrs["retry_of"] for trial in retries} == {trial.number for trial in lost}
    for trial in retries:
        assert sorted(trial.intermediate_values) == list(range(1, len(trial.intermediate_values) + 1))


@pytest.mark.slow
@pytest.mark.usefixtures("agents_in_this_process")
def test_paused_trials_are_counted_apart_and_kept_until_the_study_goes_on(run: Run, tmp_path: Path) -> None:
    study = run(count=2, agents=1)  # until two have ended
    records, results = open_records(f"sqlite:///{tmp_path}/results/studies.db"), tmp_path / "results"
    state = Summary.of(OpenStudy(records, study.study_name))
    assert state.paused > 0 and state.finished == 2
    assert state.to_dict()["paused"] == state.paused
    states = [run.state for run in load("thaw", results=results)]
    assert states.count("paused") == state.paused and states.count("complete") > 0
    columns = {str(column.header): list(column.cells) for column in status_table([state]).columns}
    assert columns["paused"] == [str(state.paused)] and "waiting" not in columns
    assert [item for item in gc.find(records, results).items if item.kind != "weights"] == []
    names = {trial.user_attrs[CHECKPOINT] for trial in study.get_trials() if PAUSED in trial.user_attrs}
    assert {path.name for path in (results / "checkpoints" / "thaw").iterdir()} == names
    before = {trial.number: trial.intermediate_values for trial in study.get_trials()}

    trials = run().get_trials()
    assert len(trials) == 12 and all(trial.state.is_finished() for trial in trials)
    for number, reports in before.items():
        assert reports.items() <= trials[number].intermediate_values.items()


@pytest.mark.usefixtures("agents_in_this_process")
def test_without_checkpoints_the_stopping_rule_decides(run: Run) -> None:
    said: list[str] = []
    trials = run("keeps: {value: false}", say=said.append).get_trials()
    assert len(trials) == 12
    complete = [line for line in said if re.search(r"trial \d+ complete", line)]
    assert complete and all("not paused, as it keeps no checkpoint" in line for line in complete), said
    assert {trial.user_attrs["metrics"]["began"] for trial in trials} == {0}
    reasons = {trial.user_attrs["pruned_because"].partition(":")[0] for trial in trials if
               trial.state is TrialState.PRUNED}  # fmt: skip
    assert reasons <= {"epoch 2", "epoch 6"} and reasons


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("  max_epochs: 18\n", ""), "add 'max_epochs: N'"),
        (("  max_epochs: 18\n", "  max_epochs: 18\n  seeds: 3\n"), "leave out 'seeds' and 'folds'"),
        (("method: bayes", "method: grid"), "expected a sampler for method grid"),
        (("sampler: freeze_thaw", "sampler: tpe\n  epoch_budget: 5"), "is for sampler freeze_thaw, got tpe"),
        (("sampler: freeze_thaw", "learn_from: [a]"), "'tuner.learn_from': is for sampler freeze_thaw"),
    ],
)
def test_what_cannot_be_paused_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    text = STUDY.replace("  MORE\n", "").replace(*change)
    (tmp_path / "thaw.yaml").write_text(text.replace("{min: 0.0, max: 1.0}", "{values: [1, 2]}"))
    with pytest.raises(InputError, match=re.escape(message)):
        file_of(tmp_path)
