"""`tuner inference`: decodes recordings; evaluates, calibrates and tunes decoders."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# The current folder is the user's: its files must not stand in for modules of this project.
if sys.path[:1] in ([""], [str(Path.cwd())]) and Path(__file__).resolve().parents[1] != Path.cwd():
    del sys.path[0]

from inference import check_command, decode_command, watch_command
from inference.arguments import PARAMETERS, add_model, add_options, decoder_of
from tuner.base.command_line import Help, Parser, add_common_options, program_name, run_command
from tuner.base.errors import InputError, WorkFailed

if TYPE_CHECKING:
    from inference.pipeline import Decoder

OVERVIEW = """\
Decodes sensor recordings into programs of G-code.

examples:
  tuner inference decode face_012_aligned.csv.gz           # with the newest bundle
  tuner inference decode face_012.csv --bundle mill5 --format gcode > program.nc
  tuner inference check NEW.csv --like face_012
  tuner inference evaluate data/mill --part test --joint
  tuner inference calibrate --bundle mill5
  tuner inference tune --bundle mill5 --trials 50
"""
EVALUATE = """\
Decodes recordings with known lines and prints all metrics with intervals over recordings, metrics per
operation, confused commands and the most frequent errors. DIR is a folder of CSVs, a CSV, or an imported data
set. With a data set, --part selects a part of the split that the runs were trained on. If the bundle has a
library of known programs, recordings are also read as a whole: rows, programs, operations. --joint takes the
lines of windows from these rows. Results of a bundle with its own parameters are stored in its folder, in
evaluations/, for `tuner report`.

examples:
  tuner inference evaluate data/mill --part test
  tuner inference evaluate data/mill --part test --joint
  tuner inference evaluate my_recordings/ --bundle mill5 --json | jq .exact_acc
"""
CALIBRATE = """\
Finds one temperature per head on `calibrate`, so that the bundle gives calibrated probabilities, and stores
them. The solution is exact, as the likelihood is convex in 1/T. Prints calibration error, likelihood and
Brier score before and after, on `calibrate` and (report only) on `test`. Draws reliability diagrams. Needs no
data set.

examples:
  tuner inference calibrate
  tuner inference calibrate --bundle mill5 --json
"""
TUNE = """\
Searches decoding parameters on `calibrate` with a study. The networks run once, and all trials use their
stored probabilities. Compares the best trial with greedy decoding on `calibrate` and `test`, lists parameters
that change nothing, and stores the best in the bundle if it is significantly better.
`--study head_temperatures` searches temperatures and compares them with the exact ones.

examples:
  tuner inference tune --bundle mill5 --trials 50
  tuner inference tune --study head_temperatures --trials 40
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands; nothing heavy is imported before one of them runs."""
    parser: argparse.ArgumentParser = Parser(
        prog=program_name("inference"), description=OVERVIEW, formatter_class=Help
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    decode_command.add(commands)
    check_command.add(commands)
    watch_command.add(commands)
    _add_evaluate(commands)
    _add_calibrate(commands)
    _add_tune(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return run_command(build_parser(), arguments)


def _add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="compute metrics on recordings with known lines",
        description=EVALUATE,
        formatter_class=Help,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of CSVs, a CSV, or a data set")
    add_model(parser)
    parser.add_argument(
        "--part", choices=("select", "calibrate", "test", "train"), help="with a data set: only this part"
    )
    parser.add_argument(
        "--joint", action="store_true", help="lines of windows from the rows of the whole recording"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object: metric → value")
    add_options(parser)
    add_common_options(parser)
    parser.set_defaults(run=_evaluate)


def _add_calibrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "calibrate",
        help="fit temperatures for calibrated probabilities",
        description=CALIBRATE,
        formatter_class=Help,
    )
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object: temperatures and quality")
    add_common_options(parser)
    parser.set_defaults(run=_calibrate)


def _add_tune(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "tune", help="search decoding parameters", description=TUNE, formatter_class=Help
    )
    parser.add_argument("--bundle", metavar="NAME", help="a bundle's name or folder (default: the newest)")
    parser.add_argument(
        "--study",
        default="inference_parameters",
        metavar="NAME",
        help="study (default: inference_parameters)",
    )
    parser.add_argument(
        "--trials", type=int, metavar="N", help="number of finished trials (default: from the study file)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="data set of the runs (default: searched in data/)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the sampler (default: 0)")
    parser.add_argument("--fresh", action="store_true", help="start again; the old study is renamed")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    add_common_options(parser)
    parser.set_defaults(run=_tune)


def _evaluate(options: argparse.Namespace) -> None:
    from inference import record
    from inference.evaluate import evaluate
    from inference.layout import check_channels, has_seen, part_of, recordings_of
    from inference.output import write_evaluation, write_json

    decoder = decoder_of(options)
    channels = decoder.predictor.channels
    data = recordings_of(options.folder, channels=channels, require_lines=True)
    which = None
    if options.part:
        if (trained_on := _trained_on(options, decoder)) != data.content_hash:
            raise InputError(
                f"{options.folder}: is not the data set that the networks were trained on "
                f"({trained_on[:12]}), whose parts --part names; leave it out"
            )
        which = part_of(data, options.part, config=decoder.predictor.config, folder=options.folder)
    for note in check_channels(data, channels):
        sys.stderr.write(f"{note}\n")
    if data.folder is not None and has_seen(decoder.predictor.config, options.part):
        sys.stderr.write(
            "these networks were trained on such recordings: the scores say nothing about new ones\n"
        )
    evaluation = evaluate(decoder, data, which=which, joint=options.joint)
    folder = _measured_bundle(options, decoder)
    if folder is not None:
        try:
            stored = record.store(evaluation, folder, data=data, part=options.part, joint=options.joint)
            sys.stderr.write(f"kept for reports: {stored}\n")
        except OSError as error:  # a read-only bundle can be evaluated too
            sys.stderr.write(f"not kept for reports: {error}\n")
    if options.json:
        write_json({**evaluation.metrics, "joint": options.joint}, sys.stdout)
    else:
        write_evaluation(evaluation, sys.stdout, joint=options.joint)


def _trained_on(options: argparse.Namespace, decoder: Decoder) -> str:
    """The content hash of the data set that a bundle or a run was trained on."""
    from tuner.base.files import read_json
    from tuner.base.run_folder import RESULT

    if hasattr(decoder.predictor, "bundle"):
        return str(decoder.predictor.bundle.data_hash)
    return str(read_json(options.run_folder / RESULT).get("data_hash"))


def _measured_bundle(options: argparse.Namespace, decoder: Decoder) -> Path | None:
    """The folder of the bundle, if evaluated with its own parameters; None for a run or other parameters."""
    from ensemble.bundle import find_bundle

    if not hasattr(decoder.predictor, "bundle") or any(getattr(options, n) is not None for n in PARAMETERS):
        return None
    return find_bundle(options.results, options.bundle)


def _calibrate(options: argparse.Namespace) -> None:
    from ensemble.bundle import Bundle, find_bundle
    from inference.calibrate import calibrate, chosen_by, curves, draw_reliability
    from inference.output import write_calibration, write_json
    from inference.record import RELIABILITY
    from tuner.base.files import write_json as write_file

    folder = options.run_folder or find_bundle(options.results, options.bundle)
    found = calibrate(folder)
    diagram = None
    if options.run_folder is None:
        bundle = Bundle.load(folder)
        bundle.with_temperatures(
            found.temperatures, exponents=found.exponents, chosen_by=chosen_by(found)
        ).save(folder)
        diagram = folder / "reliability.png"
        draw_reliability(found, diagram)
        write_file(folder / RELIABILITY, curves(found))
    if options.json:
        write_json(
            {"temperatures": found.temperatures, "exponents": found.exponents, **chosen_by(found)}, sys.stdout
        )
        return
    write_calibration(found, sys.stdout)
    if diagram is not None:
        sys.stdout.write(f"stored in {folder}; diagrams: {diagram}; next: tuner inference tune\n")


def _tune(options: argparse.Namespace) -> None:
    from rich.console import Console

    from ensemble.bundle import find_bundle
    from inference.output import write_conclusion, write_json
    from inference.tune import conclude
    from inference.workload import Decoding
    from tuner.definition.loading import load_study_file
    from tuner.run import launch
    from tuner.run.request import Request
    from tuner.run.winner import config_of, winning_trial
    from tuner.show.live import make_view
    from tuner.storage.access import default_url, open_records
    from tuner.storage.study import load_study
    from tuner.workloads.registry import workload_of

    file = load_study_file(options.study)
    if not isinstance(workload_of(file), Decoding):
        raise InputError(
            f"study '{options.study}' tunes no decoder: run it with `tuner study {options.study}`"
        )
    folder = find_bundle(options.results, options.bundle)
    request = Request(
        study_file=file,
        url=default_url(options.results),
        results=options.results,
        trials=options.trials,
        data=folder,
        overrides={} if options.data is None else {"data": str(options.data)},
        seed=options.seed,
        fresh=options.fresh,
        conclude=False,
        wandb="off",
    )
    result = launch.run(request, make_view(Console(stderr=True, highlight=False)))
    result.check(file.name)
    study = load_study(open_records(request.url), file.name)
    best = winning_trial(study)
    if best is None:
        raise WorkFailed(f"{file.name}: no trial completed")
    config = config_of(study, best, options.results)
    found = conclude(folder, config, file, trials=result.finished, data=options.data)
    if options.json:
        write_json(found.to_json(), sys.stdout)
    else:
        write_conclusion(found, sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
