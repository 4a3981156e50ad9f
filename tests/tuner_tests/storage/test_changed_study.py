"""A study that was begun and whose file has changed: what is taken over, what becomes of its trials."""

from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import Trial, TrialState

from tuner.base.errors import InputError
from tuner.base.files import write_json
from tuner.base.run_folder import CONFIG
from tuner.definition.study_file import StudyFile
from tuner.run.winner import config_of
from tuner.search import samplers
from tuner.storage import study_store
from tuner.storage.access import default_url, open_database, open_records
from tuner.storage.allocate import Allocator, Done
from tuner.storage.attributes import GRID_POINT, LEASE, OUTSIDE
from tuner.storage.leases import Observer, Owner
from tuner.storage.optuna_private import study_id
from tuner.storage.records import Records
from tuner.storage.study import OpenStudy, finished
from tuner.storage.study_store import Origin
from tuner.storage.trial_rows import TrialRows

MakeStudy = Callable[..., StudyFile]
X = "x: {min: 0.0, max: 1.0}"
Y = "y: {values: [a, b, c]}"
GRID = """
name: grid
method: grid
metric: {name: score, goal: maximize}
parameters:
  x: {values: [1, 2, 3]}
tuner: {objective: "objective.py:train"}
"""


@pytest.fixture(params=["sqlite", "postgresql", "grpc"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield default_url(tmp_path / "results")
        return
    if request.param == "postgresql":
        yield request.getfixturevalue("postgres_url")()
        return
    pytest.importorskip("grpc", reason="needs grpcio: pip install 'optuna-sweeps[grpc]'")
    from tuner.plugins.server.serve import make_server

    server = make_server(*open_database(default_url(tmp_path / "results"), create=True))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"grpc://127.0.0.1:{port}"
    server.stop(grace=None).wait()


class Opened:
    """A study that is opened again and again, with what was said."""

    def __init__(self, url: str) -> None:
        self.records: Records = open_records(url, create=True)
        self.said: list[str] = []

    def open(self, file: StudyFile, origin: Origin | None = None, **default: object) -> OpenStudy:
        self.said = []
        study = study_store.open_study(
            self.records, file, origin or Origin({}), default=default or None, say=self.said.append
        )
        self.total = study.total
        study.sampler = samplers.make(file, 0)
        return study

    def tell(self, study: optuna.Study, file: StudyFile, **config: object) -> Trial:
        """Runs a trial whose score is its x."""
        claimed = self.records.claim(study_id(study), user_attrs={}, fixed=file.space.params_for(config))
        trial = Trial(study, claimed._trial_id)
        found = file.space.suggest(trial)
        trial.set_user_attr("metrics", {"score": float(found.get("x", 0)), "extra": 2.0})
        study.tell(trial, float(found.get("x", 0)))
        return trial


@pytest.fixture
def opened(url: str) -> Opened:
    return Opened(url)


def test_old_trials_that_fit_narrower_bounds_are_kept_and_the_others_shown(
    opened: Opened, make_study: MakeStudy
) -> None:
    study = opened.open(make_study())
    for x in (0.1, 0.4, 0.9):
        opened.tell(study, make_study(), x=x, y="a")
    narrow = make_study(**{X: "x: {min: 0.0, max: 0.5}"})
    study = opened.open(narrow)
    assert opened.said == [
        "x: now 0 to 0.5 (was 0 to 1); 2 of 3 old trials fit and are kept for the search, 1 is shown only"
    ]
    assert [trial.params["x"] for trial in study.get_trials()] == [0.1, 0.4]
    assert all(trial.distributions == narrow.space.distributions() for trial in study.get_trials())
    (outside,) = study.outside()
    assert (outside.number, outside.user_attrs[OUTSIDE]) == (2, "x was 0.9")
    counts = opened.records.queue.counts(study_id(study))
    assert (counts[TrialState.COMPLETE], finished(counts, study.user_attrs)) == (3, 2)
    assert study.best_trial.number == 1


def test_a_trial_comes_back_when_the_space_is_widened_again(opened: Opened, make_study: MakeStudy) -> None:
    study = opened.open(make_study())
    opened.tell(study, make_study(), x=0.9, y="c")
    opened.open(make_study(**{X: "x: {min: 0.0, max: 0.5}"}))
    study = opened.open(make_study(**{X: "x: {min: 0.0, max: 2.0}"}))
    assert opened.said == ["x: now 0 to 2 (was 0 to 0.5); the old trial fits"]
    (trial,) = study.get_trials()
    assert (trial.params, trial.user_attrs["metrics"]["score"]) == ({"x": 0.9, "y": "c"}, 0.9)
    assert study.outside() == []
    assert finished(opened.records.queue.counts(study_id(study)), study.user_attrs) == 1


def test_a_choice_may_get_and_lose_values(opened: Opened, make_study: MakeStudy) -> None:
    """Optuna refuses this: CategoricalDistribution does not support dynamic value space."""
    study = opened.open(make_study())
    for y in "abc":
        opened.tell(study, make_study(), x=0.5, y=y)
    study = opened.open(make_study(**{Y: "y: {values: [c, d, a, 4]}"}))
    assert "y: now one of c, d, a, 4 (was one of a, b, c); 2 of 3 old trials fit" in opened.said[0]
    space = study_store.change_of  # the study is as the file says: nothing has changed any more
    assert space(study, make_study(**{Y: "y: {values: [c, d, a, 4]}"}), Origin({}), None) is None
    file = make_study(**{Y: "y: {values: [c, d, a, 4]}"})
    configs = [file.space.config_of(trial.params) for trial in study.get_trials()]
    assert [config["y"] for config in configs] == ["a", "c"]


def test_every_kind_of_distribution_keeps_the_values_of_old_trials(
    opened: Opened, make_study: MakeStudy
) -> None:
    study = opened.open(make_study())
    opened.tell(study, make_study(), x=0.5, y="a")
    for x in (
        "{distribution: log_uniform_values, min: 0.1, max: 1.0}",
        "{distribution: q_uniform, min: 0, max: 1, q: 0.25}",
        "{distribution: normal, mu: 0, sigma: 1}",
        "{values: [0.5, 2]}",
        "{values: [0.5, 2], probabilities: [0.9, 0.1]}",
        "{value: 0.5}",
        "{min: 0.0, max: 1.0}",
    ):
        file = make_study(**{X: f"x: {x}"})
        study = opened.open(file)
        (trial,) = study.get_trials()
        assert file.space.config_of(trial.params)["x"] == pytest.approx(0.5)
        assert set(trial.params) == {p.name for p in file.space.searched}


def test_a_parameter_that_becomes_fixed_keeps_the_trials_with_that_value(
    opened: Opened, make_study: MakeStudy
) -> None:
    study = opened.open(make_study())
    for y in "ab":
        opened.tell(study, make_study(), x=0.5, y=y)
    study = opened.open(make_study(**{Y: "y: {value: b}"}))
    assert opened.said == [
        "y: now always b (was one of a, b, c); 1 of 2 old trials fits and is kept for the search, "
        "1 is shown only"
    ]
    assert [trial.params for trial in study.get_trials()] == [{"x": 0.5}]


ADDED = {Y: f"{Y}\n  z: {{min: 1, max: 9}}"}


def test_the_configuration_of_an_old_trial_has_a_new_parameter(
    opened: Opened, make_study: MakeStudy, tmp_path: Path
) -> None:
    """Its run folder lacks it. Retrainings and exports need it."""
    study = opened.open(make_study())
    opened.tell(study, make_study(), x=0.5, y="a")
    folder = tmp_path / "runs" / study.study_name / "0"
    folder.mkdir(parents=True)
    write_json(folder / CONFIG, {"x": 0.5, "y": "a", "own": {"kept": 1}})
    study = opened.open(make_study(**ADDED), z=4)
    (trial,) = study.get_trials()
    assert config_of(study, trial, tmp_path) == {"x": 0.5, "y": "a", "z": 4, "own": {"kept": 1}}


def test_old_trials_have_the_default_of_a_new_parameter_where_it_is_known(
    opened: Opened, make_study: MakeStudy
) -> None:
    study = opened.open(make_study())
    opened.tell(study, make_study(), x=0.5, y="a")
    study = opened.open(make_study(**ADDED), z=4)  # what the program itself takes
    assert opened.said == ["z: new, 1 to 9, old trials had 4; the old trial fits"]
    assert study.get_trials()[0].params == {"x": 0.5, "y": "a", "z": 4}


@pytest.mark.parametrize("own", ["defaults: {z: 3}", "base: {z: 3}"])
def test_the_file_says_what_old_trials_had_of_a_new_parameter(
    opened: Opened, make_study: MakeStudy, own: str
) -> None:
    study = opened.open(make_study())
    opened.tell(study, make_study(), x=0.5, y="a")
    file = make_study(**ADDED, **{"max_epochs: 4": f"max_epochs: 4\n  {own}"})
    study = opened.open(file)
    assert study.get_trials()[0].params == {"x": 0.5, "y": "a", "z": 3}


def test_without_a_default_of_a_new_parameter_old_trials_are_only_shown(
    opened: Opened, make_study: MakeStudy
) -> None:
    study = opened.open(make_study())
    opened.tell(study, make_study(), x=0.5, y="a")
    study = opened.open(make_study(**ADDED))
    assert opened.said == [
        "z: new, 1 to 9; none of 1 old trial fits, they are shown only; "
        "'tuner: {defaults: {z: …}}' says what they had"
    ]
    assert study.get_trials() == []


def test_a_parameter_that_is_removed_keeps_the_trials_that_had_what_new_ones_have(
    opened: Opened, make_study: MakeStudy
) -> None:
    file = make_study()
    study = opened.open(file)
    for y in "ab":
        opened.tell(study, file, x=0.5, y=y)
    study = opened.open(make_study(**{f"  {Y}\n": ""}), y="b")
    assert "y: no longer a parameter (was one of a, b, c), new trials have b; 1 of 2 old" in opened.said[0]
    assert [trial.params for trial in study.get_trials()] == [{"x": 0.5}]


def test_requirements_and_constraints_judge_old_trials_anew(opened: Opened, make_study: MakeStudy) -> None:
    study = opened.open(make_study())
    for x in (0.2, 0.8):
        opened.tell(study, make_study(), x=x, y="a")
    own = "max_epochs: 4\n  requires: ['x < 0.5']\n  constraints: ['extra >= 3']"
    study = opened.open(make_study(**{"max_epochs: 4": own}))
    assert opened.said[0].startswith("requires: now")
    assert opened.said[-1] == (
        "constraints: now extra >= 3 (was none); old trials are judged by what they logged"
    )
    (trial,) = study.get_trials()
    assert trial.constraints == {"extra >= 3": 1.0}
    assert study.outside()[0].user_attrs[OUTSIDE] == "it breaks requires 'x < 0.5'"


def test_a_grid_tries_new_points_and_shows_those_that_left(opened: Opened, make_study: MakeStudy) -> None:
    file = make_study(GRID)
    study = opened.open(file)
    for _ in range(2):
        run_next(opened, study, file)
    wider = make_study(GRID, **{"[1, 2, 3]": "[0, 2, 3, 4]"})
    study = opened.open(wider)
    assert opened.total == 4
    assert [trial.params["x"] for trial in study.get_trials()] == [2]
    tried = [run_next(opened, study, wider) for _ in range(3)]
    assert tried == [0, 3, 4]
    assert run_next(opened, study, wider) is None


def test_a_queued_trial_takes_the_nearest_values(opened: Opened, make_study: MakeStudy) -> None:
    study = opened.open(make_study(), x=0.9, y="a")
    study = opened.open(make_study(**{X: "x: {min: 0.0, max: 0.5}"}))
    (waiting,) = study.get_trials()
    assert waiting.system_attrs["fixed_params"] == {"x": 0.5, "y": "a"}


def test_a_queued_point_of_a_grid_that_left_is_not_run(opened: Opened, make_study: MakeStudy) -> None:
    file = make_study(GRID)
    study = opened.open(file)
    opened.records.enqueue(study_id(study), {"x": 1}, {GRID_POINT: 0})
    fewer = make_study(GRID, **{"[1, 2, 3]": "[2, 3]"})
    study = opened.open(fewer)
    assert [run_next(opened, study, fewer) for _ in range(3)] == [2, 3, None]
    study = opened.open(file)  # it was never run: it is tried after all
    assert run_next(opened, study, file) == 1


def test_a_change_is_refused_while_agents_run_and_more_trials_are_not(
    opened: Opened, make_study: MakeStudy
) -> None:
    study = opened.open(make_study())
    lease = Owner.this_process().lease(0)
    opened.records.claim(study_id(study), user_attrs={LEASE: lease})
    with pytest.raises(InputError, match="is being run at this moment with the file as it was; stop its"):
        opened.open(make_study(**{X: "x: {min: 0.0, max: 0.5}"}))
    opened.open(make_study(**{"run_cap: 6": "run_cap: 9"}))
    assert opened.said == ["run_cap: now 9 (was 6)"]
    assert opened.total == 9


def test_an_agent_of_the_old_file_leaves(opened: Opened, make_study: MakeStudy) -> None:
    study = opened.open(make_study())
    agent = Allocator(study, owner=Owner.this_process(), observer=Observer(), total=6, changes=0)
    opened.open(make_study(**{X: "x: {min: 0.0, max: 0.5}"}))
    found = agent.next()
    assert isinstance(found, Done)
    assert "changed in another terminal" in found.reason


def test_the_trials_of_a_dead_agent_do_not_keep_a_study_from_changing(
    opened: Opened, make_study: MakeStudy
) -> None:
    study = opened.open(make_study())
    dead = {**Owner.this_process().lease(0), "started": "before"}
    opened.records.claim(study_id(study), user_attrs={LEASE: dead}, fixed={"x": 0.9, "y": "a"})
    study = opened.open(make_study(**{X: "x: {min: 0.0, max: 0.5}"}))
    assert study.get_trials()[-1].system_attrs["fixed_params"] == {"x": 0.5, "y": "a"}


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "random", "nsgaii", "qmc", "gp", "cmaes"])
def test_every_sampler_goes_on_with_a_changed_study(
    opened: Opened, make_study: MakeStudy, sampler: str
) -> None:
    if sampler in samplers.NEEDS:
        pytest.importorskip(samplers.NEEDS[sampler][0], reason="the sampler needs it")
    own = {"max_epochs: 4": f"max_epochs: 4\n  sampler: {sampler}"}
    file = make_study(**own)
    study = opened.open(file)
    for k in range(12):
        opened.tell(study, file, x=k / 12, y="abc"[k % 3])
    file = make_study(**own, **{X: "x: {min: 0.0, max: 0.5}", Y: "y: {values: [a, c, d]}"})
    study = opened.open(file)
    for _ in range(2):
        trial = opened.tell(study, file)
        assert trial.params["x"] <= 0.5
        assert trial.params["y"] in "acd"


def test_a_change_that_is_killed_in_the_middle_has_not_happened(
    tmp_path: Path, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(default_url(tmp_path / "results"))
    study = opened.open(make_study())
    opened.tell(study, make_study(), x=0.9, y="a")
    narrow = make_study(**{X: "x: {min: 0.0, max: 0.5}"})
    monkeypatch.setattr(TrialRows, "count_uncounted", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        opened.open(narrow)
    monkeypatch.undo()
    study = opened.open(make_study())
    assert opened.said == []
    assert len(study.get_trials()) == 1


def run_next(opened: Opened, study: optuna.Study, file: StudyFile) -> object:
    """Runs the next trial of a grid; its x, or None where none is left."""
    grid = [file.space.params_for(config) for config in file.grid()]
    allocator = Allocator(
        study,
        owner=Owner.this_process(),
        observer=Observer(),
        total=len(grid),
        grid=grid,
    )
    found = allocator.next()
    if isinstance(found, Done):
        return None
    trial = Trial(study, found._trial_id)  # type: ignore[union-attr]
    x = file.space.suggest(trial)["x"]
    study.tell(trial, float(x))
    return x
