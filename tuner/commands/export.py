"""Exports a winner's configuration, or a study as a W&B sweep file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.commands import options as opt

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from tuner.storage.study import OpenStudy


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "export",
        "export a winner's configuration, or a study as a W&B sweep file",
        __doc__,
        "tuner export loss_weighting --wandb > sweep.yaml",
    )
    parser.add_argument("study", metavar="NAME|FILE.yaml", help="the study")
    parser.add_argument("--trial", type=int, metavar="N", help="this trial instead of the winner")
    parser.add_argument("--wandb", action="store_true", help="export the study as a file for `wandb sweep`")
    parser.add_argument("--output", type=Path, metavar="FILE", help="output file (default: standard output)")
    opt.add_options(parser, "json", "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ruamel.yaml import YAML

    from tuner.base.files import whole_file
    from tuner.definition import export
    from tuner.definition.loading import load_study_file
    from tuner.run.winner import config_of, winner_from
    from tuner.storage.study import load_study

    answer: Any
    if options.wandb:
        text = export.wandb_yaml(load_study_file(options.study))
        answer = YAML(typ="safe", pure=True).load(text)
    else:
        records = opt.records(options)
        name = opt.study_name(options.study, records, options.results)
        study = load_study(records, name)
        opt.fetched(records, [name], options.results, top=1)
        trial = _trial(study, options.trial)
        winner = winner_from(study, trial, options.results)
        config = config_of(study, trial, options.results)
        said = winner.describe() if options.trial is None else f"trial {trial.number} of {name}"
        text = f"# {said}\n{export.config_yaml(config)}"
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


def _trial(study: OpenStudy, number: int | None) -> FrozenTrial:
    """The trial of this number, or the study's winner."""
    from tuner.base.errors import InputError
    from tuner.claims import judge
    from tuner.claims.material import read_study
    from tuner.run.winner import winning_trial

    if number is None:
        found = winning_trial(study)
        if found is None:
            said = judge.of_study(read_study(study, None)).headline
            raise InputError(f"study '{study.study_name}': {said}. To export another trial: --trial N")
        return found
    for trial in study.get_trials(deepcopy=False):
        if trial.number == number and trial.state.name == "COMPLETE":
            return trial
    raise InputError(f"study '{study.study_name}': there is no complete trial {number}")
