"""Runs a study until it has its number of finished trials. The same command continues a study that was
stopped, and a second terminal can join with it. Ctrl-C once: agents finish their epoch (for at most the
study's grace time, 30 s) and return their trials to the queue. Ctrl-C twice: they stop at once. 'all' runs
the shipped campaign; a file with `steps` is a campaign of your own. 'hypotheses' runs pairs that test the
claims which finished studies left open: first one design for all claims, then more pairs for those that are
still open.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.base import plugins
from tuner.commands import options as opt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.claims.hypotheses import Prepared
    from tuner.claims.verdicts import Finding
    from tuner.definition.campaign_file import CampaignFile
    from tuner.definition.study_file import StudyFile
    from tuner.run.request import Request


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "study",
        "run or resume a study",
        __doc__,
        "tuner study loss_weighting --data data/mill --trials 12 --agents 2",
    )
    parser.add_argument(
        "study",
        metavar="NAME|FILE.yaml|all|hypotheses",
        help="a shipped study, a sweep file, a campaign file, or one of the words above",
    )
    opt.add_options(
        parser,
        "agents",
        help="largest number of trials at a time (default: one per core, or per GPU if trials use GPUs; "
        "dask: one per worker; ray: one per CPU)",
    )
    parser.add_argument(
        "--executor",
        choices=("local", *plugins.installed(plugins.EXECUTORS)),
        default="local",
        help="where agents run: processes of this machine, or a Dask or Ray cluster (default: local)",
    )
    parser.add_argument(
        "--address",
        metavar="ADDR",
        help="dask: tcp://HOST:8786 or a scheduler file; ray: HOST:6379 (default: start Ray on this machine)",
    )
    opt.add_options(parser, "trials", "timeout")
    parser.add_argument(
        "--budget", type=opt.seconds, metavar="15m", help="with 'hypotheses': total time for all claims"
    )
    opt.add_options(parser, "data", help="what trials read: data set or bundle (default: the only one)")
    opt.add_options(parser, "set", "seed", "wandb")
    parser.add_argument("--wandb-artifacts", action="store_true", help="if online: also upload run folders")
    parser.add_argument(
        "--dry-run", action="store_true", help="show space, cost and first trials, but run nothing"
    )
    parser.add_argument(
        "--probe",
        action="store_true",
        help="with --dry-run: run the first epochs of one trial to measure its cost",
    )
    opt.add_options(parser, "fresh", "verbose", "notify", "json", "artifacts", "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from tuner.base.errors import InputError
    from tuner.run import plan
    from tuner.run.executors import processes
    from tuner.show.live import make_view

    if options.budget is not None and options.study != "hypotheses":
        raise InputError("--budget is for 'study hypotheses'; use --timeout")
    if options.executor == "local" and not options.dry_run:
        processes.preload()
    campaign = _campaign_file(options.study)
    if options.json and options.dry_run and (campaign or options.study == "hypotheses"):
        raise InputError("--json --dry-run: expected one study; the plan of several is a table for people")
    if options.study == "hypotheses":
        _hypotheses(options)
        return 0
    if campaign is not None:
        _campaign(campaign, options)
        return 0
    request = request_for(options, options.study)
    if options.dry_run:
        from tuner.show import dry_run

        with opt.only_json(options.json):
            made = plan.make(request, make_view(opt.error_console()).say)
            found = dry_run.look(made, probed=options.probe)
        if options.json:
            opt.write_json(found)
        else:
            dry_run.show(made, found, opt.console())
        return 0
    run_and_show(request, options)
    return 0


def run_and_show(request: Request, options: argparse.Namespace) -> None:
    """Runs a study and shows what it found."""
    from tuner.base.errors import WorkFailed
    from tuner.run.launch import CONTINUE
    from tuner.show import running

    end = running.run(request, opt.error_console(), notify=options.notify, verbose=options.verbose)
    name, result = end.plan.file.name, end.result
    if options.json:
        opt.write_json(end.to_dict())
    if not result.fine:
        brief = end.view.brief(result.reason)
        remedy = "" if brief == result.reason else "; repair the cause, then run the same command again"
        raise WorkFailed(f"{name}: {brief}{remedy}")
    if result.interrupted:
        raise KeyboardInterrupt(CONTINUE + (" without --fresh" if request.fresh else ""))
    if not options.json:
        end.show(opt.console(), opt.places(options))


def _campaign_file(name: str) -> CampaignFile | None:
    """The campaign that is asked for: `all` is the shipped one, or a file with steps; None: it is a study."""
    from tuner.definition.campaign_file import is_campaign, read_campaign
    from tuner.definition.loading import shipped_campaign

    if name == "all":
        return shipped_campaign()
    path = Path(name)
    return read_campaign(path) if path.suffix in (".yaml", ".yml") and is_campaign(path) else None


def _campaign(file: CampaignFile, options: argparse.Namespace) -> None:
    from tuner.base.errors import InputError
    from tuner.campaign.campaign import Campaign
    from tuner.show.live import make_view
    from tuner.show.notify import notifying
    from tuner.show.summary import Summary
    from tuner.storage.study import load_study

    if options.fresh or options.trials:
        raise InputError(
            f"'study {options.study}' does not take --fresh or --trials; use them with each study"
        )
    console = opt.error_console() if options.json else opt.console()

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    campaign = Campaign(
        file,
        options.results,
        lambda study: request_for(options, study),
        lambda: make_view(opt.error_console(), verbose=options.verbose),
        say,
        timeout=options.timeout,
    )
    if options.dry_run:
        from tuner.show.dry_run import show_campaign

        show_campaign(campaign, console, say, probed=options.probe)
    else:
        name = file.path.stem
        with opt.only_json(options.json), notifying(options.notify, name, say) as notifier:
            if campaign.run():
                notifier.send(name, "the campaign is done")
        if options.json:
            names = [campaign.study(step).name for step in file.steps if step.study in file.studies]
            records = opt.records(options)
            begun = {study.study_name for study in records.get_all_studies()}
            opt.write_json([Summary.of(load_study(records, n)).to_dict() for n in names if n in begun])


def _hypotheses(options: argparse.Namespace) -> None:
    from dataclasses import asdict
    from datetime import datetime

    from tuner.claims import material as materials
    from tuner.claims.hypotheses import Settling
    from tuner.claims.material import PAIRED
    from tuner.run import plan
    from tuner.show.live import make_view
    from tuner.show.report import claims, terminal

    console = opt.error_console() if options.json else opt.console()
    records = opt.records(options)
    opt.fetched(records, (), options.results)
    settling = Settling(
        opt.storage_url(options),
        options.results,
        request_for=lambda file: request_for(options, file),
        make_view=lambda: make_view(opt.error_console()),
        say=lambda line: console.print(line, markup=False, soft_wrap=True),
        chosen=options.data,
        overrides=opt.settings(options.set),
        fresh=options.fresh,
        budget=options.timeout if options.budget is None else options.budget,
        most=options.trials,
    )
    found: Sequence[Prepared] | Sequence[Finding]
    if options.dry_run:
        found = settling.prepare(fresh=options.fresh)
        for prepared in found:
            material = materials.load(records, (), options.results, made=datetime.now())
            claims.show_plan(prepared, material, console)
            if prepared.file is not None:
                made = plan.make(settling.request(prepared), settling.make_view().say)
                if options.probe or made.workload.quick_probe:
                    claims.show_pairs_cost(made, console)
    else:
        with opt.only_json(options.json):
            found = settling.run()
        if options.json:
            opt.write_json([asdict(finding) for finding in found if finding.pairs_run])
        elif found and not (paired := [finding for finding in found if finding.pairs_run]):
            console.print(f"no claim has two pairs yet: tuner study {PAIRED} runs the rest", markup=False)
        elif found:
            terminal.show_findings(paired, console)
    if not found:
        console.print("no study here has a hypothesis", markup=False)


def request_for(options: argparse.Namespace, study: str | StudyFile) -> Request:
    """What the command line asks for, as a request for `study`."""
    from tuner.run.executors.choice import ExecutorChoice

    return opt.request_for(options, study, executor=ExecutorChoice(options.executor, options.address))
