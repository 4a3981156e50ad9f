"""The subcommands of `python -m tuner`; each has `add(subparsers)` and imports what it needs late."""

from tuner.commands import best, dashboard, doctor, export, list, report, status, study, sync, tour, verify

ALL = (list, study, status, best, verify, export, report, dashboard, sync, doctor, tour)
