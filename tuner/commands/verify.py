"""Retrains the best configurations on new seeds and other select recordings. Can be stopped and resumed."""

from __future__ import annotations

import argparse

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "verify",
        "retrain the best on new seeds: how much of their lead is real",
        __doc__,
        "tuner verify loss_weighting --top 5 --seeds 3",
    )
    parser.add_argument("study", metavar="NAME", help="the study")
    parser.add_argument(
        "--top", type=opt.positive, default=5, metavar="K", help="configurations to retrain (default: 5)"
    )
    parser.add_argument(
        "--trial",
        type=int,
        action="append",
        metavar="N",
        help="a trial to retrain instead of the --top best; can be repeated",
    )
    parser.add_argument(
        "--seeds", type=opt.positive, default=3, metavar="N", help="number of seeds (default: 3)"
    )
    opt.add_options(parser, "agents", help="processes (default: one per GPU, or per core)")
    opt.add_options(parser, "data", help="data set (default: the only one in data/)")
    opt.add_options(parser, "wandb")
    opt.add_options(parser, "fresh", help="retrain again, even if already verified")
    opt.add_options(parser, "json", "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.artifacts.run_store import StoreLocation
    from tuner.claims import verify
    from tuner.run.executors import processes
    from tuner.show.live import make_view
    from tuner.show.report.claims import show_verified
    from tuner.storage.study import load_study, stored_file

    processes.preload()
    records = opt.records(options)
    study = load_study(records, options.study)
    file = stored_file(study)
    location = StoreLocation.of(study)
    opt.fetched(records, [options.study], options.results)
    request = opt.request_for(options, file, artifacts=None if location is None else location.url)
    view = make_view(opt.error_console())
    found = verify.verify(request, view, top=options.top, seeds=options.seeds, numbers=options.trial)
    if options.json:
        opt.write_json(found.to_dict())
    else:
        show_verified(found, opt.console(), opt.places(options))
