"""The first minutes with this project: every room once, on simulated recordings, each command shown."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from model.recordings import MANIFEST, SIMULATOR
from tuner.base.errors import WorkFailed

TRIALS = 6
EPOCHS = 30
STUDY_TIMEOUT = "2m30s"  # on a slow machine the ensemble is built from what has finished by then
MEMBERS = 3
UNSEEN = 7  # the networks see six recordings of each program; this one is decoded


@dataclass(frozen=True)
class Step:
    """One command, and what it is for."""

    why: str
    arguments: tuple[str, ...]

    @property
    def shown(self) -> str:
        return f"python -m {' '.join(self.arguments)}"


def steps(results: Path, *, data: Path, agents: int | None) -> list[Step]:
    """The tour's commands, in order."""
    folder = results / "tour"
    unseen = folder / "recordings"
    decoded = unseen / f"face_{UNSEEN:03d}_aligned.csv.gz"
    into = ("--results", str(folder))
    found = []
    if not (data / MANIFEST).exists():
        found.append(
            Step(
                "Recordings of a simulated mill: six kinds of programs, up to sixteen sensor boards",
                ("model", "synthesize", "--to", str(data), *into),
            )
        )
    many = () if agents is None else ("--agents", str(agents))
    study = ("tuner", "study", "loss_weighting", "--data", str(data), "--trials", str(TRIALS), *many)
    found += [
        Step(
            "A small study: how much each part of the loss should weigh; poor trials stop early",
            (*study, "--set", f"epochs={EPOCHS}", "--timeout", STUDY_TIMEOUT, "--wandb", "offline", *into),
        ),
        Step(
            "An ensemble of its best networks, weighed on recordings that chose nothing before",
            ("ensemble", "build", "--k", str(MEMBERS), "--study", "loss_weighting", "--name", "tour", *into),
        ),
        Step(
            "The same programs run once more: recordings that no network has seen",
            (
                "model", "synthesize", "--csv", str(unseen), "--recordings", str(UNSEEN), *into,
            ),
        ),
        Step(
            "The G-code of one of them, read from its sensors, beside the true lines",
            ("inference", "decode", str(decoded), "--bundle", "tour", "--alternatives", "1", *into),
        ),
    ]  # fmt: skip
    return found


def run(results: Path, *, agents: int | None, console: Console) -> None:
    """Runs the tour.

    Raises:
        WorkFailed: a step failed; its own error stands above.
    """
    for number, step in enumerate(steps(results, data=Path("data") / SIMULATOR, agents=agents), 1):
        console.print(f"\n[bold]{number}. {step.why}[/]")
        console.print(f"   $ {step.shown}", style="dim", markup=False, soft_wrap=True)
        status = subprocess.run([sys.executable, "-m", *step.arguments], check=False).returncode
        if status == 130:
            raise KeyboardInterrupt
        if status:
            raise WorkFailed(f"the tour stopped at: {step.shown}")
    console.print(
        "\n[bold]Next, with your own recordings:[/]\n"
        "   python -m model import DIR --to data/mill       a folder of .csv or .csv.gz files\n"
        "   python -m tuner study loss_weighting            one study; 'study all' is the whole campaign\n"
        "   python -m ensemble build --k 10                 then: python -m inference decode FILE.csv"
    )
