"""Finds and reads study files: shipped studies by name, other files by path, and files in a storage.

Turns their YAML into a checked `StudyFile`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tuner.base.errors import InputError, nearest
from tuner.base.words import slug
from tuner.definition import yaml_source
from tuner.definition.campaign_file import CampaignFile, is_campaign, read_campaign
from tuner.definition.distributions import Numeric
from tuner.definition.keys import TOP
from tuner.definition.metric import SCORES, Metric, read_metrics
from tuner.definition.parse_space import lines_of, parse_space, read_defaults, read_first
from tuner.definition.pruner_settings import read_pruner
from tuner.definition.repeats import read_repeats
from tuner.definition.sampler import check_freeze_thaw, read_sampler
from tuner.definition.scheduler import read_scheduler, refuse_launch
from tuner.definition.space import Space
from tuner.definition.study_file import BY_FIELD, METHODS, TUNER_KEYS, WANDB_KEYS, StudyFile
from tuner.definition.values import StopRules
from tuner.definition.yaml_source import YamlPart


def _shipped(name: str) -> Path:
    """A folder next to the package in a checkout, and inside the package if installed from a wheel."""
    engine = Path(__file__).parent.parent
    return next((f for f in (engine / name, engine.parent / name) if f.is_dir()), engine / name)


UNRANKED = (
    "no metric is named, so no trial is better than another; to rank them: metric: {name: …, goal: minimize "
    "or maximize}"
)
DRAWN = "'parameters' are not used: 'scheduler.search_space' draws those of a trial"
FOLDER, EXAMPLES = _shipped("studies"), _shipped("examples")
CAMPAIGN = "campaign"  # the shipped campaign


def load_study_file(name_or_path: str | Path) -> StudyFile:
    """Reads a shipped study by name, or any sweep file by path.

    Raises:
        InputError: the file is wrong. The message has the file, the line, the key and what was expected.
    """
    return parse_study(find(name_or_path))


def find(name_or_path: str | Path) -> Path:
    """The file of a shipped study, or the path itself.

    Raises:
        InputError: there is no such study. The message names the nearest shipped study.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return path
    if path.is_file():
        return path
    if (FOLDER / f"{name_or_path}.yaml").is_file():
        return FOLDER / f"{name_or_path}.yaml"
    names = shipped()
    hint = nearest(str(name_or_path), [*names, *map(str, Path().glob("*.y*ml"))])
    raise InputError(
        f"no study named '{name_or_path}'{hint} (shipped: {', '.join(names)}). "
        "For your own study give a .yaml file"
    )


def shipped() -> list[str]:
    """Names of the studies that come with the project: those of the campaign in its order, then others."""
    found = sorted(path.stem for path in FOLDER.glob("*.yaml") if not is_campaign(path))
    first = [name for name in shipped_campaign().studies if name in found]
    return first + [name for name in found if name not in first]


def shipped_campaign() -> CampaignFile:
    """The campaign that comes with the project. If there is none: a campaign without steps."""
    path = FOLDER / f"{CAMPAIGN}.yaml"
    return read_campaign(path) if path.is_file() else CampaignFile(path, (), ())


def from_plain(raw: Mapping[str, Any], *, name: str, path: Path) -> StudyFile:
    """The study file that the plain values `raw` make, as if read from `path`.

    Raises:
        InputError: as `load_study_file`.
    """
    with TemporaryDirectory() as folder:
        written = Path(folder) / f"{name}.yaml"
        written.write_text(json.dumps(raw), encoding="utf-8")  # JSON is YAML
        try:
            return replace(parse_study(written), name=name, path=path, notes=())
        except InputError as error:
            raise InputError(str(error).replace(str(written), str(path))) from None


def parse_study(path: Path) -> StudyFile:
    """Reads and checks the file at `path`. Raises InputError if the file is wrong."""
    top = yaml_source.read(path)
    own = top.section("tuner") if "tuner" in top else YamlPart(path, {}, ("tuner",))
    runs = bool({"program", "command"} & set(top) or {"objective", "workload"} & set(own))
    refuse_launch(top, runs=runs)
    top.only((*WANDB_KEYS, "tuner"), "key")
    own.only(TUNER_KEYS, "key")
    if "method" not in top:
        top.fail("method", f"missing; expected one of {', '.join(METHODS[:3])}")
    scheduler = read_scheduler(top)
    if "parameters" not in top and "objective" not in own and not scheduler.search_space:
        top.fail("parameters", "missing; expected the parameters to search")
    top.choice("kind", ("sweep",))
    if "controller" in top:
        top.section("controller").choice("type", ("local", "cloud"))
    # what one key says by itself; below, what several say together
    read = {
        field: key.read(section, name)
        for field, keys in BY_FIELD.items()
        for name, key in keys.items()
        if key.read is not None and name in (section := top if TOP in key.rules else own)
    }
    _check_work(top, own, read)
    method, max_epochs, constraints = read["method"], read.get("max_epochs"), read.get("constraints")
    called = str(top.text("name", path.stem))
    space = parse_space(top, own, drawn=scheduler.search_space is not None)
    objectives = _objectives(top, own, method)
    if space.open and method == "grid":
        top.fail("parameters", "missing; a grid needs them, also where the objective draws its own")
    if method == "grid":
        read["run_cap"] = _grid_size(top, space, read.get("run_cap"))
    elif own.flag("shuffle"):
        own.fail("shuffle", f"expected method grid, whose points are shuffled, got {method}")
    seeds, repeats = read_repeats(own)
    longest = None if max_epochs is None else max_epochs * repeats.count  # of a trial, all its runs together
    pruner = read_pruner(top, own, longest, scheduler)
    pauses = pruner.kind != "none" and max_epochs is not None and repeats.count == 1 and not constraints
    cap = read.get("run_cap")
    scheduler, chosen = read_sampler(own, method, space, objectives, cap, scheduler, pauses=pauses)
    sampler = str(scheduler.sampler)
    check_freeze_thaw(own, sampler, objectives, repeats, max_epochs)
    name = slug(called)
    renamed = () if called == name else (f"name {called!r}: the study is called '{name}'",)
    unused = (DRAWN,) if scheduler.search_space and "parameters" in top else ()
    unranked = () if objectives[0].declared else (UNRANKED,)
    return StudyFile(
        **read,
        path=path,
        raw=top.plain(),
        lines=lines_of(top),
        notes=(*top.notes, *_exponents(space), *renamed, *unranked, *unused, *chosen),
        name=name,
        space=space,
        metric=objectives[0],
        objectives=objectives,
        sampler=sampler,
        scheduler=scheduler,
        pruner=pruner,
        stop=StopRules.read(own, runs=repeats.count, space=space, method=method),
        seeds=seeds,
        repeats=repeats,
        shuffle=own.flag("shuffle"),
        first=read_first(own, space, method),
        defaults=read_defaults(own, space),
    )


def _exponents(space: Space) -> Iterator[str]:
    """A note for each distribution whose bounds are exponents of e in W&B, and seem to be meant as values."""
    for parameter in space.parameters:
        found = parameter.distribution
        if isinstance(found, Numeric) and found.kind.endswith("log_uniform") and 0 < found.a < found.b <= 1:
            yield (
                f"parameters.{parameter.name}: {found.kind} takes min and max as exponents of e, which gives "
                f"{found.describe()}; for values from {found.a:g} to {found.b:g}: {found.kind}_values"
            )


def _check_work(top: YamlPart, own: YamlPart, read: dict[str, Any]) -> None:
    """Raises InputError unless the file names at most one thing that its trials run."""
    runs = ["program"] if read.get("program") or read.get("command") else []
    if read.get("objective"):
        runs.append("tuner.objective")
    if len(runs) + bool(read.get("workload")) > 1:
        own.fail("workload", f"expected only one of {', '.join([*runs, 'tuner.workload'])}")


def _objectives(top: YamlPart, own: YamlPart, method: str) -> tuple[Metric, ...]:
    """The objectives, the metric first. Several come from `metrics` (W&B, method custom) or
    `tuner.objectives`.
    """
    if "metric" in top and "metrics" in top:
        top.fail("metrics", "expected either 'metric' or 'metrics'")
    if "metrics" in top and method != "custom":
        top.fail("metrics", "is for method custom only; list several objectives in 'tuner.objectives'")
    several = read_metrics(top, "metrics") if "metrics" in top else read_metrics(own, "objectives")
    if "metric" in top:
        metric = Metric.read(top.section("metric"))
        if several and several[0].name != metric.name:
            own.fail("objectives", f"expected the metric {metric.name!r} first, got {several[0].name!r}")
        several = (metric, *several[1:])
    if not several:
        if method == "bayes" or "early_terminate" in top or {"pruner", "patience", "stop"} & set(own):
            expected = "expected the metric to optimise, {name: …, goal: minimize or maximize}"
            top.fail("metric", f"missing; {expected}")
        several = (Metric("loss", declared=False),)
    first = replace(several[0], scored=own.choice("score", SCORES, "last"))
    return (first, *several[1:])


def _grid_size(top: YamlPart, space: Space, run_cap: int | None) -> int:
    """Number of grid points, at most `run_cap`. Raises InputError if a parameter has no grid."""
    try:
        size = len(space.grid())
    except InputError as error:
        raise InputError(f"{top.path}:{top.line('parameters')}: {error}") from None
    return size if run_cap is None else min(run_cap, size)
