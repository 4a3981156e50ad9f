"""A sweep file's `scheduler`: which sampler and pruner of Optuna it asks for, or why it cannot be run here.

Two forms are known: `engine` (schedulers of wandb 0.31: wandb, optuna or ax), and `settings` with a sampler
and a pruner (the Optuna scheduler job of W&B Launch).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tuner.definition.yaml_source import YamlPart

SAMPLERS = {
    "TPESampler": "tpe",
    "RandomSampler": "random",
    "CmaEsSampler": "cmaes",
    "GPSampler": "gp",
    "NSGAIISampler": "nsgaii",
    "QMCSampler": "qmc",
}
# Optuna's pruner → ours, and its arguments → our settings
PRUNERS: dict[str, tuple[str, dict[str, str]]] = {
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
FUNCTIONS = ("source", "optimizer", "search_space")


@dataclass(frozen=True)
class Scheduler:
    """What a `scheduler` asks for; None where it says nothing. `pruner`: its kind and settings."""

    sampler: str | None = None
    pruner: dict[str, Any] | None = None


def read_scheduler(top: YamlPart) -> Scheduler:
    """The file's `scheduler`.

    Raises:
        InputError: it names an engine, a sampler, a pruner or an argument that cannot be run here.
    """
    if "scheduler" not in top:
        return Scheduler()
    section = top.section("scheduler")
    section.only(("engine", "settings", *FUNCTIONS, *LAUNCH), "key")
    engine = section.choice("engine", ("wandb", "optuna", "ax"))
    if engine == "ax":
        section.fail("engine", "Ax cannot be run here; for a Gaussian process: tuner: {sampler: gp}")
    for key in FUNCTIONS:
        if key in section:
            section.fail(key, "a function of W&B's scheduler cannot be run here; see 'tuner.sampler'")
    settings = section.section("settings") if "settings" in section else None
    if settings is None:
        return Scheduler("tpe" if engine == "optuna" else None)
    settings.only(("sampler", "pruner", "optuna_source", "optuna_source_filename"), "key")
    for key in ("optuna_source", "optuna_source_filename"):
        if key in settings:
            settings.fail(key, "a program of W&B Launch cannot be run here; see 'tuner.sampler'")
    return Scheduler(_sampler(settings), _pruner(settings))


def _sampler(settings: YamlPart) -> str | None:
    if "sampler" not in settings:
        return None
    section = settings.section("sampler")
    section.only(("type", "args"), "key")
    kind = section.choice("type", SAMPLERS)
    if "args" in section:
        section.section("args").only(("seed",), f"argument of {kind} that can be run here")
    return SAMPLERS[kind] if kind else None


def _pruner(settings: YamlPart) -> dict[str, Any] | None:
    if "pruner" not in settings:
        return None
    section = settings.section("pruner")
    section.only(("type", "args"), "key")
    kind = section.choice("type", PRUNERS)
    if kind is None:
        section.fail("type", f"missing; expected one of {', '.join(PRUNERS)}")
    name, known = PRUNERS[kind]
    found: dict[str, Any] = {"kind": name}
    if "args" in section:
        arguments = section.section("args")
        arguments.only(known, f"argument of {kind} that can be run here")
        found |= {known[key]: arguments.plain()[key] for key in arguments}
    return found
