"""Runs a script that calls `wandb.sweep(config)` and `wandb.agent(id, function, count)`, unchanged and
without a server. Each sweep becomes a study, and each trial runs the script again up to its agent. The same
command continues these studies. Put options before the script, and the script's own arguments after it. With
--json the result is a list with one object per study, and the output of the script goes to standard error.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.commands import options as opt

if TYPE_CHECKING:
    from tuner.definition.study_file import StudyFile
    from tuner.run.launch import Result


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "run",
        "run a script that makes its own sweeps (wandb.sweep, wandb.agent)",
        __doc__,
        "tuner run --agents 2 examples/wandb_in_script/train.py",
    )
    parser.add_argument(
        "-m", dest="module", action="store_true", help="SCRIPT is a module, as with python -m"
    )
    parser.add_argument("script", metavar="SCRIPT.py", help="the script, or the module with -m")
    parser.add_argument("arguments", metavar="ARGS", nargs=argparse.REMAINDER, help="arguments of the script")
    opt.add_options(parser, "agents", help="largest number of trials at a time (default: one per core)")
    opt.add_options(parser, "timeout", help="stop a study after this long")
    opt.add_options(
        parser,
        "trials",
        help="finished trials of each sweep, at most: an agent without `count` has no end of its own",
    )
    opt.add_options(parser, "seed", "json", "notify", "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from tuner.base.errors import WorkFailed
    from tuner.run.script_sweeps import Program, ScriptSweeps
    from tuner.show import running

    results, url = options.results.resolve(), opt.storage_url(options)
    ran: list[str] = []  # names of studies
    ends: list[dict[str, Any]] = []

    def run_study(file: StudyFile, wanted: int | None) -> Result:
        if options.trials is not None:
            caps = (wanted, options.trials, file.run_cap)
            wanted = min(count for count in caps if count is not None)
        request = opt.request_for(options, file, results=results, trials=wanted)
        ran.append(file.name)
        end = running.run(request, opt.error_console(), notify=options.notify)
        if options.json:
            ends.append(end.to_dict())
        else:
            end.show(opt.console(), opt.places(options))
        return end.result

    program = Program(options.script, tuple(options.arguments), Path.cwd(), module=options.module)
    sweeps = ScriptSweeps(program, results, url=url, run=run_study)
    with opt.only_json(options.json):
        status = sweeps.drive()
    if options.json:
        opt.write_json(ends)
    if not (ran or sweeps.made or status):
        opt.error_console().print(
            f"{program.name} made no W&B sweep, so nothing was tuned. To tune an objective of Optuna's, name "
            f"it in a study file: tuner: {{objective: '{program.file}:objective'}}",
            markup=False, soft_wrap=True,
        )  # fmt: skip
    if sweeps.failed:
        raise WorkFailed("; ".join(sweeps.failed))
    return status if status >= 0 else 128 - status
