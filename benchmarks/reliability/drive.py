"""What `tuner study` does, with a lease term of its own and no wish for free disk."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def drive(arguments: list[str]) -> int:
    """What `tuner study` does, with a lease term of its own and no wish for free disk."""
    from rich.console import Console

    from tuner.base.command_line import run_command
    from tuner.definition.loading import load_study_file
    from tuner.run import launch
    from tuner.run.executors.choice import ExecutorChoice
    from tuner.run.request import Request
    from tuner.show.live import PlainView
    from tuner.storage.access import default_url

    parser = argparse.ArgumentParser()
    parser.add_argument("study")
    parser.add_argument("--agents", type=int)
    parser.add_argument("--term", type=float)
    parser.add_argument("--wandb", default="off")
    parser.add_argument("--executor", default="local")
    parser.add_argument("--address", default="")

    def run(options: argparse.Namespace) -> int:
        results = Path("results")
        request = Request(
            study_file=load_study_file(options.study),
            url=os.environ.get("TUNER_STORAGE") or default_url(results),
            results=results,
            agents=options.agents,
            wandb=options.wandb,
            term=options.term,
            min_free=0,
            executor=ExecutorChoice(options.executor, options.address or None),
        )
        result = launch.run(request, PlainView(Console(stderr=True, width=200)))
        if result.interrupted:
            raise KeyboardInterrupt
        if not result.fine:
            sys.stderr.write(f"error: {result.reason}\n")
        return 0 if result.fine else 1

    parser.set_defaults(run=run, debug=False)
    return run_command(parser, arguments)


if __name__ == "__main__":
    sys.exit(drive(sys.argv[1:]))
