"""Tunes a script of scikit-learn and says whether its defaults were beaten. Then tunes a network that
reads a simulated mill, builds an ensemble and decodes new recordings. Prints each command. After Ctrl-C
the same command continues.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.base.command_line import RESULTS_VARIABLE
from tuner.commands import options as opt

if TYPE_CHECKING:
    from rich.console import Console

    from tuner.claims.answer import Answer

NEXT = """
Look further:
   export {variable}={results}
   tuner best digits                            the best configurations
   tuner export digits                          the winner's, as a file
   tuner verdict mill                           is that winner better, too? what would decide it?
Your turn:
   tuner study path/to/sweep.yaml               your script and its W&B sweep file
   tuner model import DIR --to data/mill        recordings of your machine: .csv or .csv.gz"""


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "tour",
        "a guided demo: a script, and simulated recordings of a mill (one or two minutes)",
        __doc__,
        "tuner tour",
    )
    opt.add_options(parser, "agents", help="processes (default: one per core)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.definition.loading import EXAMPLES

    demo = Demo(options.results / "tour", opt.console(), options.agents)
    demo.check()
    digits, mill = (_shown(EXAMPLES / name) for name in ("digits", "mill"))
    results, recordings = _shown(demo.results), _shown(demo.results / "recordings")
    demo.part(
        "1. A script",
        f"An ordinary script, {digits}/train.py, trains scikit-learn's MLPClassifier to read digits.",
    )
    demo.step(
        "Runs the script 16 times. Trial 0 has scikit-learn's defaults, the others search for better values.",
        f"tuner study {digits}/sweep.yaml --wandb off{demo.agents}",
    )
    one, other = demo.compared("digits")
    demo.step(
        "The best of 16 scores is partly luck. So the best configuration and the defaults run again, each "
        "with six new seeds, which also draw other images.",
        f"tuner verify digits --trial {one} --trial {other} --seeds 6 --wandb off{demo.agents}",
    )
    demo.part(
        "2. A mill", "A network reads the sensors of a CNC mill and names the line of G-code that runs."
    )
    demo.step(
        "Simulates recordings of its sensors: six programs, each run six times.",
        "tuner model synthesize --to data/simulator",
        creates=Path("data/simulator/manifest.json"),
    )
    demo.step(
        "Tunes the network. Trials pause after two epochs, and the most promising go on.",
        f"tuner study {mill}/study.yaml --data data/simulator --wandb off{demo.agents}",
    )
    demo.step(
        "Combines its best networks in a bundle, which also holds the known recordings.",
        "tuner ensemble build --study mill --k 3 --name mill",
        last=1,
    )
    demo.step(
        "Simulates a seventh run of each program, which no study has seen.",
        f"tuner model synthesize --recordings 7 --csv {recordings}",
        creates=demo.results / "recordings" / "pocketfine_007_aligned.csv.gz",
    )
    demo.step(
        "Decodes one of them from its sensors. The file has the true lines, so the table shows them as well.",
        f"tuner inference decode {recordings}/face_007_aligned.csv.gz --bundle mill --alternatives 0",
    )
    demo.step(
        "Decodes all six, and counts the rows that are right.",
        f"tuner inference decode {recordings}/*_007_aligned.csv.gz --bundle mill --format summary",
    )
    demo.step("Writes one page about both studies.", f"tuner report --output {results}/report.html")
    demo.end()


@dataclass(frozen=True)
class Demo:
    """The demo in a terminal.

    Attributes:
        results: the results folder of its commands.
        processes: of a study; None: one per core.
    """

    results: Path
    console: Console
    processes: int | None

    def check(self) -> None:
        """Says where the results are.

        Raises:
            InputError: packages that the demo needs are not installed.
        """
        from importlib.util import find_spec

        from tuner.base.errors import InputError
        from tuner.base.extras import remedy

        if any(find_spec(name) is None for name in ("polars", "sklearn", "torch")):
            raise InputError(f"tour: needs scikit-learn and PyTorch: {remedy('model')}")
        self._say(f"This demo prints each command that it runs. Its results are in {self.results}:")
        self._command(f"export {RESULTS_VARIABLE}={_shown(self.results)}")

    @cached_property
    def agents(self) -> str:
        """The option of a study."""
        return "" if self.processes is None else f" --agents {self.processes}"

    def part(self, title: str, about: str) -> None:
        """Prints the title of a part, and what it is about."""
        self.console.print(f"\n[bold]{title}[/]")
        self._say(about)

    def step(self, why: str, command: str, *, last: int = 0, creates: Path | None = None) -> None:
        """Says why, prints a command and runs it.

        Args:
            last: how many lines of its output are shown; 0: all.
            creates: what the command makes; it does not run where this is there already.

        Raises:
            KeyboardInterrupt: the user stopped it.
            WorkFailed: it failed, and said why.
        """
        from tuner.base.errors import WorkFailed
        from tuner.campaign.campaign import started

        self._say(f"\n{why}")
        self._command(command + (f" | tail -{last}" if last else ""))
        if creates is not None and creates.exists():
            self._say(f"{creates} is there already")
            return
        done = subprocess.run(
            started(_words(command)), check=False, text=True, stdout=subprocess.PIPE if last else None,
            env={**os.environ, RESULTS_VARIABLE: str(self.results)},
        )  # fmt: skip
        for line in (done.stdout or "").splitlines()[-last:]:
            self._say(line)
        if done.returncode == 130:
            raise KeyboardInterrupt
        if done.returncode:
            raise WorkFailed(f"this command failed: {command}")

    def compared(self, study: str) -> tuple[int, int]:
        """The numbers of the study's best trial and of its default configuration."""
        from tuner.base.errors import WorkFailed

        answer = self._answers()[study]
        if answer.one is None or answer.other is None:
            raise WorkFailed(answer.sentence)
        return answer.one.number, answer.other.number

    def end(self) -> None:
        """What both studies found, and what to do next."""
        from tuner.show.console import GREEN

        self.console.print("\n[bold]What came out[/]")
        for name, answer in self._answers().items():
            self.console.print(
                f"{name}: {answer.headline}", markup=False, style=GREEN if answer.better else ""
            )
        self._say(f"report: {self.results}/report.html")
        self._say(NEXT.format(variable=RESULTS_VARIABLE, results=_shown(self.results)))

    def _answers(self) -> dict[str, Answer]:
        from tuner.claims import judge
        from tuner.claims import material as materials
        from tuner.storage.access import default_url, open_records

        records = open_records(default_url(self.results))
        material = materials.load(records, (), self.results, made=datetime.now())
        return {study.name: judge.of_study(study, material) for study in material.studies}

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False)

    def _command(self, text: str) -> None:
        self.console.print(f"$ {text}", style="bold cyan", markup=False, soft_wrap=True)


def _shown(folder: Path) -> str:
    """A folder as a word of a command: from the current folder, if it is in there."""
    here = Path.cwd()
    return shlex.quote(str(folder.relative_to(here) if folder.is_relative_to(here) else folder))


def _words(command: str) -> list[str]:
    """The words of a command, with the files that a pattern stands for."""
    found: list[str] = []
    for word in shlex.split(command):
        path = Path(word)
        found += sorted(map(str, path.parent.glob(path.name))) if "*" in word else [word]
    return found
