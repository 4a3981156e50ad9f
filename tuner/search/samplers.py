"""How a study chooses its next configuration: Optuna's samplers by name."""

from __future__ import annotations

import copy
import heapq
import importlib.util
import math
import random
import warnings
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner.base.errors import InputError
from tuner.definition import expressions, scheduler
from tuner.definition.sampler import FREEZE_THAW
from tuner.definition.space import Space
from tuner.search import memory
from tuner.storage import optuna_private

if TYPE_CHECKING:
    from tuner.definition.study_file import StudyFile

STARTUP_TRIALS = 10  # random configurations before a model of them is trusted
# TPE's beside a pruner, measured with benchmarks/bench_arena.py. With 10, 2 of 40 studies on one half of the
# curves tuned a wrong optimiser so far that no other one passed the first rung beside it; with 20 none did.
TPE_STARTUP_TRIALS = 20
TPE_STARTUP_TRIALS_FROM_KNOWN = 5  # where the first trial is known to be good
MOST_BETTER = 25  # best trials, near which TPE proposes; Optuna takes a tenth, and no more than these
MOST_WEIGHED = 200  # trials that TPE weighs beside the best; past that a sample of them stands for all
NEWEST = 50  # of which all are weighed: agents at work are among them
BEHIND_ALL = 1e12  # more than any complete trial misses its constraints by
NEEDS = {"cmaes": ("cmaes", "choose tpe or gp")}  # package, what to do without
_TRIES = 100  # draws before a configuration that breaks `requires` is handed on, for the agent to refuse


def check(study_file: StudyFile) -> None:
    """Raises InputError where the study's sampler needs a package that is not installed here."""
    name = study_file.sampler
    package, otherwise = NEEDS.get(name, ("", ""))
    if package and importlib.util.find_spec(package) is None:
        where = f"{study_file.path}: sampler {name}"
        raise InputError(f"{where} needs a package: pip install {package}, or {otherwise}")


def make(
    study_file: StudyFile, seed: int, *, known_start: bool = False, given: BaseSampler | None = None
) -> BaseSampler:
    """The sampler of a study.

    Args:
        seed: differs by agent and restart (equal seeds draw equal start-up trials). Quasi-random points are
            one sequence that all agents share, so `qmc` is seeded by the study's name alone.
        known_start: the study's first trial is a configuration that is known to be good.
        given: the sampler of the study that a function of the file's makes.

    Raises:
        InputError: the sampler needs a package that is not installed.
    """
    check(study_file)
    with warnings.catch_warnings():  # Optuna 5.0 calls TPE's group and QMC experimental
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = given or _by_name(study_file, seed, known_start)
    plain = study_file.space.open or study_file.method == "grid" or study_file.sampler == FREEZE_THAW
    return sampler if plain else MendingSampler(sampler, study_file.space, seed)


def _by_name(study_file: StudyFile, seed: int, known_start: bool) -> BaseSampler:
    quiet: dict[str, Any] = {"warn_independent_sampling": False}
    match study_file.sampler:
        # grid points are enqueued: a grid's sampler is never asked; freeze_thaw chooses whole configurations
        case "random" | "grid" | "freeze_thaw":
            return optuna.samplers.RandomSampler(seed=seed)
        case "gp":
            from tuner.search.gaussian_process import GP  # SciPy, which other agents do without

            return GP(study_file.space, seed, startup_trials=STARTUP_TRIALS)
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
    if study_file.sampler != "tpe":  # by the name that it has in Optuna
        told = study_file.scheduler.arguments or {}
        return cast(BaseSampler, scheduler.made("sampler", study_file.sampler, told, seed))
    # multivariate: what is drawn is shared with other agents before the trial is under way
    # group: a conditional parameter is modelled among the trials that have it
    return TPE(
        seed=seed,
        n_startup_trials=tpe_startup_trials(study_file, known_start=known_start),
        multivariate=True,
        group=study_file.space.conditional,
    )


def tpe_startup_trials(study_file: StudyFile, *, known_start: bool) -> int:
    """How many trials are drawn at random before TPE's model is asked; a third of a small study at most."""
    if known_start:
        return TPE_STARTUP_TRIALS_FROM_KNOWN
    most = STARTUP_TRIALS if study_file.pruner.kind == "none" else TPE_STARTUP_TRIALS
    return min(most, max(5, (study_file.run_cap or 1000) // 3))


class TPE(optuna_private.TPESampler):
    """Optuna's TPE, but for which trials it sees.

    A pruned trial stands behind the complete ones, by how far it came, whatever it has of the study's
    constraints (`by_progress`). In a study of more than some 200 trials a suggestion costs little: the
    density of the best ones (25 at most) is compared with that of an even part of the others.
    """

    def seen(self, study: optuna.Study, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        if len(study.directions) == 1:
            trials = best_and_thinned(trials, study.directions[0])
        return by_progress(trials, study.directions[0])


def by_progress(trials: list[FrozenTrial], direction: StudyDirection) -> list[FrozenTrial]:
    """Trials as TPE sees them: complete ones by constraints and objective, then pruned ones by progress.

    Optuna ranks every trial that misses a constraint by how much it misses it, however short it was. In a
    study in which no trial meets `command_acc >= 1.0`, what was learned first won: the search went for the
    commands of epoch 2, and of 39 trials none came to its end.
    """
    if not any(trial.constraints for trial in trials):
        return trials
    pruned = sorted(
        (trial for trial in trials if trial.state is TrialState.PRUNED),
        key=lambda trial: _progress(trial, direction),
    )
    missed = {trial.number: BEHIND_ALL + rank for rank, trial in enumerate(pruned)}
    return [_missing(trial, missed[trial.number]) if trial.number in missed else trial for trial in trials]


def _progress(trial: FrozenTrial, direction: StudyDirection) -> tuple[float, float]:
    """Sorts pruned trials, best first: by the epochs they had, then by their value there."""
    step, value = max(trial.intermediate_values.items(), default=(-1, math.nan))
    sign = -1.0 if direction is StudyDirection.MAXIMIZE else 1.0
    return -step, math.inf if math.isnan(value) else sign * value


def _missing(trial: FrozenTrial, amount: float) -> FrozenTrial:
    seen = copy.copy(trial)
    seen.system_attrs = {f"{optuna_private.CONSTRAINT}progress": amount}
    return seen


def thinned(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Some MOST_WEIGHED of `trials`, in order: the newest, all that run, and an even part of the rest."""
    if len(trials) <= MOST_WEIGHED:
        return trials
    older, newest = trials[:-NEWEST], trials[-NEWEST:]
    running = [trial for trial in older if trial.state is TrialState.RUNNING]
    ended = [trial for trial in older if trial.state is not TrialState.RUNNING]
    places = min(MOST_WEIGHED - NEWEST, len(ended))
    kept = [ended[place * len(ended) // places] for place in range(places)]
    return sorted([*kept, *running, *newest], key=lambda trial: trial.number)


def best_and_thinned(trials: list[FrozenTrial], direction: StudyDirection) -> list[FrozenTrial]:
    """The MOST_BETTER best of `trials` and some MOST_WEIGHED of the others, in order.

    All of them where fewer than MOST_BETTER are complete: then the best pruned ones are near-best, too.
    """
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    if len(trials) <= MOST_WEIGHED + MOST_BETTER or len(complete) < MOST_BETTER:
        return trials
    sign = -1.0 if direction is StudyDirection.MAXIMIZE else 1.0
    best = heapq.nsmallest(MOST_BETTER, complete, key=lambda trial: sign * trial.values[0])
    numbers = {trial.number for trial in best}
    few = [*best, *(trial for trial in thinned(trials) if trial.number not in numbers)]
    return sorted(few, key=lambda trial: trial.number)


class MendingSampler(BaseSampler):
    """Mends what `base` draws: the space's `requires` must hold, and it must fit into memory, as far as known
    (`tuner.search.memory`). No trial is spent on what they rule out.

    While a requirement is broken, one of the parameters that it names is drawn anew at random, and the others
    stay as `base` chose them. (Asking `base` again would not do: a model draws nearly the same again.) Random
    search draws all of them anew, so that every configuration that is allowed stays equally likely.
    Unconditional parameters are drawn together before the trial starts; conditional ones are left to `base`
    until it has a model of them. Where there is nothing to mend, `base` draws as it does.
    """

    def __init__(self, base: BaseSampler, space: Space, seed: int) -> None:
        self._base = base
        self._space = space
        self._random = optuna.samplers.RandomSampler(seed=seed)
        self._order = random.Random(seed)
        self._rng = np.random.default_rng(seed)
        self._limit: memory.MemoryLimit | None = None
        self._relative: dict[str, BaseDistribution] = {}
        self._joint = {
            p.name: distribution
            for p, distribution in zip(space.searched, space.distributions().values(), strict=True)
            if p.when is None and not distribution.single()
        }

    def reseed_rng(self) -> None:
        self._base.reseed_rng()
        self._random.reseed_rng()
        self._order.seed()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        self._relative = self._base.infer_relative_search_space(study, trial)
        self._limit = memory.learnt(study.get_trials(deepcopy=False), self._joint)
        return {**self._joint, **self._relative} if self._mends else self._relative

    @property
    def _mends(self) -> bool:
        return bool(self._space.requires) or self._limit is not None

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        fixed = trial.system_attrs.get(optuna_private.FIXED_PARAMS, {})
        params = dict(self._base.sample_relative(study, trial, self._relative))
        if not self._mends:
            return params
        for name, distribution in self._joint.items():
            if name not in params and name not in fixed:
                params[name] = self._base.sample_independent(study, trial, name, distribution)
        uniform = isinstance(self._base, optuna.samplers.RandomSampler)
        for _ in range(_TRIES):
            broken = self._space.violated(self._space.config_of({**params, **fixed}))
            named = {name for requirement in broken for name in expressions.names(requirement)}
            free = sorted(named & params.keys() - fixed.keys())
            if not free:
                break
            for name in params if uniform else [self._order.choice(free)]:
                params[name] = self._random.sample_independent(study, trial, name, search_space[name])
        if self._limit is not None:
            whole = self._limit.mended(
                {**params, **fixed}, self._rng, fixed=fixed, anywhere=uniform, valid=self._space.allows
            )
            params = {name: whole[name] for name in params}
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
