"""The sampler that a study file asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tuner.definition.metric import Metric
from tuner.definition.repeats import Repeats
from tuner.definition.scheduler import Scheduler, classes, named_in, theirs
from tuner.definition.space import Space
from tuner.definition.yaml_source import YamlPart

FREEZE_THAW = "freeze_thaw"  # trials are paused and resumed (`tuner.search.freeze_thaw`)
SAMPLERS = ("tpe", FREEZE_THAW, "random", "grid", "gp", "cmaes", "nsgaii", "qmc", "auto")
MOST_OF_GP = 250  # trials, past which a Gaussian process is slow and no better
_OF_METHOD = {"bayes": "tpe", "random": "random", "grid": "grid", "custom": "tpe"}


def read_sampler(
    own: YamlPart,
    method: str,
    space: Space,
    objectives: Sequence[Metric],
    cap: int | None,
    scheduler: Scheduler,
    *,
    pauses: bool,
) -> tuple[Scheduler, tuple[str, ...]]:
    """`scheduler` with the sampler's name, and notes; `auto` becomes what suits the study.

    Freeze-thaw where poor trials are to be ended early and nothing speaks against it (docs/search.md). Else,
    as OptunaHub's AutoSampler: a Gaussian process for a few hundred trials of a space of numbers, TPE where
    parameters are choices or conditional, NSGA-II for long studies of several objectives.

    Args:
        scheduler: the file's; its sampler is used unless `tuner.sampler` names one.
        pauses: trials may be paused: the file has a pruner and the epochs of a trial, and no more than that.
    """
    asked = scheduler.sampler
    name, arguments = asked if asked and method != "grid" else _OF_METHOD[method], scheduler.arguments
    if "sampler" in own:
        name, arguments = _own_sampler(own)
    if (name == "grid") != (method == "grid"):
        own.fail("sampler", f"expected a sampler for method {method}, got {name!r}")
    if space.open and name in (FREEZE_THAW, "gp"):
        own.fail("sampler", f"{name} needs 'parameters' in the study file; without them, choose tpe")
    notes: tuple[str, ...] = ()
    if name == "auto":
        name, why = _suited(space, objectives, cap, pauses=pauses)
        notes = (f"sampler auto: {name}, because {why}",)
    return replace(scheduler, sampler=name, arguments=arguments), notes


def _own_sampler(own: YamlPart) -> tuple[str, Mapping[str, Any] | None]:
    """`sampler: tpe`, a class of Optuna's, or `{type: …, …}` with its arguments."""
    section, key, name, told = named_in(own, "sampler")
    if name.endswith("Sampler"):
        return theirs(section, section.choice(key, classes("sampler")), told, "sampler")
    if section is not own:
        section.only((key,), "argument of the tuner's own samplers")
    return str(section.choice(key, SAMPLERS if name in SAMPLERS else (*SAMPLERS, *classes("sampler")))), None


def _suited(space: Space, objectives: Sequence[Metric], cap: int | None, *, pauses: bool) -> tuple[str, str]:
    """The sampler that suits a study, and why."""
    few = (cap or 0) <= MOST_OF_GP
    if space.open:
        return "tpe", "the objective draws its own parameters"
    if len(objectives) > 1:
        size = f"{MOST_OF_GP} trials at most" if few else f"more than {MOST_OF_GP} trials"
        return "tpe" if few else "nsgaii", f"there are {len(objectives)} objectives and {size}"
    if pauses:
        return FREEZE_THAW, "there is a pruner, so poor trials are paused early and the promising go on"
    if space.conditional or any(p.distribution.kind == "categorical" for p in space.searched):
        return "tpe", "a trial runs to its end, and some parameters are choices or conditional"
    if not few:
        return "tpe", f"a trial runs to its end, and there are more than {MOST_OF_GP}"
    return "gp", f"a trial runs to its end, all parameters are numbers, and trials are {MOST_OF_GP} at most"


def check_freeze_thaw(
    own: YamlPart, sampler: str, objectives: Sequence[Metric], repeats: Repeats, max_epochs: int | None
) -> None:
    """Raises InputError where trials cannot be paused and resumed, or a key is for such studies only."""
    if sampler != FREEZE_THAW:
        for key in ("epoch_budget", "learn_from"):
            if key in own:
                own.fail(key, f"is for sampler {FREEZE_THAW}, got {sampler}")
        return
    if max_epochs is None:
        own.fail("sampler", f"{FREEZE_THAW} has to know how long a trial is; add 'max_epochs: N'")
    if len(objectives) > 1:
        own.fail("sampler", f"{FREEZE_THAW} optimises one objective, the file has {len(objectives)}")
    if repeats.count > 1:
        own.fail("sampler", f"{FREEZE_THAW} pauses trials of one run; leave out 'seeds' and 'folds'")
