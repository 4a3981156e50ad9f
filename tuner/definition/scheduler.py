"""A sweep file's `scheduler`: which sampler and pruner of Optuna it asks for, or why it cannot be run here.

Three forms are known: `engine` (schedulers of wandb 0.31: wandb, optuna or ax); with `engine: optuna`
functions of a file `source`, an `optimizer` that makes a study and a `search_space` that draws a trial's
parameters; and `settings` with a sampler and a pruner (the Optuna scheduler job of W&B Launch).
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tuner.base.errors import nearest
from tuner.definition.yaml_source import YamlPart

Kind = Literal["sampler", "pruner"]
# Optuna's class → ours, and its arguments → our settings; with other arguments it is Optuna's own
OURS: dict[str, tuple[str, dict[str, str]]] = {
    "TPESampler": ("tpe", {}),
    "RandomSampler": ("random", {}),
    "CmaEsSampler": ("cmaes", {}),
    "GPSampler": ("gp", {}),
    "NSGAIISampler": ("nsgaii", {}),
    "QMCSampler": ("qmc", {}),
    "NopPruner": ("none", {}),
    "HyperbandPruner": (
        "hyperband",
        {"min_resource": "min_resource", "max_resource": "max_resource", "reduction_factor": "eta"},
    ),
    "SuccessiveHalvingPruner": (
        "successive_halving",
        {"min_resource": "min_resource", "reduction_factor": "eta"},
    ),
    "MedianPruner": ("median", {"n_startup_trials": "startup_trials", "n_warmup_steps": "warmup"}),
}
LAUNCH = ("job", "name", "num_workers", "resource", "resource_args", "docker_image")  # say where W&B runs it
SERVERS = "is for W&B Launch, which needs W&B's servers; to run a script here, name it under 'program'"
AX = (
    "a study here is Optuna's, and Ax keeps its trials in an experiment of its own; for a Gaussian process, "
    "as Ax has one: scheduler: {engine: optuna, settings: {sampler: {type: GPSampler}}}"
)
OPTIMIZER = "optimizer"  # the kind of a pruner that a function makes


@dataclass(frozen=True)
class Scheduler:
    """What a `scheduler` asks for; None where it says nothing. `pruner`: its kind and settings.

    Attributes:
        sampler: ours by name, or a class of Optuna's. arguments: of that class.
        optimizer: a function, `file.py:name`, that makes the study of Optuna's whose sampler and pruner are
            used. search_space: one that draws the parameters of a trial.
    """

    sampler: str | None = None
    arguments: Mapping[str, Any] | None = None
    pruner: dict[str, Any] | None = None
    optimizer: str | None = None
    search_space: str | None = None


def read_scheduler(top: YamlPart) -> Scheduler:
    """The file's `scheduler`.

    Raises:
        InputError: it names an engine, a sampler, a pruner or an argument that cannot be run here.
    """
    if "scheduler" not in top:
        return Scheduler()
    section = top.section("scheduler")
    section.only(("engine", "settings", "source", "optimizer", "search_space", *LAUNCH), "key")
    engine = section.choice("engine", ("wandb", "optuna", "ax"))
    if engine == "ax":
        section.fail("engine", AX)
    source = section.text("source")
    functions: dict[str, Any] = {"optimizer": None, "search_space": None}
    for key in functions:
        if name := section.text(key):
            if engine != "optuna" or not source:
                section.fail(
                    key, "needs engine: optuna, and the Python file that has the function, as 'source'"
                )
            functions[key] = f"{source}:{name}"
    if source and not any(functions.values()):
        section.fail("source", "expected the name of a function in it, as 'optimizer' or 'search_space'")
    settings = section.section("settings") if "settings" in section else None
    if functions["optimizer"]:
        if settings is not None:
            section.fail("settings", "expected either 'settings' or 'optimizer', which has them")
        return Scheduler(sampler=functions["optimizer"], pruner={"kind": OPTIMIZER}, **functions)
    if settings is None:
        return Scheduler("tpe" if engine == "optuna" else None, **functions)
    settings.only(("sampler", "pruner", "optuna_source", "optuna_source_filename"), "key")
    for key in ("optuna_source", "optuna_source_filename"):
        if key in settings:
            settings.fail(key, "a program of W&B Launch; name its functions as scheduler: {engine: optuna, "
                          "source: FILE.py, optimizer: …, search_space: …}")  # fmt: skip
    sampler, arguments = _named(settings, "sampler") if "sampler" in settings else (None, None)
    pruner = pruner_values(*_named(settings, "pruner")) if "pruner" in settings else None
    return Scheduler(sampler, arguments, pruner, **functions)


def refuse_launch(top: YamlPart, *, runs: bool) -> None:
    """Says of a file for W&B Launch that it is one, before anything else.

    Args:
        runs: the file names what its trials run.
    """
    for key in ("queue", "launch", "resource", "resource_args", *(() if runs else ("job", "image_uri"))):
        if key in top:
            top.fail(key, SERVERS)
    if "method" not in top and "scheduler" in top:
        section = top.section("scheduler")
        for key in section:
            if key in LAUNCH:
                section.fail(key, f"{SERVERS}, and the 'method'")


def pruner_values(kind: str, told: dict[str, Any]) -> dict[str, Any]:
    """The settings of a pruner that `theirs` found."""
    return {"kind": kind, "arguments": told} if kind.endswith("Pruner") else {"kind": kind, **told}


def _named(settings: YamlPart, kind: Kind) -> tuple[str, dict[str, Any]]:
    """`{type: …, args: {…}}`: ours and its settings, or a class of Optuna's and its arguments."""
    section = settings.section(kind)
    section.only(("type", "args"), "key")
    if "type" not in section:
        section.fail("type", f"missing; expected one of {', '.join(classes(kind))}")
    name = section.choice("type", classes(kind))
    arguments = section.section("args").plain() if "args" in section else {}
    return theirs(section, name, arguments, kind)


def named_in(own: YamlPart, kind: Kind) -> tuple[YamlPart, str, str, dict[str, Any]]:
    """`pruner: NAME` or `{type: NAME, …}`: the section and key of the name, the name, all other values."""
    told = own.plain()[kind]
    section, key = (own.section(kind), "type") if isinstance(told, dict) else (own, kind)
    told = told if isinstance(told, dict) else {"type": told}
    return section, key, str(told.get("type", "")), {word: v for word, v in told.items() if word != "type"}


def theirs(section: YamlPart, name: str, arguments: dict[str, Any], kind: Kind) -> tuple[str, dict[str, Any]]:
    """What runs a class of Optuna's: ours and its settings where they do the same; else itself, as told.

    Raises:
        InputError: Optuna refuses the arguments.
    """
    arguments = {key: value for key, value in arguments.items() if key != "seed"}  # each agent has one
    ours, known = OURS.get(name, ("", {}))
    if ours and not arguments.keys() - known.keys():
        return ours, {known[key]: value for key, value in arguments.items()}
    key = "args" if "args" in section else "type"
    try:
        made(kind, name, arguments)
    except (TypeError, ValueError) as error:
        expected = ", ".join(inspect.signature(classes(kind)[name]).parameters)
        section.fail(key, f"{name}: {str(error).partition('__init__() ')[2] or error} (it takes: {expected})")
    return name, arguments


def classes(kind: Kind) -> dict[str, type]:
    """Optuna's samplers or pruners, by name."""
    import optuna  # half a second, which other files do not wait for

    module = optuna.samplers if kind == "sampler" else optuna.pruners
    word = kind.capitalize()
    return {
        name: getattr(module, name) for name in module.__all__ if name.endswith(word) and name[:4] != "Base"
    }


def made(kind: Kind, name: str, arguments: Mapping[str, Any], seed: int | None = None) -> Any:
    """The sampler or pruner of Optuna's. A mapping with `type` among its arguments is one as well.

    Raises:
        TypeError, ValueError: Optuna refuses the arguments.
    """
    from optuna.exceptions import ExperimentalWarning

    found = classes(kind)
    if name not in found:
        raise ValueError(f"Optuna has no {kind} {name!r}{nearest(name, found)}")
    told = {
        key: made(kind, str(value["type"]), value.get("args") or {}, seed)
        if isinstance(value, Mapping) and "type" in value
        else value
        for key, value in arguments.items()
    }
    if seed is not None and "seed" in inspect.signature(found[name]).parameters:
        told["seed"] = seed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return found[name](**told)
