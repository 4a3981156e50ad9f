"""`mcp`: serves the studies to coding agents as tools, over standard input and output."""

from __future__ import annotations

import argparse

from tuner.commands import options as opt

DESCRIPTION = """\
Offers list, status, best, verdict, enqueue and report as tools of the Model Context Protocol, over standard
input and output, and for loops that edit a program judge, next_run and leaderboard (`tuner referee`).
Configure the example below as a server in your agent's program. Only `enqueue` changes a study."""


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "mcp",
        summary="serve the studies to coding agents as MCP tools",
        description=DESCRIPTION,
        example="tuner mcp --results results",
    )
    opt.add_options(parser, "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.plugins.mcp import tools

    tools.server(opt.storage_url(options), options.results).run("stdio")
