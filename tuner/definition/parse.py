"""Turns the YAML of a sweep file into a checked `StudyFile`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuner.base.errors import InputError
from tuner.base.words import seconds, slug
from tuner.definition import yaml_source
from tuner.definition.constraints import Constraint
from tuner.definition.keys import TUNER_KEYS, WANDB_KEYS
from tuner.definition.parse_hypotheses import read_hypotheses, read_matters
from tuner.definition.parse_space import lines_of, parse_space, read_defaults, read_first
from tuner.definition.pruner_settings import KINDS as PRUNERS
from tuner.definition.pruner_settings import PrunerSettings
from tuner.definition.repeats import Repeats, read_repeats
from tuner.definition.sampler import check_freeze_thaw, read_sampler
from tuner.definition.scheduler import Scheduler, read_scheduler
from tuner.definition.space import Space
from tuner.definition.study_file import GRACE_SECONDS, Base, Metric, Resources, StudyFile
from tuner.definition.yaml_source import Section

METRIC_KEYS = ("name", "goal", "target", "impute", "impute_while_running")
OLDER_KEYS = ("on",)  # in files written before 0.2
METHODS = ("bayes", "random", "grid", "custom")
RUNS = ("first", "last", "mean")
SCORES = ("last", "best")
_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*((?P<prefix>[kKMGT])(?P<binary>i)?)?B?")
_NO_PRUNER_KEYS = ("kind", "patience")
_PRUNER_KEYS = tuple(f.name for f in dataclasses.fields(PrunerSettings) if f.name not in _NO_PRUNER_KEYS)


def parse_study(path: Path) -> StudyFile:
    """Reads and checks the file at `path`. Raises InputError if the file is wrong."""
    top = yaml_source.read(path)
    top.only((*WANDB_KEYS, "tuner"), "key")
    own = top.section("tuner") if "tuner" in top else Section(path, {}, ("tuner",))
    own.only((*TUNER_KEYS, *OLDER_KEYS), "key")

    method = top.choice("method", METHODS)
    if method is None:
        top.fail("method", f"missing; expected one of {', '.join(METHODS[:3])}")
    if "parameters" not in top:
        top.fail("parameters", "missing; expected the parameters to search")
    top.choice("kind", ("sweep",))
    if "controller" in top:
        top.section("controller").choice("type", ("local", "cloud"))
    program, command = top.text("program"), _command(top)
    function = _checked(own, "objective", _function)
    workload = _workload(own)
    runs = [key for key, value in (("program", program or command), ("tuner.objective", function)) if value]
    if len(runs) + bool(workload) > 1:
        own.fail("workload", f"expected only one of {', '.join([*runs, 'tuner.workload'])}")
    if not runs and not workload and ("job" in top or "image_uri" in top):
        key = "job" if "job" in top else "image_uri"
        top.fail(key, "needs W&B's servers; to run the script here, name it under 'program'")

    called = str(top.text("name", path.stem))
    name = slug(called)
    space = parse_space(top, own)
    metric, *others = _objectives(top, own, method)
    objectives = (dataclasses.replace(metric, scored=own.choice("score", SCORES, "last")), *others)
    run_cap = top.integer("run_cap", least=1)
    scheduler = read_scheduler(top)
    if method == "grid":
        run_cap = _grid_size(top, space, run_cap)
    max_epochs = own.integer("max_epochs", least=1)
    seeds, repeats = read_repeats(own)
    longest = None if max_epochs is None else max_epochs * repeats.count  # of a trial, all its runs together
    pruner, constraints = _pruner(top, own, longest, scheduler), _constraints(own)
    pauses = pruner.kind != "none" and max_epochs is not None and repeats.count == 1 and not constraints
    sampler = read_sampler(own, method, space, objectives, run_cap, scheduler.sampler, pauses=pauses)
    check_freeze_thaw(own, sampler, objectives, repeats, max_epochs)
    return StudyFile(
        name=name,
        path=path,
        method=method,
        metric=objectives[0],
        space=space,
        sampler=sampler,
        epoch_budget=own.integer("epoch_budget", least=1),
        learn_from=tuple(map(str, own.list("learn_from"))),
        pruner=dataclasses.replace(pruner, patience=own.integer("patience", least=1)),
        **_stop(own, repeats, space, method),
        objectives=objectives,
        raw=top.plain(),
        run_cap=run_cap,
        early_terminate=top.section("early_terminate").plain() if "early_terminate" in top else None,
        program=program,
        command=command,
        folder=own.text("folder"),
        objective=function,
        constraints=constraints,
        front=tuple(_metric(section) for section in own.sections("front")),
        base=_base(own),
        defaults=read_defaults(own, space),
        first=read_first(own, space, method),
        shuffled=_shuffled(own, method),
        hypotheses=read_hypotheses(own),
        matters=read_matters(own),
        deterministic=own.get("deterministic", bool, "true or false", False),
        seeds=seeds,
        repeats=repeats,
        max_epochs=max_epochs,
        workload=workload,
        resources=_resources(own),
        weights=_weights(own),
        seed=own.text("seed"),
        trial_timeout=_seconds(own, "trial_timeout", None),
        grace=_seconds(own, "grace", GRACE_SECONDS),
        notes=(*top.notes, *_name_notes(called, name)),
        run=own.choice("run", RUNS, "first"),
        lines=lines_of(top),
        description=top.text("description", ""),
        purpose=own.text("purpose", "").strip(),
        cost=own.text("cost", "").strip(),
        expectation=own.text("expectation", "").strip(),
    )


def _name_notes(called: str, name: str) -> tuple[str, ...]:
    """That a study has another name than its file says, because names are those of folders too."""
    return () if called == name else (f"name {called!r}: the study is called '{name}'",)


def _checked(section: Section, key: str, convert: Callable[[str], Any]) -> Any:
    """The text under `key`, converted. A ValueError of `convert` becomes an InputError about the key."""
    text = section.text(key)
    if text is None:
        return None
    try:
        return convert(text)
    except ValueError as error:
        section.fail(key, str(error))


def _function(text: str) -> str:
    module, _, name = text.partition(":")
    parts = [module] if module.endswith(".py") else module.split(".")
    if not name.isidentifier() or not all(part.removesuffix(".py").strip() for part in parts):
        raise ValueError(f"expected package.module:function or file.py:function, got {text!r}")
    return text


def _workload(own: Section) -> str | None:
    """A class, or the name of an installed workload. Before 0.2 the key was `on` (`on: bundle`)."""
    older = own.choice("on", ("train", "bundle"))
    text = own.text("workload", "bundle" if older == "bundle" else None)
    if text is None:
        return None
    module, colon, name = text.partition(":")
    parts = [*module.removesuffix(".py").split("."), *([name] if colon else [])]
    if not all(part.isidentifier() for part in parts) and not (colon and module.endswith(".py")):
        own.fail("workload", f"expected package.module:Class or the name of a workload, got {text!r}")
    return text


def _resources(own: Section) -> Resources:
    """`resources: {gpus: 0.5, cpus: 4, memory: 8GiB}`."""
    if "resources" not in own:
        return Resources()
    section = own.section("resources")
    section.only(("gpus", "cpus", "memory"), "key")
    gpus = section.number("gpus")
    if gpus is not None and (gpus < 0 or (gpus > 1 and gpus != int(gpus))):
        section.fail("gpus", f"expected a whole number, or a share between 0 and 1, got {gpus:g}")
    memory = section.get("memory", (str, int), "a size such as 8GiB")
    return Resources(
        gpus=gpus,
        cpus=section.integer("cpus", least=1),
        memory=None if memory is None else _bytes(section, str(memory)),
    )


def _bytes(section: Section, text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        section.fail("memory", f"expected a size such as 8GiB or 500MB, got {text!r}")
    base = 1024 if match["binary"] else 1000
    return int(float(match["number"]) * base ** " kMGT".index((match["prefix"] or " ").replace("K", "k")))


def _seconds(own: Section, key: str, default: Any) -> Any:
    """A duration: seconds, or words such as 2h."""
    given = own.get(key, (str, int, float), "a duration such as 90s, 30m or 2h")
    if given is None:
        return default
    try:
        found = seconds(str(given))
    except ValueError as error:
        own.fail(key, str(error))
    if key == "trial_timeout" and not found:
        own.fail(key, "expected a duration above 0; without the key there is no limit")
    return found


def _stop(own: Section, repeats: Repeats, space: Space, method: str) -> dict[str, Any]:
    """`stop: {no_gain: 20, lead: 0.95, after: 10, levels: {digits: 0.99}}`."""
    if "stop" not in own:
        return {}
    section = own.section("stop")
    section.only(("no_gain", "lead", "after", "levels"), "key")
    lead = section.number("lead")
    if lead is not None and not 0.5 <= lead < 1:
        section.fail("lead", f"expected a level of confidence such as 0.95, got {lead:g}")
    if lead is not None and repeats.count < 2:
        section.fail("lead", "one run of a trial says nothing about its noise; add 'seeds: 3' or 'folds: 5'")
    if lead is None and "after" in section:
        section.fail("after", "is for 'lead': the finished trials before a lead counts")
    after = section.integer("after", least=2, default=10)
    return {
        "no_gain": section.integer("no_gain", least=1),
        "lead": lead,
        "lead_after": after,
        "levels": _levels(section, space, method) if "levels" in section else {},
    }


def _levels(stop: Section, space: Space, method: str) -> dict[str, float]:
    """`levels: {digits: 0.99}`: parameters of a grid, each with a level of confidence."""
    if method != "grid":
        stop.fail("levels", f"is for method grid, got {method}: elsewhere the pruner ends poor trials")
    section = stop.section("levels")
    names = [parameter.name for parameter in space.searched]
    section.only(names, "parameter of the grid")
    found = {name: section.number(name) for name in names if name in section}
    for name, confidence in found.items():
        if not 0.5 <= confidence < 1:
            section.fail(name, f"expected a level of confidence such as 0.99, got {confidence:g}")
    return found


def _weights(own: Section) -> tuple[str, ...] | None:
    patterns = own.list("weights")
    if not all(isinstance(p, str) and p and not p.startswith("/") and ".." not in p for p in patterns):
        own.fail("weights", f"expected file patterns such as '*.pt', got {patterns!r}")
    return tuple(patterns) if "weights" in own else None


def _command(top: Section) -> tuple[str, ...] | None:
    if "command" not in top:
        return None
    parts = top.list("command")
    if not parts or any(isinstance(part, dict | list) or part is None for part in parts):
        top.fail("command", f"expected a list of words, got {parts!r}")
    return tuple(str(part) for part in parts)


def _metric(section: Section) -> Metric:
    section.only(METRIC_KEYS, "key")
    name = section.text("name")
    if not name:
        section.fail("name", "missing; expected the name of a logged metric")
    goal = section.choice("goal", ("minimize", "maximize"), "minimize")
    section.choice("impute", ("latest", "best", "worst"))
    section.choice("impute_while_running", ("latest", "best", "worst", "false"))
    return Metric(name, goal, section.number("target"))


def _objectives(top: Section, own: Section, method: str) -> tuple[Metric, ...]:
    """The objectives, the metric first. Several come from `metrics` (W&B, method custom) or
    `tuner.objectives`.
    """
    if "metric" in top and "metrics" in top:
        top.fail("metrics", "expected either 'metric' or 'metrics'")
    if "metrics" in top:
        if method != "custom":
            top.fail("metrics", "is for method custom only; list several objectives in 'tuner.objectives'")
        return tuple(_metric(section) for section in top.sections("metrics"))
    several = tuple(_metric(section) for section in own.sections("objectives"))
    if "metric" in top:
        metric = _metric(top.section("metric"))
        if several and several[0].name != metric.name:
            own.fail("objectives", f"expected the metric {metric.name!r} first, got {several[0].name!r}")
        return (metric, *several[1:])
    if several:
        return several
    if method == "bayes" or "early_terminate" in top or {"pruner", "patience", "stop"} & set(own):
        top.fail("metric", "missing; expected the metric to optimise, {name: …, goal: minimize or maximize}")
    return (Metric("loss", "minimize", declared=False),)


def _grid_size(top: Section, space: Space, run_cap: int | None) -> int:
    """Number of grid points, at most `run_cap`. Raises InputError if a parameter has no grid."""
    try:
        size = len(space.grid())
    except InputError as error:
        raise InputError(f"{top.path}:{top.line('parameters')}: {error}") from None
    return size if run_cap is None else min(run_cap, size)


def _pruner(top: Section, own: Section, max_epochs: int | None, scheduler: Scheduler) -> PrunerSettings:
    """`tuner.pruner` if given, else the scheduler's, else W&B's early_terminate exactly, else none."""
    if scheduler.pruner is not None and "pruner" not in own:
        longest = scheduler.pruner.get("max_resource", max_epochs or scheduler.pruner.get("min_resource", 1))
        return _settings(top, "scheduler", {**scheduler.pruner, "max_resource": longest})
    if "early_terminate" in top and "pruner" not in own:
        section = top.section("early_terminate")
        section.choice("type", ("hyperband",))
        if "type" not in section or not ("min_iter" in section or {"max_iter", "s"} <= set(section)):
            section.fail("type", "expected type hyperband with min_iter, or with max_iter and s")
        section.only(("type", "min_iter", "max_iter", "s", "eta", "strict"), "key")
        settings = {
            "kind": "wandb_hyperband",
            "min_iter": section.integer("min_iter", least=1),
            "max_iter": section.integer("max_iter", least=1),
            "s": section.integer("s", least=1),
            "eta": section.number("eta", 3),
            "strict": section.get("strict", bool, "true or false", True),
        }
        if settings["eta"] <= 1:
            section.fail("eta", f"expected a number above 1, got {settings['eta']}")
        return _settings(section, "type", settings)
    if "pruner" not in own:
        return PrunerSettings()
    if isinstance(own.plain()["pruner"], str):
        kind = own.choice("pruner", PRUNERS)
        return _settings(own, "pruner", {"kind": kind, "max_resource": max_epochs or 1})
    section = own.section("pruner")
    section.only(("type", *_PRUNER_KEYS), "key")
    settings = {key: section.plain()[key] for key in section if key != "type"}
    for key in settings:
        if key == "strict":
            section.get("strict", bool, "true or false")
        elif key == "eta":
            section.number("eta")
        else:
            section.integer(key, least=0 if key in ("startup_trials", "warmup") else 1)
    settings["kind"] = section.choice("type", PRUNERS)
    if settings["kind"] is None:
        section.fail("type", f"missing; expected one of {', '.join(PRUNERS)}")
    settings.setdefault("max_resource", max_epochs or settings.get("min_resource", 1))
    return _settings(section, "type", settings)


def _settings(section: Section, key: str, values: dict[str, Any]) -> PrunerSettings:
    try:
        return PrunerSettings(**values)
    except InputError as error:
        section.fail(key, str(error))


def _constraints(own: Section) -> tuple[Constraint, ...]:
    constraints = []
    for text in own.list("constraints"):
        try:
            constraints.append(Constraint.parse(str(text)))
        except ValueError as error:
            own.fail("constraints", str(error))
    return tuple(constraints)


def _base(own: Section) -> Base:
    """`base: {winner of: STUDY, key: value, …}`."""
    if "base" not in own:
        return Base()
    section = own.section("base")
    config = section.plain()
    return Base(section.text("winner of"), {key: config[key] for key in config if key != "winner of"})


def _shuffled(own: Section, method: str) -> bool:
    """`shuffle: true`: the points of a grid in a random order."""
    shuffled = bool(own.get("shuffle", bool, "true or false", False))
    if shuffled and method != "grid":
        own.fail("shuffle", f"expected method grid, whose points are shuffled, got {method}")
    return shuffled
