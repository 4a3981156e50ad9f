"""How a study chooses its next configuration: Optuna's samplers by name."""

from __future__ import annotations

import copy
import importlib.util
import math
import warnings
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner.base.errors import InputError
from tuner.definition.space import Space

if TYPE_CHECKING:
    from tuner.definition.study_file import StudyFile

STARTUP_TRIALS = 10  # random configurations before a model of them is trusted
STARTUP_TRIALS_FROM_KNOWN = 5  # … where the first is known to be good: benchmarks/bench_anytime.py
MOST_WEIGHED = 500  # trials that TPE weighs beside the best; past that a sample of them stands for all
NEWEST = 50  # of which all are weighed: agents at work are among them
BEHIND_ALL = 1e12  # more than any complete trial misses its constraints by
NEEDS = {"gp": ("torch", "choose tpe"), "cmaes": ("cmaes", "choose tpe or gp")}  # package, what to do without
_TRIES = 100  # draws before a configuration that breaks `requires` is handed on, for the agent to refuse


def check(study_file: StudyFile) -> None:
    """Raises InputError where the study's sampler needs a package that is not installed here."""
    name = study_file.sampler
    package, otherwise = NEEDS.get(name, ("", ""))
    if package and importlib.util.find_spec(package) is None:
        where = f"{study_file.path}: sampler {name}"
        raise InputError(f"{where} needs a package: pip install {package}, or {otherwise}")


def make(study_file: StudyFile, seed: int, *, known_start: bool = False) -> BaseSampler:
    """The sampler of a study.

    Args:
        seed: differs by agent and restart (equal seeds draw equal start-up trials). Quasi-random points are
            one sequence that all agents share, so `qmc` is seeded by the study's name alone.
        known_start: the study's first trial is a configuration that is known to be good.

    Raises:
        InputError: the sampler needs a package that is not installed.
    """
    check(study_file)
    with warnings.catch_warnings():  # Optuna 5.0 calls TPE's group and QMC experimental
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = _by_name(study_file, seed, known_start)
    return RequiresSampler(sampler, study_file.space) if study_file.space.requires else sampler


def _by_name(study_file: StudyFile, seed: int, known_start: bool) -> BaseSampler:
    quiet: dict[str, Any] = {"warn_independent_sampling": False}
    match study_file.sampler:
        case "random" | "grid":  # grid points are enqueued: a grid's sampler is never asked
            return optuna.samplers.RandomSampler(seed=seed)
        case "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS, **quiet)
        case "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=STARTUP_TRIALS, **quiet)
        case "nsgaii":
            population = max(4, min(50, (study_file.run_cap or 250) // 5))
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=population)
        case "qmc":
            shared = zlib.crc32(study_file.name.encode())
            return optuna.samplers.QMCSampler(
                scramble=True, seed=shared, warn_asynchronous_seeding=False, **quiet
            )
    # group: a conditional parameter is modelled among the trials that have it
    return TPE(
        seed=seed,
        n_startup_trials=STARTUP_TRIALS_FROM_KNOWN if known_start else STARTUP_TRIALS,
        multivariate=True,
        group=study_file.space.conditional,
    )


class TPE(optuna.samplers.TPESampler):
    """Optuna's TPE, with two things of its own.

    A pruned trial stands behind the complete ones, by how far it came, whatever it has of the study's
    constraints (`ByProgress`).

    In a study of more than some 500 trials a suggestion costs little. TPE compares the density of the best
    trials (25 at most) with that of all others. The others' needs no 5,000 points, evenly spaced ones say
    the same. With 5,000 trials of 8 parameters a suggestion takes 23 ms of CPU in place of 66, with 100 four.
    """

    def _sample(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return super()._sample(cast(optuna.Study, ByProgress(study)), trial, search_space)

    def _build_parzen_estimator(
        self,
        study: optuna.Study,
        search_space: dict[str, BaseDistribution],
        trials: list[FrozenTrial],
        handle_below: bool,
    ) -> Any:
        weighed = trials if handle_below else thinned(trials)
        return super()._build_parzen_estimator(study, search_space, weighed, handle_below)


class ByProgress:
    """A study as TPE sees it: complete trials by constraints and objective, then pruned ones by progress.

    Optuna ranks every trial that misses a constraint by how much it misses it, however short it was. In a
    study in which no trial meets `command_acc >= 1.0`, what was learned first won: the search went for the
    commands of epoch 2, and of 39 trials none came to its end.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, **options: Any) -> list[FrozenTrial]:
        trials = self._study._get_trials(**options)
        if not any(trial.constraints for trial in trials):
            return trials
        pruned = sorted((t for t in trials if t.state is TrialState.PRUNED), key=self._progress)
        missed = {trial.number: BEHIND_ALL + place for place, trial in enumerate(pruned)}
        return [
            _missing(trial, missed[trial.number]) if trial.number in missed else trial for trial in trials
        ]

    def _progress(self, trial: FrozenTrial) -> tuple[float, float]:
        """Sorts pruned trials, best first: by the epochs they had, then by their value there."""
        step, value = max(trial.intermediate_values.items(), default=(-1, math.nan))
        sign = -1.0 if self._study.directions[0] is StudyDirection.MAXIMIZE else 1.0
        return -step, math.inf if math.isnan(value) else sign * value


def _missing(trial: FrozenTrial, amount: float) -> FrozenTrial:
    seen = copy.copy(trial)
    seen.system_attrs = {"constraints:progress": amount}
    return seen


def thinned(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Some MOST_WEIGHED of `trials`, in order: the newest, all that run, and an even part of the rest."""
    if len(trials) <= MOST_WEIGHED:
        return trials
    ended = [index for index, trial in enumerate(trials[:-NEWEST]) if trial.state is not TrialState.RUNNING]
    places = min(MOST_WEIGHED - NEWEST, len(ended))
    kept = {ended[place * len(ended) // places] for place in range(places)}
    running = set(range(len(trials))) - set(ended)
    return [trials[index] for index in sorted(kept | running)]


class RequiresSampler(BaseSampler):
    """Draws from `base` until the space's `requires` hold, so that no trial is spent on what they rule out.

    Unconditional parameters are drawn together before the trial starts; conditional ones are left to `base`.
    """

    def __init__(self, base: BaseSampler, space: Space) -> None:
        self._base = base
        self._space = space
        self._relative: dict[str, BaseDistribution] = {}
        self._joint = {
            p.name: distribution
            for p, distribution in zip(space.searched, space.distributions().values(), strict=True)
            if p.when is None and not distribution.single()
        }

    def reseed_rng(self) -> None:
        self._base.reseed_rng()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        self._relative = self._base.infer_relative_search_space(study, trial)
        return {**self._joint, **self._relative}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        fixed = trial.system_attrs.get("fixed_params", {})
        params: dict[str, Any] = {}
        for _ in range(_TRIES):
            params = dict(self._base.sample_relative(study, trial, self._relative))
            for name, distribution in self._joint.items():
                if name not in params and name not in fixed:
                    params[name] = self._base.sample_independent(study, trial, name, distribution)
            if not self._space.violated(self._space.config_of({**params, **fixed})):
                break
        return params

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._base.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._base.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._base.after_trial(study, trial, state, values)
