"""`export`: writes a winner's configuration, or a study as a plain W&B sweep file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "export",
        summary="export a winner's configuration, or a study as a W&B sweep file",
        example="tuner export loss_weighting --wandb > sweep.yaml",
    )
    parser.add_argument("study", metavar="NAME|FILE.yaml", help="the study")
    parser.add_argument("--wandb", action="store_true", help="export the study as a file for `wandb sweep`")
    parser.add_argument("--output", type=Path, metavar="FILE", help="output file (default: standard output)")
    opt.add_json(parser)
    opt.add_storage(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ruamel.yaml import YAML

    from tuner.base.errors import InputError
    from tuner.base.files import whole_file
    from tuner.commands.fetch import fetched
    from tuner.definition import export
    from tuner.definition.loading import load_study_file
    from tuner.run.winner import config_of, inherited
    from tuner.storage.stored import load_study

    answer: Any
    if options.wandb:
        text = export.wandb_yaml(load_study_file(options.study))
        answer = YAML(typ="safe", pure=True).load(text)
    else:
        name = (
            load_study_file(options.study).name
            if options.study.endswith((".yaml", ".yml"))
            else options.study
        )
        with opt.records(options) as records:
            study = load_study(records, name)
            fetched(records, [name], options.results, top=1)
            winner = inherited(records, name, options.results)
            if winner is None:
                raise InputError(f"study '{name}' has no complete trial yet")
            trial = next(t for t in study.get_trials(deepcopy=False) if t.number == winner.number)
            config = config_of(study, trial, options.results)
        text = f"# {winner.describe()}\n{export.config_yaml(config)}"
        answer = {
            "study": winner.study,
            "number": winner.number,
            "value": winner.value,
            "confirmed": winner.confirmed,
            "config": config,
        }
    if options.json:
        text = json.dumps(answer, indent=1) + "\n"
    if options.output:
        with whole_file(options.output) as beside:
            beside.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
