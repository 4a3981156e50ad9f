"""`import`: adds runs that were made before to a study, as finished trials."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from tuner.commands import options as opt

if TYPE_CHECKING:
    from tuner.plugins.imports.bring import Brought
    from tuner.storage.records import Records
    from tuner.storage.study import OpenStudy

DESCRIPTION = """\
Adds existing runs to a study: offline W&B runs (a folder), a W&B export (JSON, CSV), MLflow (mlruns/ or its
SQLite file), Trackio (its .db file), a table (CSV, parquet), an Optuna storage (URL or SQLite file), or a
folder of Ray Tune. A table has a row for each run, or for each epoch with columns `run` and `epoch`. The
sampler learns from them. They do not count towards the number of trials. Runs that do not fit are listed with
the reason. You can repeat an import: no run is added twice."""


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "import",
        summary="add existing runs to a study",
        description=DESCRIPTION,
        example="tuner import wandb/ --study sweep.yaml --map lr=learning_rate",
    )
    parser.add_argument("source", metavar="SOURCE", help="a folder, a file or the URL of an Optuna storage")
    parser.add_argument("--study", required=True, metavar="NAME|FILE.yaml", help="the study to add them to")
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="parameter OLD of the runs is NEW in the study; can be repeated",
    )
    parser.add_argument("--from-study", metavar="NAME", help="Optuna storage with several studies: which one")
    parser.add_argument("--count", action="store_true", help="count them as trials of the study")
    opt.add_options(parser, "data", help="new study: the data set of its trials")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    opt.add_options(parser, "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.base.errors import InputError
    from tuner.plugins.imports import bring, sources
    from tuner.storage.access import open_records

    mapped = {}
    for pair in options.map:
        old, equals, new = pair.rpartition("=")
        if not (equals and old and new):
            raise InputError(f"--map: expected OLD=NEW, got '{pair}'")
        mapped[old] = new
    url = opt.storage_url(options)
    records = open_records(url, create=True)
    study = _study(options, records, url)
    rows = sources.read(options.source, study.file, study=options.from_study)
    rows = bring.without_own(rows, study.study_name, options.results)
    found = bring.bring(records, study, rows, mapped=mapped, count=options.count)
    if options.json:
        answer = {"study": study.study_name, "imported": list(found.numbers), "before": found.before,
                  "left_out": dict(found.left_out)}  # fmt: skip
        sys.stdout.write(json.dumps(answer) + "\n")
        return
    _say(found, study.study_name, len(rows), counted=options.count)


def _study(options: argparse.Namespace, records: Records, url: str) -> OpenStudy:
    """The study that was begun, or a new one of its file."""
    from tuner.definition.loading import load_study_file
    from tuner.run import plan as plans
    from tuner.run.request import Request
    from tuner.show.live import make_view
    from tuner.storage import study_store
    from tuner.storage.study import find_study

    begun = find_study(records, options.study)
    if begun is not None:
        return begun
    say = make_view(opt.error_console()).say
    file = load_study_file(options.study)
    plan = plans.make(Request(file, url, options.results, data=options.data), say)
    return study_store.open_study(
        records, plan.file, plan.origin, default=plan.default, results=options.results, say=say
    )


def _say(found: Brought, name: str, rows: int, *, counted: bool) -> None:
    console = opt.console()
    how = "counted among its trials" if counted else "not counted among its trials"
    lines = [f"{name}: {len(found.numbers)} of {rows} runs imported, {how}"]
    if found.before:
        lines.append(f"{found.before} were there already")
    if found.named:
        lines.append("read as: " + ", ".join(f"{theirs} → {own}" for own, theirs in found.named.items()))
    lines += [f"{count} left out: {reason}" for reason, count in found.left_out.items()]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
