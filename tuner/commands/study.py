"""`study`: runs or resumes one study, or the whole campaign."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.commands import options as opt

if TYPE_CHECKING:
    from tuner.definition.study_file import StudyFile

DESCRIPTION = """\
Runs a study until it has its number of finished trials; started again, it goes on where it was. A second
terminal may join with the same command. Ctrl-C once: agents finish their epoch and put their trials back;
twice: they are stopped at once. 'all' runs the whole campaign in its order; 'hypotheses' runs matched pairs
for the claims that finished studies leave undecided."""


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "study",
        summary="run or resume a study",
        description=DESCRIPTION,
        example="python -m tuner study loss_weighting --data data/mill --trials 12 --agents 2",
    )
    parser.add_argument(
        "study", metavar="NAME|FILE.yaml|all|hypotheses", help="a shipped study, a sweep file, or see above"
    )
    parser.add_argument(
        "--agents",
        type=opt.positive,
        metavar="N",
        help="trials at a time, at most (default: one a core, or one a GPU where our model trains on GPUs; "
        "with dask one a worker, with ray one a CPU)",
    )
    parser.add_argument(
        "--executor",
        choices=("local", "dask", "ray"),
        default="local",
        help="where agents run: processes of this machine, or a Dask or Ray cluster (default: local)",
    )
    parser.add_argument(
        "--address",
        metavar="ADDR",
        help="tcp://HOST:8786 or a scheduler file (dask), HOST:6379 (ray; default: a Ray of this machine)",
    )
    parser.add_argument("--trials", type=opt.positive, metavar="N", help="finished trials wanted in all")
    parser.add_argument("--timeout", type=opt.seconds, metavar="2h", help="stop after this long")
    parser.add_argument("--data", type=Path, metavar="DIR", help="data set (default: the only one in data/)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="fix a value of the configuration"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the sampler (default: 0)")
    parser.add_argument(
        "--wandb",
        choices=("auto", "online", "offline", "off"),
        default="auto",
        help="W&B runs of the trials (default: online with a key and a server, else offline)",
    )
    parser.add_argument("--wandb-artifacts", action="store_true", help="online: upload run folders as well")
    parser.add_argument("--dry-run", action="store_true", help="show space, cost and first trials; run none")
    parser.add_argument("--fresh", action="store_true", help="begin anew; the old study is kept aside")
    opt.add_artifacts(parser)
    opt.add_storage(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from tuner.base.errors import InputError, WorkFailed
    from tuner.run.launch import launch
    from tuner.show.live import make_view

    if options.study == "all":
        _campaign(options)
        return 0
    if options.study == "hypotheses":
        _hypotheses(options)
        return 0
    request = request_for(options, options.study)
    if options.dry_run:
        from tuner.show.dry_run import show

        show(request, opt.console())
        return 0
    if request.study_file.on == "bundle":
        from tuner.campaign import on_bundle

        if request.executor.kind != "local":
            raise InputError(
                f"{options.study} tunes a bundle's decoder on this machine: leave out --executor"
            )
        on_bundle.tune(request, opt.error_console())
        return 0
    result = launch(request, make_view(opt.error_console()))
    if not result.fine:
        raise WorkFailed(result.reason)
    if result.interrupted:
        raise KeyboardInterrupt
    from tuner.show.summary import show_end

    show_end(request, result, opt.console())
    return 0


def _campaign(options: argparse.Namespace) -> None:
    from tuner.base.errors import InputError
    from tuner.campaign.campaign import Campaign
    from tuner.definition.study_file import CAMPAIGN
    from tuner.show.live import make_view

    if options.fresh or options.trials:
        raise InputError(
            "'study all' takes neither --fresh nor --trials: give them to the studies one by one"
        )
    campaign = Campaign.of_the_guide(
        request_for(options, CAMPAIGN[0]), lambda: make_view(opt.error_console()), opt.console()
    )
    if options.dry_run:
        campaign.show()
    else:
        campaign.run()


def _hypotheses(options: argparse.Namespace) -> None:
    from dataclasses import replace

    from tuner.base.errors import WorkFailed
    from tuner.claims import hypotheses
    from tuner.commands.fetch import fetched
    from tuner.run.launch import as_begun, launch
    from tuner.show.live import make_view
    from tuner.storage.access import open_records, storage_errors

    console, view, url = opt.console(), make_view(opt.error_console()), opt.storage_url(options)
    with storage_errors(url):
        records = open_records(url)
        fetched(records, (), options.results)
        prepared = hypotheses.prepare(
            records,
            options.results,
            chosen=options.data,
            overrides=opt.settings(options.set),
            fresh=options.fresh,
        )
    if prepared.plan is not None or options.dry_run:
        hypotheses.show_plan(prepared, console)
    if prepared.file is None:
        return
    request = request_for(options, prepared.file)
    if options.data is None and (Path("data") / prepared.data).is_dir():
        request = replace(request, data=Path("data") / prepared.data)
    if options.dry_run:
        hypotheses.show_cost(as_begun(request, view), console, view)
        return
    result = launch(request, view)
    if not result.fine:
        raise WorkFailed(result.reason)
    if result.interrupted:
        raise KeyboardInterrupt
    console.print(f"{request.study_file.name}: {result.reason}", markup=False)
    with storage_errors(url):
        hypotheses.show_verdicts(open_records(url), options.results, console)


def request_for(options: argparse.Namespace, study: str | StudyFile):  # type: ignore[no-untyped-def]
    """What the command line asks for, as a request for `study`."""
    from tuner.definition.loading import load_study_file
    from tuner.run.executors.choice import ExecutorChoice
    from tuner.run.launch import Request

    return Request(
        study_file=load_study_file(study) if isinstance(study, str) else study,
        url=opt.storage_url(options),
        results=options.results,
        trials=options.trials,
        agents=options.agents,
        timeout=options.timeout,
        data=options.data,
        overrides=opt.settings(options.set),
        seed=options.seed,
        fresh=options.fresh,
        wandb=options.wandb,
        wandb_artifacts=options.wandb_artifacts,
        executor=ExecutorChoice(options.executor, options.address),
        artifacts=options.artifacts,
    )
