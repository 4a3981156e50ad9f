"""`tour`: a guided demo on simulated recordings."""

from __future__ import annotations

import argparse

from tuner.commands import options as opt

NEXT = """
Next, with your own recordings:
   tuner model import DIR --to data/mill       DIR has .csv or .csv.gz files
   tuner study loss_weighting            one study; 'study all' runs the whole campaign
   tuner ensemble build --k 10                 then: tuner inference decode FILE.csv"""


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "tour",
        summary="a guided demo on simulated recordings (a few minutes)",
        description="Runs a small study on simulated recordings, builds an ensemble and decodes a recording.",
        example="tuner tour",
    )
    parser.add_argument("--agents", type=opt.positive, metavar="N", help="processes (default: one per core)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.campaign.campaign import Campaign
    from tuner.definition.campaign_file import read_campaign
    from tuner.definition.loading import FOLDER
    from tuner.run.request import Request
    from tuner.show.live import make_view
    from tuner.storage.access import default_url

    results, console = options.results / "tour", opt.console()
    Campaign(
        read_campaign(FOLDER / "tour.yaml"),
        results,
        lambda study: Request(study, default_url(results), results),
        lambda: make_view(opt.error_console()),
        lambda line: console.print(line, markup=False, soft_wrap=True),
        {"agents": [] if options.agents is None else ["--agents", str(options.agents)]},
    ).run()
    console.print(NEXT, markup=False)
