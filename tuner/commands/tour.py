"""`tour`: every room once, on simulated recordings."""

from __future__ import annotations

import argparse

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "tour",
        summary="every room once, on simulated recordings (a few minutes)",
        description="Simulated recordings, a small study, an ensemble, decoded lines beside the true ones.",
        example="python -m tuner tour",
    )
    parser.add_argument("--agents", type=opt.positive, metavar="N", help="processes (default: one a core)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.show import tour

    tour.run(options.results, agents=options.agents, console=opt.console())
