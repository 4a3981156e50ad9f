"""Making a study and coming back to it: what may change, what is refused, what is set aside."""

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import optuna
import pytest
from optuna.trial import Trial, TrialState
from rich.console import Console

from tuner.base.errors import InputError
from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile
from tuner.run import plan
from tuner.run.request import Request
from tuner.show.live import PlainView
from tuner.storage import study_store
from tuner.storage.access import default_url, open_records
from tuner.storage.attributes import LEASE, STOPPED
from tuner.storage.leases import Owner
from tuner.storage.records import Records
from tuner.storage.study import stored_file
from tuner.storage.study_store import ChangedStudy, Origin
from tuner.storage.trial_rows import TrialRows

MakeStudy = Callable[..., StudyFile]


def test_a_study_is_made_whole_or_not_at_all(
    records: Records, make_study: MakeStudy, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrialRows, "enqueue", lambda *_: 1 / 0)  # as a kill would, in the middle
    with pytest.raises(ZeroDivisionError):
        study_store.open_study(records, make_study(), origin, default={"x": 0.5, "y": "a"})
    assert optuna.get_all_study_names(records) == []
    monkeypatch.undo()
    study = study_store.open_study(records, make_study(), origin, default={"x": 0.5, "y": "a"})
    assert study.metric_names == ["score"]
    assert study.direction.name == "MAXIMIZE"
    assert len(study.get_trials()) == 1


def test_a_study_is_resumed_with_the_number_it_wants(
    records: Records, make_study: MakeStudy, origin: Origin
) -> None:
    assert study_store.open_study(records, make_study(), origin).total == 6
    assert study_store.open_study(records, make_study(), origin, trials=9).total == 9
    assert study_store.open_study(records, make_study(), origin).total == 9


def test_the_files_number_of_trials_may_change(
    records: Records, make_study: MakeStudy, origin: Origin
) -> None:
    study_store.open_study(records, make_study(), origin)
    for number in (8, 4):
        file = make_study(**{"run_cap: 6": f"run_cap: {number}"})
        assert study_store.open_study(records, file, origin).total == number


def test_a_change_that_makes_results_incomparable_is_refused_with_a_diff(
    records: Records, make_study: MakeStudy, origin: Origin
) -> None:
    study_store.open_study(records, make_study(), origin)
    changed = make_study(**{"goal: maximize": "goal: minimize"})
    with pytest.raises(
        ChangedStudy, match=r'- file.metric.goal: "maximize"; \+ file.metric.goal: "minimize"'
    ):
        study_store.open_study(records, changed, origin)
    with pytest.raises(ChangedStudy, match=r"- file.tuner.max_epochs: 4; \+ file.tuner.max_epochs: 9"):
        study_store.open_study(records, make_study(**{"max_epochs: 4": "max_epochs: 9"}), origin)
    with pytest.raises(ChangedStudy, match=r"\+ overrides.epochs: 3"):
        study_store.open_study(records, make_study(), Origin({}, overrides={"epochs": 3}))


def test_a_second_start_without_options_goes_on_as_the_study_was_begun(
    records: Records, make_study: MakeStudy, url: str, tmp_path: Path
) -> None:
    study_store.open_study(records, make_study(), Origin({}, overrides={"epochs": 3}, data="nowhere 1234"))
    output = io.StringIO()
    say = PlainView(Console(file=output)).say
    request = Request(make_study(), url, tmp_path / "results")
    assert plan.make(request, say).overrides == {"epochs": 3}
    assert output.getvalue() == "same values as before: epochs=3\n"
    assert plan.make(replace(request, overrides={"epochs": 5}), say).overrides == {"epochs": 5}
    assert plan.make(replace(request, fresh=True), say).overrides == {}


def test_the_default_configuration_is_trial_0(
    records: Records, make_study: MakeStudy, origin: Origin
) -> None:
    study = study_store.open_study(records, make_study(), origin, default={"x": 0.25, "y": "b", "z": 1})
    (waiting,) = study.get_trials()
    assert waiting.state is TrialState.WAITING
    assert make_study().space.config_of(waiting.system_attrs["fixed_params"]) == {"x": 0.25, "y": "b"}


def test_fresh_sets_the_old_study_and_its_run_folders_aside(
    records: Records, make_study: MakeStudy, origin: Origin, tmp_path: Path
) -> None:
    study = study_store.open_study(records, make_study(), origin)
    trial = study.ask()
    folder = tmp_path / "runs" / "small" / "0"
    folder.mkdir(parents=True)
    (folder / "trial.json").write_text(json.dumps({"number": 0}))
    trial.set_user_attr("run_folder", "runs/small/0")
    study.tell(trial, 1.0)

    kept = study_store.set_aside(records, "small", tmp_path, now=datetime(2026, 1, 2, 3, 4, 5))

    assert kept == "small@20260102-030405"
    old = optuna.load_study(study_name=kept, storage=records).get_trials()[0]
    assert old.value == 1.0
    assert (tmp_path / old.user_attrs["run_folder"] / "trial.json").exists()
    fresh = study_store.open_study(records, make_study(), origin)
    assert fresh.get_trials() == []
    assert study_store.set_aside(records, "another", tmp_path) is None


def test_two_studies_set_aside_within_a_second_have_names_of_their_own(
    records: Records, make_study: MakeStudy, origin: Origin, tmp_path: Path
) -> None:
    kept = []
    for _ in range(3):
        study_store.open_study(records, make_study(), origin)
        (tmp_path / "runs" / "small" / "0").mkdir(parents=True)
        kept.append(study_store.set_aside(records, "small", tmp_path, now=datetime(2026, 1, 2, 3, 4, 5)))
    assert kept == ["small@20260102-030405", "small@20260102-030405-2", "small@20260102-030405-3"]
    assert all((tmp_path / "runs" / str(name) / "0").is_dir() for name in kept)


def test_retrainings_are_set_aside_with_their_study(
    records: Records, make_study: MakeStudy, origin: Origin, tmp_path: Path
) -> None:
    for name in ("small", "small.verify", "small.confirm", "smaller.verify"):
        study_store.open_study(records, replace(make_study(), name=name), origin)
    study_store.set_aside(records, "small", tmp_path, now=datetime(2026, 1, 2, 3, 4, 5))
    stamp = "@20260102-030405"
    assert sorted(optuna.get_all_study_names(records)) == sorted(
        ["small" + stamp, "small.verify" + stamp, "small.confirm" + stamp, "smaller.verify"]
    )


def test_fresh_is_refused_while_agents_are_running(
    records: Records, make_study: MakeStudy, origin: Origin, tmp_path: Path
) -> None:
    study = study_store.open_study(records, make_study(), origin)
    records.claim(study._study_id, user_attrs={LEASE: Owner.this_process().lease(0)})
    with pytest.raises(InputError, match="is being run at this moment"):
        study_store.set_aside(records, "small", tmp_path)


def test_a_study_that_stopped_for_failures_may_be_started_again(
    records: Records, make_study: MakeStudy, origin: Origin
) -> None:
    for reason, kept in (
        ("3 trials in a row failed with the same error: x", None),
        ("target reached: trial 3", "target"),
    ):
        study = study_store.open_study(records, make_study(), origin)
        study.set_user_attr(STOPPED, reason)
        study = study_store.open_study(records, make_study(), origin)
        assert (study.user_attrs[STOPPED] or "").startswith(kept or "")


def test_the_study_file_comes_back_from_the_storage(
    records: Records, make_study: MakeStudy, origin: Origin
) -> None:
    study = study_store.open_study(records, make_study(), origin)
    stored = stored_file(study)
    assert (stored.digest(), stored.name, stored.path) == (
        make_study().digest(),
        "small",
        make_study().path.resolve(),
    )


def test_another_programs_study_of_that_name_is_not_touched(
    records: Records, make_study: MakeStudy, origin: Origin
) -> None:
    theirs = optuna.create_study(study_name="small", storage=records)
    Trial(theirs, records.claim(theirs._study_id, user_attrs={})._trial_id)
    with pytest.raises(InputError, match="was not made here"):
        study_store.open_study(records, make_study(), origin)


def test_two_files_of_one_name_are_refused_with_both_paths(
    records: Records, make_study: MakeStudy, origin: Origin, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    first = make_study(name="a.yaml")
    study_store.open_study(records, first, origin, results=results)
    second = make_study(name="b.yaml")  # equal content, and so an equal name
    with pytest.raises(InputError, match=r"a\.yaml and .*b\.yaml are both named 'small': give one of them a"):
        study_store.open_study(records, second, origin, results=results)
    first.path.unlink()  # b.yaml may be a.yaml, renamed
    study_store.open_study(records, second, origin, results=results)


def test_two_folders_with_a_file_of_one_name_are_two_studies(
    records: Records, make_study: MakeStudy, origin: Origin, tmp_path: Path
) -> None:
    results, files = tmp_path / "results", []
    for name in ("a/x/sweep.yaml", "b/x/sweep.yaml", "c/sweep.yaml"):
        (tmp_path / name).parent.mkdir(parents=True)
        text = "method: grid\nparameters: {x: {values: [1]}}\ntuner: {objective: 'objective.py:train'}\n"
        files.append(make_study(text, name=name))
    for _ in range(2):  # the second time each finds its own
        names = []
        for file in files:
            named = study_store.named_apart(records, file, results)
            study_store.open_study(records, named, origin, results=results)
            names.append(named.name)
        assert names == ["sweep", "x-sweep", "c-sweep"]


def test_a_study_that_was_copied_with_its_results_goes_on(
    make_study: MakeStudy, origin: Origin, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    make_study(name="old/small.yaml")
    file = load_study_file(old / "small.yaml")
    records = open_records(default_url(old / "results"), create=True)
    study_store.open_study(records, file, origin, results=old / "results")
    records.queue.close()
    shutil.copytree(old, new)
    moved = load_study_file(new / "small.yaml")
    again = open_records(default_url(new / "results"))
    study_store.open_study(again, moved, origin, results=new / "results")


def test_a_study_from_before_workloads_were_named_goes_on(
    records: Records, make_study: MakeStudy, origin: Origin
) -> None:
    file = load_study_file("loss_weighting")
    older = {**file.raw, "tuner": {k: v for k, v in file.raw["tuner"].items() if k != "workload"}}
    study_store.open_study(records, replace(file, raw=older), origin)
    study_store.open_study(records, file, origin)


@pytest.mark.parametrize("names", [("a/b", "a;b"), ("a b", "a-b"), (".", " . "), ("a\\nb", "a b")])
def test_two_names_never_share_a_study(
    records: Records, make_study: MakeStudy, origin: Origin, tmp_path: Path, names: tuple[str, str]
) -> None:
    files = [make_study(**{"name: small": f'name: "{name}"'}) for name in names]
    assert files[0].name == files[1].name
    study_store.open_study(records, files[0], origin)
    study_store.open_study(records, files[0], origin)
    with pytest.raises(InputError, match="would both be the study"):
        study_store.open_study(records, files[1], origin)
    assert any("the study is called" in note for note in files[0].notes)
