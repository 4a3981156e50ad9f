"""`doctor`: checks this machine."""

from __future__ import annotations

import argparse

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "doctor",
        summary="check this machine: data, disk, device, W&B, storage",
        example="python -m tuner doctor",
    )
    opt.add_json(parser)
    opt.add_storage(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from tuner.show import doctor

    checks = doctor.examine(opt.storage_url(options), options.results)
    if options.json:
        opt.write_json([asdict(check) for check in checks])
    else:
        opt.console().print(doctor.table(checks))
    return 0 if all(check.fine for check in checks) else 1
