"""`python -m ensemble`: builds, shows and compares bundles of finished runs."""

from __future__ import annotations

import argparse
import json
import sys

from model.command_line import Help, add_common_options, run_command
from model.errors import InputError

OVERVIEW = """\
Combines a study's best runs into one bundle, which `python -m inference` decodes with.

examples:
  python -m ensemble build --k 10                     # the ten best runs of all studies
  python -m ensemble build --k 5 --study loss_weighting --name loss5
  python -m ensemble show loss5
  python -m ensemble compare --k 1,5,10,20            # accuracy against latency
"""
BUILD = """\
Takes the K best finished runs on the part `select` (feasible runs first, near-duplicates dropped),
weighs them on the part `calibrate`, and writes results/ensembles/NAME. Runs must share data and split;
those with other windows or another vocabulary than most are left out by name.

examples:
  python -m ensemble build --k 10
  python -m ensemble build --k 5 --study loss_weighting architecture_sweep --weights learned --name mill5
  python -m ensemble build --k 10 --json | jq .folder
"""
SHOW = """\
Members, what differs between them, weights per head, what the pool loses without each, and the optimism.

examples:
  python -m ensemble show            # the newest bundle
  python -m ensemble show mill5 --json
"""
COMPARE = """\
Pools the 1, 5, 10, 20 best runs and prints what each size gains and costs: exact lines on calibrate
(recordings it was not fitted to) and on test, likelihood, parameters, milliseconds a window. Writes
compare.json and the frontier, compare.png, below results/ensembles.

examples:
  python -m ensemble compare
  python -m ensemble compare --k 1,3,5 --study loss_weighting --json
"""


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m ensemble", description=OVERVIEW, formatter_class=Help)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_build(commands)
    _add_show(commands)
    _add_compare(commands)
    return run_command(parser)


def _add_build(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "build", help="write a bundle of the best runs", description=BUILD, formatter_class=Help
    )
    _add_selection(parser)
    parser.add_argument("--k", type=int, default=10, help="members wanted (default: 10)")
    parser.add_argument(
        "--weights",
        default="auto",
        choices=("auto", "uniform", "learned"),
        help="auto: uniform unless learned weights are better beyond chance (default)",
    )
    parser.add_argument("--name", help="the bundle's name (default: the studies' names and top<K>)")
    parser.add_argument("--json", action="store_true", help="print one JSON object: folder, skipped, bundle")
    add_common_options(parser)
    parser.set_defaults(run=_build)


def _add_show(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("show", help="look into a bundle", description=SHOW, formatter_class=Help)
    parser.add_argument("name", nargs="?", help="a bundle's name or folder (default: the newest)")
    parser.add_argument("--json", action="store_true", help="print bundle.json with what differs added")
    add_common_options(parser)
    parser.set_defaults(run=_show)


def _add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "compare", help="accuracy against latency by size", description=COMPARE, formatter_class=Help
    )
    _add_selection(parser)
    parser.add_argument("--k", default="1,5,10,20", help="sizes, such as 1,5,10,20 (default)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_common_options(parser)
    parser.set_defaults(run=_compare)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--study", nargs="+", default=[], metavar="NAME", help="take runs of these only")
    parser.add_argument(
        "--objective", metavar="METRIC", help="rank runs by this metric (default: their study's objective)"
    )
    parser.add_argument(
        "--max-correlation",
        type=float,
        default=0.99,
        metavar="R",
        help="drop a run whose predictions correlate more than this with a better one's (default: 0.99)",
    )


def _build(options: argparse.Namespace) -> None:
    from datetime import UTC, datetime

    from rich.console import Console

    from ensemble.build import Options, build
    from ensemble.show import show

    wanted = Options(
        k=options.k,
        studies=tuple(options.study),
        rule=options.weights,
        name=options.name,
        metric=options.objective,
        max_correlation=options.max_correlation,
    )
    built = build(options.results, wanted, created=datetime.now(UTC).isoformat(timespec="seconds"))
    for line in built.skipped.lines():
        sys.stderr.write(f"left out: {line}\n")
    taken = len(built.bundle.chosen_by["members"]["taken"])
    if taken < options.k:
        sys.stderr.write(f"asked for {options.k} members, {taken} runs are usable\n")
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
    console.print(f"wrote {built.folder}; next: python -m inference calibrate", highlight=False)


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
    from model.run_folder import write_json

    comparison = compare(
        options.results,
        ks=_numbers(options.k),
        studies=options.study,
        metric=options.objective,
        max_correlation=options.max_correlation,
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
