"""Rules that keep summaries decide as rules that read every report again, and read each report once."""

import math
from dataclasses import dataclass, field

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from tuner.definition.pruner_settings import PrunerSettings, rung_steps, wandb_bands
from tuner.search import pruners

RULES = [
    PrunerSettings("successive_halving", min_resource=1, max_resource=9, eta=3, recent=4),
    PrunerSettings("median", startup_trials=1, warmup=2),
    PrunerSettings("wandb_hyperband", min_iter=1, eta=1.5),
    PrunerSettings("hyperband", min_resource=1, max_resource=9, eta=3),
    PrunerSettings("hyperband", min_resource=2, max_resource=16, eta=2, recent=3),
    PrunerSettings("successive_halving", min_resource=2, max_resource=9, eta=2),
    PrunerSettings("wandb_hyperband", min_iter=2, eta=2, strict=False),
    PrunerSettings("wandb_hyperband", max_iter=9, s=2, eta=3),
]
# a rule of each kind in `make test`
EACH = [*RULES[:3], *(pytest.param(rule, marks=pytest.mark.slow) for rule in RULES[3:])]


# -- the rules as one would write them first: everything is read at every report


def plain(rule, study, trial):
    """`(step, value, needed, trials compared)` where the rule compares; step, value and None for NaN."""
    sign = -1 if study.directions[0] == StudyDirection.MAXIMIZE else 1
    by_kind = {"median": plain_median, "wandb_hyperband": plain_wandb}
    return by_kind.get(rule.settings.kind, plain_rungs)(rule, study.trials, trial, sign)


def plain_rungs(rule, trials, trial, sign):
    bracket, step = rule.bracket(trial.number), max(trial.intermediate_values, default=0)
    rungs = [rung for rung in rung_steps(rule.settings, bracket, up_to=step) if rung <= step]
    if not rungs or min(s for s in trial.intermediate_values if s >= rungs[-1]) != step:
        return None
    value = trial.intermediate_values[step]
    if math.isnan(value):
        return True
    others = []
    for other in trials:
        later = [s for s in other.intermediate_values if s >= rungs[-1]]
        if other.number != trial.number and rule.bracket(other.number) == bracket and later:
            others.append(other.intermediate_values[min(later)])
    others = [v for v in others if not math.isnan(v)]
    groups, recent = [[*others, value]], rule.settings.recent
    if recent is not None and len(others) >= recent:
        groups.append([*others[1 - recent :], value])
    return any(sign * value > last_to_pass(group, sign, int(rule.settings.eta)) for group in groups)


def last_to_pass(values, sign, eta):
    return sorted(sign * v for v in values)[max(0, len(values) // eta - 1)]


def plain_median(rule, trials, trial, sign):
    step = max(trial.intermediate_values, default=0)
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    if not step or step < rule.settings.warmup or len(complete) < rule.settings.startup_trials:
        return None
    there = sorted(t.intermediate_values.get(step, math.nan) for t in complete)
    there = sorted(v for v in there if not math.isnan(v))
    if not there:
        return None
    own = [sign * v for v in trial.intermediate_values.values() if not math.isnan(v)]
    middle = (there[(len(there) - 1) // 2] + there[len(there) // 2]) / 2
    return not own or min(own) > sign * middle


def plain_wandb(rule, trials, trial, sign):
    def history(t):
        return [sign * v for _, v in sorted(t.intermediate_values.items()) if math.isfinite(v)]

    own = history(trial)
    band = max((b for b in wandb_bands(rule.settings) if b <= len(own)), default=None)
    if band is None:
        return None
    others = [history(t) for t in trials if t.number != trial.number]
    there = sorted(h[band - 1] for h in (own, *others) if len(h) >= band)
    value = own[band - 1] if rule.settings.strict else min(own)
    return value > there[int(len(there) / rule.settings.eta)]


# -- studies as an agent sees them: its own trials grow in place, those of others are read again and again


@dataclass
class Study:
    directions: list
    trials: list = field(default_factory=list)

    def get_trials(self, deepcopy=False, states=None):
        return [t for t in self.trials if states is None or t.state in states]

    def start(self):
        trial = create_trial(state=TrialState.RUNNING)
        trial.number = len(self.trials)
        self.trials.append(trial)

    def read_again(self, number, **changes):
        """The trial as another reading of the storage gives it."""
        old = self.trials[number]
        known = {"state": old.state, "intermediate_values": dict(old.intermediate_values), **changes}
        value = 0.0 if known["state"] is TrialState.COMPLETE else None
        self.trials[number] = create_trial(value=value, **known)
        self.trials[number].number = number


STEPS_AHEAD = st.sampled_from([1, 1, 1, 1, 2, 5])
VALUES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, -1.0, math.nan, math.inf, -math.inf])
EVENTS = st.one_of(
    st.tuples(st.just("start")),
    st.tuples(st.just("report"), st.integers(0, 5), STEPS_AHEAD, VALUES),
    st.tuples(st.just("report"), st.integers(0, 5), STEPS_AHEAD, VALUES),
    st.tuples(st.just("report"), st.integers(0, 5), STEPS_AHEAD, VALUES),
    st.tuples(st.just("report at"), st.integers(0, 5), st.integers(1, 12), VALUES),
    st.tuples(st.just("read again"), st.integers(0, 5)),
    st.tuples(st.just("returned"), st.integers(0, 5)),
    st.tuples(st.just("end"), st.integers(0, 5), st.sampled_from(["COMPLETE", "PRUNED", "FAIL"])),
)


@pytest.mark.parametrize("rule_settings", EACH, ids=lambda s: f"{s.kind}-{s.eta}-{s.recent}-{s.strict}")
@settings(max_examples=150, deadline=None, derandomize=True)
@given(events=st.lists(EVENTS, min_size=10, max_size=120), goal=st.sampled_from(list(StudyDirection)[1:]))
def test_decisions_are_those_of_a_rule_that_reads_everything_again(rule_settings, events, goal):
    study, rule = Study([goal]), pruners.make(rule_settings, "a study")
    study.start()
    for what, *details in events:
        running = [t.number for t in study.trials if not t.state.is_finished()]
        if what == "start" or not running:
            study.start()
            continue
        number = running[details[0] % len(running)]
        match what, *details[1:]:
            case "report", ahead, value:
                reports = study.trials[number].intermediate_values
                reports[max(reports, default=0) + ahead] = value
            case "report at", step, value:  # out of order, or in place of an earlier one
                study.trials[number].intermediate_values[step] = value
            case ("read again",):
                study.read_again(number)
            case ("returned",):
                study.read_again(number, intermediate_values={})
            case "end", state:
                study.read_again(number, state=TrialState[state])
        if what.startswith("report"):
            trial = study.trials[number]
            assert rule.should_prune(study, trial) == bool(plain(rule, study, trial))


def test_the_rules_above_stop_and_compare_often_enough_to_tell():
    """Random histories would agree on rules that never compare."""
    for rule_settings in RULES:
        study, rule = Study([StudyDirection.MINIMIZE]), pruners.make(rule_settings, "a study")
        found = []
        for number in range(20):
            study.start()
            for step in range(1, 10):
                study.trials[number].intermediate_values[step] = float((number * 7) % 10)
                found.append(plain(rule, study, study.trials[number]))
            study.read_again(number, state=TrialState.COMPLETE)
        assert found.count(True) > 5 and found.count(False) > 5


# -- what is read


class Counted(dict):
    """Reports that count how many of them were iterated over."""

    read = 0

    def items(self):
        return CountedItems(self)

    def __iter__(self):
        for step in dict.__iter__(self):
            self.read += 1
            yield step

    keys = values = __iter__


class CountedItems:
    def __init__(self, reports):
        self.reports = reports

    def __iter__(self):
        return self._count(dict.items(self.reports))

    def __reversed__(self):
        return self._count(reversed(dict.items(self.reports)))

    def _count(self, items):
        for item in items:
            self.reports.read += 1
            yield item


@pytest.mark.parametrize("rule_settings", EACH, ids=lambda s: f"{s.kind}-{s.eta}-{s.recent}-{s.strict}")
def test_a_report_reads_no_other_report_again(rule_settings):
    study, rule = Study([StudyDirection.MINIMIZE]), pruners.make(rule_settings, "a study")
    for number in range(30):
        study.start()
        if number < 29:
            curve = Counted((step, number / 30) for step in range(1, 201))
            study.read_again(number, state=TrialState.COMPLETE)
            study.trials[number].intermediate_values = curve
    mine = study.trials[29]
    mine.intermediate_values = own = Counted()
    for step in range(1, 201):
        own[step] = 0.5
        rule.should_prune(study, mine)
    assert own.read <= 200
    assert max(trial.intermediate_values.read for trial in study.trials[:29]) <= 200


def test_the_trial_that_an_agent_runs_is_read_as_it_grows(records):
    """BufferedStorage hands out one growing dictionary: a copy at each report would cost as much again."""
    study_id = records.create_new_study([StudyDirection.MINIMIZE], "a study")
    number = records.claim(study_id, user_attrs={})._trial_id
    study = optuna.load_study(study_name="a study", storage=records)
    records.set_trial_intermediate_value(number, 1, 0.5)
    before = records.get_trial(number).intermediate_values
    records.set_trial_intermediate_value(number, 2, 0.5)
    assert records.get_trial(number).intermediate_values is before
    assert study.get_trials(deepcopy=False)[0].intermediate_values is before
