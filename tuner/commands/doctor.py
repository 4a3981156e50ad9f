"""Checks this machine: data, disk, device, W&B, storage."""

from __future__ import annotations

import argparse

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers, "doctor", "check this machine: data, disk, device, W&B, storage", __doc__, "tuner doctor"
    )
    opt.add_options(parser, "json", "storage")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="repair a damaged SQLite file: keep what can be read, and add finished trials from the run "
        "folders. A copy of the old file is kept",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from tuner.show import doctor

    if options.repair:
        return _repair(options)
    checks = doctor.examine(opt.storage_url(options), options.results)
    if options.json:
        opt.write_json([asdict(check) for check in checks])
    else:
        opt.console().print(doctor.check_table(checks))
    return 0 if all(check.fine for check in checks) else 1


def _repair(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from tuner.storage.outage import storage_errors
    from tuner.storage.repair import repair

    url = opt.storage_url(options)
    with storage_errors(url):
        done = repair(url, options.results)
    if options.json:
        opt.write_json(asdict(done))
        return 0
    changed = done.copy or done.rebuilt or done.lost
    for line in done.lines() if changed else ["nothing to repair"]:
        opt.console().print(line, soft_wrap=True)
    return 0
