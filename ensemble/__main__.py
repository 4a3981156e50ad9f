"""`tuner ensemble`: builds, shows and compares bundles of finished runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# The current folder is the user's: its files must not stand in for modules of this project.
if sys.path[:1] in ([""], [str(Path.cwd())]) and Path(__file__).resolve().parents[1] != Path.cwd():
    del sys.path[0]

from ensemble import library_command, refit_command
from tuner.base.command_line import Help, Parser, add_common_options, program_name, run_command, settings
from tuner.base.errors import InputError

if TYPE_CHECKING:
    from ensemble.build import Built

OVERVIEW = """\
Combines the best runs of studies into one bundle, for decoding with `tuner inference`.

examples:
  tuner ensemble build --k 10                     # the ten best runs of all studies
  tuner ensemble build --k 5 --study loss_weighting --name loss5
  tuner ensemble show loss5
  tuner ensemble compare --k 1,5,10,20            # accuracy against latency
  tuner ensemble refit loss5                      # at the end: a last fit on all recordings
"""
BUILD = """\
Takes the K best finished runs on `select` (feasible runs first, near-duplicates dropped), chooses their
weights on `calibrate`, and writes results/ensembles/NAME. Runs must have the same data and split. Runs with
other windows or another vocabulary than most are left out and listed.

examples:
  tuner ensemble build --k 10
  tuner ensemble build --k 5 --study loss_weighting architecture_sweep --weights learned --name mill5
  tuner ensemble build --k 10 --json | jq .folder
"""
SHOW = """\
Prints the members, how their configs differ, weights per head, leave-one-out losses, and the optimism.

examples:
  tuner ensemble show            # the newest bundle
  tuner ensemble show mill5 --json
"""
COMPARE = """\
Pools the 1, 5, 10, 20 best runs and prints gain and cost of each size: exact lines on calibrate
(cross-validated) and on test, likelihood, parameters, milliseconds per window. Writes compare.json and the
Pareto front, compare.png, to results/ensembles.

examples:
  tuner ensemble compare
  tuner ensemble compare --k 1,3,5 --study loss_weighting --json
"""
DISTILL = """\
Trains one network (the student) on the outputs of the bundle, for the recordings of train, select and
calibrate. Prints how much of the gain the student keeps on test, and its share of the latency. Writes the
student as the bundle NAME-distilled.

examples:
  tuner ensemble distill mill5
  tuner ensemble distill mill5 --data data/mill --set epochs=30 --set d_model=128
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands; nothing heavy is imported before one of them runs."""
    parser: argparse.ArgumentParser = Parser(
        prog=program_name("ensemble"), description=OVERVIEW, formatter_class=Help
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_build(commands)
    _add_show(commands)
    _add_compare(commands)
    _add_distill(commands)
    refit_command.add(commands)
    library_command.add(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return run_command(build_parser(), arguments)


def _add_build(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "build", help="write a bundle of the best runs", description=BUILD, formatter_class=Help
    )
    _add_selection(parser)
    parser.add_argument("--k", type=int, default=10, help="number of members (default: 10)")
    parser.add_argument(
        "--weights",
        default="auto",
        choices=("auto", "uniform", "learned"),
        help="auto: uniform unless learned weights are significantly better (default)",
    )
    parser.add_argument("--name", help="name of the bundle (default: names of the studies and top<K>)")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="data set of the runs, for the library of known programs (default: searched in data/)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object: folder, skipped, bundle")
    add_common_options(parser)
    parser.set_defaults(run=_build)


def _add_show(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("show", help="show a bundle", description=SHOW, formatter_class=Help)
    parser.add_argument("name", nargs="?", help="a bundle's name or folder (default: the newest)")
    parser.add_argument("--json", action="store_true", help="print bundle.json and how the configs differ")
    add_common_options(parser)
    parser.set_defaults(run=_show)


def _add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "compare", help="compare accuracy and latency by size", description=COMPARE, formatter_class=Help
    )
    _add_selection(parser)
    parser.add_argument("--k", default="1,5,10,20", help="sizes (default: 1,5,10,20)")
    parser.add_argument(
        "--measure",
        action="store_true",
        help="time the networks on this machine (default: as measured in the runs)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_common_options(parser)
    parser.set_defaults(run=_compare)


def _add_distill(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "distill", help="distill a bundle into one network", description=DISTILL, formatter_class=Help
    )
    parser.add_argument("name", nargs="?", help="a bundle's name or folder (default: the newest)")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="data set of the members (default: searched in data/)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="config value of the student (default: epochs=40, ema=0.998, scheduler=cosine, "
        "others from the best member)",
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        help="temperature that softens both distributions (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_common_options(parser)
    parser.set_defaults(run=_distill)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--study", nargs="+", default=[], metavar="NAME", help="take only runs of these studies"
    )
    parser.add_argument(
        "--objective",
        metavar="METRIC",
        help="rank runs by this metric (default: the objective of their study)",
    )
    parser.add_argument(
        "--max-correlation",
        type=float,
        default=0.99,
        metavar="R",
        help="drop a run if its predictions correlate more than this with those of a better run "
        "(default: 0.99)",
    )


def _build(options: argparse.Namespace) -> None:
    from datetime import UTC, datetime

    from rich.console import Console

    from ensemble.build import Options, build
    from ensemble.fetch import fetch_runs
    from ensemble.show import show

    wanted = Options(
        k=options.k,
        studies=tuple(options.study),
        rule=options.weights,
        name=options.name,
        metric=options.objective,
        max_correlation=options.max_correlation,
    )
    fetch_runs(options.results, options.study)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    built = build(options.results, wanted, created=now, data=options.data)
    _store_library(built, options.data)
    for line in built.skipped.lines():
        sys.stderr.write(f"left out: {line}\n")
    taken = len(built.bundle.chosen_by["members"]["taken"])
    if taken < options.k:
        sys.stderr.write(
            f"asked for {options.k} members, {taken} run{'s are' if taken != 1 else ' is'} usable\n"
        )
    if options.json:
        _write_json(
            {
                "folder": str(built.folder),
                "skipped": built.skipped.to_json(),
                "bundle": built.bundle.to_json(),
            }
        )
        return
    console = Console()
    show(console, built.bundle, built.folder)
    console.print(f"wrote {built.folder}; next: tuner inference calibrate", highlight=False)


def _store_library(built: Built, data: Path | None) -> None:
    """Stores the known programs, if the data set of the runs is found."""
    from ensemble.library import NO_NUMBERS, data_of, store
    from model.recordings import Recordings

    if built.bundle.track != "recordings":  # its parts mix all recordings: none is new to a library
        return
    data = data or data_of(built.bundle)
    if data is None:
        sys.stderr.write("data set of the runs not found in data/: no whole programs. Name it with --data\n")
        return
    if not store(built.folder, Recordings.load(data)).numbered:
        sys.stderr.write(f"{data}: {NO_NUMBERS}\n")


def _show(options: argparse.Namespace) -> None:
    from rich.console import Console

    from ensemble.bundle import Bundle, find_bundle
    from ensemble.show import differences, show

    folder = find_bundle(options.results, options.name)
    bundle = Bundle.load(folder)
    if options.json:
        _write_json({**bundle.to_json(), "differences": differences(bundle, folder)})
    else:
        show(Console(), bundle, folder)


def _compare(options: argparse.Namespace) -> None:
    from rich.console import Console

    from ensemble.compare import compare, comparison_table, draw_frontier
    from ensemble.fetch import fetch_runs
    from tuner.base.files import write_json

    fetch_runs(options.results, options.study)
    comparison = compare(
        options.results,
        ks=_numbers(options.k),
        studies=options.study,
        metric=options.objective,
        max_correlation=options.max_correlation,
        measure=options.measure,
    )
    for line in comparison.skipped.lines():
        sys.stderr.write(f"left out: {line}\n")
    folder = options.results / "ensembles"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "compare.json", comparison.to_json())
    plot = draw_frontier(comparison, folder / "compare.png")
    if options.json:
        _write_json(comparison.to_json())
        return
    console = Console()
    console.print(comparison_table(comparison), highlight=False)
    console.print(f"wrote {folder / 'compare.json'}{f' and {plot}' if plot else ''}", highlight=False)


def _distill(options: argparse.Namespace) -> None:
    from datetime import UTC, datetime

    from rich.console import Console

    from ensemble.bundle import Bundle, find_bundle
    from ensemble.library import required_data
    from model.train_command import training_progress

    folder = find_bundle(options.results, options.name)
    bundle = Bundle.load(folder)
    data = required_data(bundle, options.data)
    from ensemble.distill import (  # imports torch: a second
        DistillOptions,
        distill,
        distilled_table,
        student_config,
        verdict,
    )

    student = DistillOptions(config=settings(options.set), temperature=options.temperature)
    with training_progress(student_config(bundle, folder, student.config).epochs) as report:
        built = distill(
            bundle,
            folder,
            results=options.results,
            data=data,
            options=student,
            report=report,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    _store_library(built, data)
    figures = built.bundle.report["distilled"]
    if options.json:
        _write_json({"folder": str(built.folder), **figures})
        return
    console = Console()
    console.print(distilled_table(figures), highlight=False)
    console.print(f"{verdict(figures)}; wrote {built.folder}", highlight=False)


def _numbers(text: str) -> tuple[int, ...]:
    """`1,5,10` as numbers."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--k: expected numbers such as 1,5,10, got '{text}'") from None


def _write_json(content: object) -> None:
    sys.stdout.write(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
