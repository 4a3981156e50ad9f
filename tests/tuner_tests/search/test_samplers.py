"""One contract for every sampler: draws lie in the space, keep its requirements, and can be repeated."""

import importlib.util
from collections import Counter
from itertools import pairwise

import optuna
import pytest
import scipy.stats
from optuna.trial import TrialState, create_trial

from tuner.base.errors import InputError
from tuner.definition.loading import load_study_file
from tuner.search import samplers

optuna.logging.set_verbosity(optuna.logging.ERROR)

SWEEP = """\
method: bayes
program: train.py
run_cap: 60
metric: {{name: loss, goal: minimize}}
parameters:
  width: {{distribution: q_uniform, min: 81, max: 271, q: 32}}
  heads: {{min: 4, max: 8}}
  lr: {{distribution: log_uniform_values, min: 1.0e-4, max: 1.0e-1}}
  noise: {{distribution: normal}}
  momentum: {{min: 0.0, max: 0.9}}
  kind: {{values: [a, b, c]}}
tuner:
  sampler: {sampler}
  requires: ["width % heads == 0"]
  when: {{momentum: kind == 'b'}}
"""

NAMES = ["tpe", "random", "nsgaii", "qmc", "gp"]
if importlib.util.find_spec("cmaes"):
    NAMES.append("cmaes")


@pytest.fixture
def study_of(tmp_path):
    """Loads the sweep above with a sampler."""

    def study_of(sampler, **changes):
        path = tmp_path / "sweep.yaml"
        text = SWEEP.format(sampler=sampler)
        for old, new in changes.items():
            text = text.replace(old, new)
        path.write_text(text)
        return load_study_file(path)

    return study_of


def run(study, *, seed, trials=30):
    """Configurations of a small study."""
    optimised = optuna.create_study(
        directions=[m.goal for m in study.objectives], sampler=samplers.make(study, seed)
    )
    configs = []
    for _ in range(trials):
        trial = optimised.ask()
        config = study.space.suggest(trial)
        configs.append(config)
        optimised.tell(trial, abs(config["lr"] - 0.01) + (config["kind"] != "b"))
    return configs


@pytest.mark.parametrize("name", NAMES)
def test_draws_lie_in_the_space_and_keep_its_requirements(study_of, name):
    study = study_of(name)
    for config in run(study, seed=1, trials=14):
        assert config["width"] in (96, 128, 160, 192, 224, 256)
        assert 1e-4 <= config["lr"] <= 1e-1
        assert ("momentum" in config) == (config["kind"] == "b")
        assert study.space.violated(config) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_draws_the_same(study_of, name):
    assert run(study_of(name), seed=3, trials=14) == run(study_of(name), seed=3, trials=14)


def test_agents_with_different_seeds_draw_differently(study_of):
    """W&B's agents are handed equal parameters (wandb #5215); ours are seeded apart."""
    assert run(study_of("tpe"), seed=1, trials=3) != run(study_of("tpe"), seed=2, trials=3)


def test_tpe_learns(study_of):
    configs = run(study_of("tpe"), seed=1, trials=60)
    late = [config["kind"] for config in configs[30:]]
    assert late.count("b") > 15


def test_a_fixed_parameter_is_kept_and_the_rest_drawn_to_fit_it(study_of):
    study = study_of("tpe")
    optimised = optuna.create_study(sampler=samplers.make(study, 0))
    for _ in range(12):
        optimised.enqueue_trial({"heads": 7})
        config = study.space.suggest(optimised.ask())
        assert config["heads"] == 7 and config["width"] == 224


class Stubborn(optuna.samplers.BaseSampler):
    """Draws the same configuration whenever it is asked, as a model nearly does."""

    def __init__(self, **params):
        self.params = params

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, param_name, param_distribution):
        return self.params[param_name]


def test_what_breaks_a_requirement_is_mended_and_the_rest_is_kept(study_of):
    space = study_of("tpe").space
    drawn = {"width": 96, "heads": 7, "lr": 0.002, "noise": 0.5, "momentum": 0.3, "kind": "c"}
    sampler = samplers.MendingSampler(Stubborn(**drawn), space, seed=0)
    study = optuna.create_study(sampler=sampler)
    widths = []
    for _ in range(40):
        trial = study.ask()
        config = space.suggest(trial)
        assert config["width"] % config["heads"] == 0
        assert {name: trial.params[name] for name in ("lr", "kind")} == {"lr": 0.002, "kind": "c"}
        widths.append(config["width"])
    assert len(set(widths)) > 2  # either of the two may have been drawn anew


def test_random_search_draws_what_is_allowed_with_equal_chances(study_of):
    space = study_of("random").space
    study = optuna.create_study(sampler=samplers.make(study_of("random"), 0))
    pairs = Counter()
    for _ in range(1200):
        config = space.suggest(study.ask())
        pairs[config["width"], config["heads"]] += 1
    allowed = [(w, h) for w in (96, 128, 160, 192, 224, 256) for h in range(4, 9) if w % h == 0]
    assert set(pairs) == set(allowed)
    assert scipy.stats.chisquare(list(pairs.values())).pvalue > 0.001


def agents(study_file, count, *, start=0):
    """`count` agents' views of one study: each has a sampler object and a seed of its own."""
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(study_name="shared", storage=storage)
    return [
        optuna.load_study(
            study_name="shared", storage=storage, sampler=samplers.make(study_file, start + seed)
        )
        for seed in range(count)
    ]


def kinds(study_file, study, trials):
    """The kinds that are proposed; kind b is the best."""
    found = []
    for _ in range(trials):
        trial = study.ask()
        config = study_file.space.suggest(trial)
        found.append(config["kind"])
        study.tell(trial, abs(config["lr"] - 0.01) + (config["kind"] != "b"))
    return found


def test_agents_learn_from_each_others_trials(study_of):
    study_file = study_of("tpe")
    first, second, third = agents(study_file, 3)
    for study in (first, second) * 8:
        kinds(study_file, study, 2)
    assert kinds(study_file, third, 20).count("b") > 12


def test_an_agent_that_is_started_again_goes_on_from_what_was_learned(study_of):
    study_file = study_of("tpe")
    (study,) = agents(study_file, 1)
    kinds(study_file, study, 30)
    study.sampler = samplers.make(study_file, 99)
    assert kinds(study_file, study, 20).count("b") > 12


def test_a_choice_that_is_tried_often_gives_way_to_others():
    """The first trials with kind a are the best there will be: b and c get their turn all the same."""
    space = {
        "kind": optuna.distributions.CategoricalDistribution(["a", "b", "c"]),
        "lr": optuna.distributions.FloatDistribution(0.0, 1.0),
    }
    study = optuna.create_study(
        sampler=samplers.TPE(seed=0, n_startup_trials=5, multivariate=True, group=False)
    )
    for number in range(10):
        params = {"kind": "abc"[number % 3], "lr": number / 10}
        study.add_trial(create_trial(params=params, distributions=space, value=float(number % 3)))
    proposed = []
    for _ in range(30):
        trial = study.ask(space)
        proposed.append(trial.params["kind"])
        study.tell(trial, 2.0)
    assert min(Counter(proposed)[kind] for kind in "abc") >= 3


def test_a_sampler_that_needs_a_package_says_which(study_of):
    if importlib.util.find_spec("cmaes"):
        pytest.skip("cmaes is installed")
    with pytest.raises(InputError, match="pip install cmaes"):
        samplers.make(study_of("cmaes"), 0)


def test_the_search_model_is_asked_sooner_where_the_first_trial_is_known_to_be_good(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP.format(sampler="tpe"))
    file = load_study_file(path)
    startup = [samplers.tpe_startup_trials(file, known_start=known) for known in (False, True)]
    assert startup == [samplers.STARTUP_TRIALS, samplers.TPE_STARTUP_TRIALS_FROM_KNOWN] == [10, 5]


@pytest.mark.parametrize(
    ("run_cap", "pruner", "expected"),
    [(6, "median", 5), (30, "median", 10), (60, "median", 20), (5000, "median", 20), (60, "none", 10)],
)
def test_a_small_study_and_one_that_prunes_nothing_ask_their_model_sooner(
    study_of, run_cap, pruner, expected
):
    changes = {"run_cap: 60": f"run_cap: {run_cap}", "tuner:": f"tuner:\n  pruner: {{type: {pruner}}}"}
    assert samplers.tpe_startup_trials(study_of("tpe", **changes), known_start=False) == expected


def test_a_long_study_is_weighed_by_an_even_part_of_it_with_its_newest_and_running_trials(monkeypatch):
    monkeypatch.setattr(samplers, "MOST_WEIGHED", 20)
    monkeypatch.setattr(samplers, "NEWEST", 5)
    states = [TrialState.RUNNING if number == 7 else TrialState.COMPLETE for number in range(100)]
    trials = [create_trial(state=state, value=0.0 if state.is_finished() else None) for state in states]
    for number, trial in enumerate(trials):
        trial.number = number
    numbers = [trial.number for trial in samplers.thinned(trials)]
    assert numbers == sorted(numbers)
    assert len(numbers) == 21
    assert {7, *range(95, 100)} <= set(numbers)
    gaps = [b - a for a, b in pairwise(number for number in numbers if number < 95 and number != 7)]
    assert set(gaps) <= {6, 7}
    assert samplers.thinned(trials[:20]) == trials[:20]


def test_the_model_of_a_long_study_is_made_of_the_thinned_trials(study_of, monkeypatch):
    monkeypatch.setattr(samplers, "MOST_BETTER", 3)
    monkeypatch.setattr(samplers, "MOST_WEIGHED", 12)
    monkeypatch.setattr(samplers, "NEWEST", 4)
    sizes = []
    whole = samplers.thinned

    def spied(trials):
        sizes.append((len(trials), len(whole(trials))))
        return whole(trials)

    monkeypatch.setattr(samplers, "thinned", spied)
    run(study_of("tpe"), seed=0, trials=30)
    assert max(before for before, _ in sizes) > 20
    assert max(after for _, after in sizes) == 12


def split(trials, direction="maximize"):
    """The numbers that TPE takes for the better ones, as its choice among them grows."""
    from optuna.samplers._tpe.sampler import _split_trials

    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    ranked = samplers.by_progress(study.trials, study.direction)
    better = [_split_trials(study, ranked, count)[0] for count in range(len(trials) + 1)]
    numbers = [{trial.number for trial in group} for group in better]
    return [(after - before).pop() for before, after in pairwise(numbers)]


def ended(state, values, miss):
    return create_trial(
        state=TrialState[state],
        value=values[-1] if state == "COMPLETE" else None,
        intermediate_values=dict(enumerate(values, 1)),
        constraints={"command_acc >= 1.0": miss},
    )


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1), ("minimize", -1)])
def test_pruned_trials_stand_behind_complete_ones_by_progress(direction, sign):
    """Optuna alone would take the trial of two epochs that misses its constraint least for the best."""
    trials = [
        ended("PRUNED", [sign * 0.1, sign * 0.2], 0.001),
        ended("PRUNED", [sign * 0.1, sign * 0.2, sign * 0.3], 0.5),
        ended("COMPLETE", [sign * 0.1, sign * 0.2, sign * 0.9], 0.2),
        ended("PRUNED", [sign * 0.1, sign * 0.25], 0.4),
        ended("COMPLETE", [sign * 0.1, sign * 0.2, sign * 0.6], -0.1),
        ended("COMPLETE", [sign * 0.1, sign * 0.2, sign * 0.8], 1e9),  # its metric was not there
    ]
    assert split(trials, direction) == [4, 2, 5, 1, 3, 0]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_best_of_a_long_study_are_those_of_all_its_trials(direction):
    from optuna.samplers._tpe.sampler import _split_trials

    study = optuna.create_study(direction=direction)
    for number in range(900):
        done = number % 3 == 0
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if done else TrialState.PRUNED,
                value=float(number * 37 % 811) if done else None,
                intermediate_values={1: 0.0},
            )
        )
    few = samplers.best_and_thinned(study.trials, study.direction)
    better, _ = _split_trials(study, study.trials, samplers.MOST_BETTER)
    assert _split_trials(study, few, samplers.MOST_BETTER)[0] == better
    assert samplers.MOST_WEIGHED - samplers.MOST_BETTER <= len(few) - len(better) <= samplers.MOST_WEIGHED
    assert [t.number for t in few] == sorted(t.number for t in few)
    assert samplers.best_and_thinned(study.trials[:70], study.direction) == study.trials[:70]


def test_without_constraints_trials_are_handed_on_as_they_are():
    trials = [create_trial(state=TrialState.PRUNED, intermediate_values={1: 0.5})]
    assert samplers.by_progress(trials, optuna.study.StudyDirection.MAXIMIZE) == trials
