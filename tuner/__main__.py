"""`python -m tuner`: studies, from their list to their winner."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tuner import commands
from tuner.base.command_line import Help, run_command

EXAMPLES = """\
examples:
  python -m tuner list                                   what there is to run, what it costs, how far it is
  python -m tuner study loss_weighting --agents 2        run a study, or go on with it
  python -m tuner best loss_weighting                    its best trials
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tuner", description=__doc__, epilog=EXAMPLES, formatter_class=Help
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in commands.ALL:
        module.add(subparsers)
    return run_command(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
