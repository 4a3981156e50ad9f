"""What a study's trials run: the interface between the engine and the work.

The engine asks a workload and asks nothing else; it never asks which kind it is. A workload is made from the
study file in the process that starts the study and is pickled to the agents. A new kind of work is a
subclass: it defines `run`, and those of the other answers that differ.

    class Sorting(Workload):
        def run(self, config, report, *, run_folder, inputs, checkpoint):
            with RunFolder(run_folder, checkpoint=checkpoint) as folder: ...
            return {"seconds": 1.5}

A study file names it: `tuner: {workload: "package.module:Sorting"}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tuner.base.errors import InputError
from tuner.base.run_folder import Report
from tuner.definition.study_file import StudyFile
from tuner.definition.values import Resources

if TYPE_CHECKING:
    from tuner.storage.study import OpenStudy

SMALL_MEMORY = 150 * 2**20  # bytes that an agent needs beside what its trial takes
WEIGHTS = ("*.safetensors", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.keras", "*.onnx", "*.joblib", "*.pkl")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Inputs:
    """What a trial needs before it starts: a data set, a program, a bundle.

    Attributes:
        name, digest: its name, and a hash of its content.
        folder: where it is on this machine.
        binding: True: with other content, the study refuses to continue. False: it says so and continues (a
            program that was changed).
        travels: `folder` can be copied to a host that does not have it; `Workload.digest_of` checks the copy.
        fixed: values that every trial's configuration has.
        renews: with other `fixed` values, the old study is set aside and a new one starts.
    """

    name: str = ""
    digest: str = ""
    folder: Path | None = None
    binding: bool = False
    travels: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)
    renews: bool = False

    def in_words(self) -> str:
        """`mill 0123456789abcdef`, or "" where nothing is read."""
        return f"{self.name} {self.digest[:16]}".strip()


@dataclass(frozen=True)
class Shorter:
    """A trial that is shorter than a whole one, for comparisons.

    Attributes:
        values: what makes it shorter.
        words: what differs, in words.
        scale: its length divided by that of a whole trial.
        durations: values that count epochs, and shrink with the trial.
    """

    values: Mapping[str, Any]
    words: str
    scale: float = 1.0
    durations: frozenset[str] = frozenset()

    def fitted(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """`values` of a whole trial for a shorter one; a duration that is not 0 does not become 0."""
        return {
            name: max(1, round(value * self.scale))
            if name in self.durations and isinstance(value, int) and value > 0
            else value
            for name, value in values.items()
        }


def names_wandb(program: Path) -> bool:
    """Whether a program's text speaks of W&B; also where it cannot be read."""
    try:
        return b"wandb" in program.read_bytes()
    except OSError:
        return True


class Workload:
    """Runs the trials of one study and answers what the engine asks about them.

    Attributes:
        length: the name of the number of epochs in the configuration.
        deterministic: a configuration always reaches the same score, so retraining it shows nothing new.
        own_tracking: the trials make W&B runs themselves.
        wandb, results: how such runs are written, and the results folder; set by the engine.
        quick_probe: `--dry-run` may run a trial for a few seconds without `--probe`.
        saves_when_paused: a trial that `report` pauses keeps its state (`tuner.base.endings.Paused`). Without
            that, a trial is paused only once there is something in its checkpoint.
        measures: names in `result.json` that are kept with the trial, for tables and fronts.
        weights: patterns of files in the run folder that only a study's best trials keep.
        not_inherited: names of the configuration that the next study does not take over from a winner.
    """

    length = "epochs"
    deterministic = False
    own_tracking = False
    wandb: Literal["online", "offline", "off"] = "offline"
    results: Path | None = None
    quick_probe = False
    saves_when_paused = False
    measures: tuple[str, ...] = ()
    weights: tuple[str, ...] = WEIGHTS
    not_inherited: frozenset[str] = frozenset({"seed"})

    def __init__(self, file: StudyFile) -> None:
        self.file = file
        self.deterministic = self.deterministic or file.deterministic
        if file.weights is not None:
            self.weights = file.weights

    # -- before the first trial, in the process that starts the study

    @property
    def uses_wandb(self) -> bool:
        """Whether what the trials run speaks of W&B, as far as can be seen; else nobody is told of keys."""
        return True

    def check(self) -> None:
        """Raises InputError if the study file asks for something that cannot be run (`StudyFile.fail`)."""

    def check_overrides(self, overrides: Mapping[str, Any]) -> None:
        """Raises InputError if `--set` names something that a configuration does not have."""

    def inputs(self, chosen: Path | None, results: Path, say: Say) -> Inputs:
        """Finds what trials read; `chosen` is what the user named with `--data`.

        Raises:
            InputError: there is nothing; the message says where it was searched and how to get it.
        """
        return Inputs()

    def digest_of(self, folder: Path, *, arrived: bool = False) -> str:
        """The digest of the inputs in `folder`: as they say, or recomputed if they `arrived` just now.

        Raises:
            InputError: they are not what they should be.
        """
        raise InputError(
            f"{folder}: {type(self).__name__} has no inputs that can be copied to other machines"
        )

    def defaults(self) -> Mapping[str, Any] | None:
        """The default configuration, which a study tries first; None if it is not known."""
        return None

    def whole_trial(self, epochs: int) -> Mapping[str, Any]:
        """Values that make a trial as long as the study file's `max_epochs`, if there are any."""
        return {}

    def shorter(self, epochs: int) -> Shorter | None:
        """A trial of fewer than `epochs` epochs in which a better configuration still wins; None: none.

        The pairs of runs for claims use it.
        """
        return None

    def begun_inputs(self, overrides: Mapping[str, Any]) -> Path | None:
        """The inputs of a study whose trials had these values (`Inputs.fixed`), if the values show it."""
        return None

    def resources(self, overrides: Mapping[str, Any]) -> Resources:
        """What a trial needs: as the study file says, otherwise the defaults of this workload."""
        own = self.file.resources
        return Resources(
            gpus=1.0 if own.gpus is None else own.gpus,
            cpus=own.cpus,
            memory=SMALL_MEMORY if own.memory is None else own.memory,
        )

    @property
    def scores(self) -> bool:
        """Whether a run is scored by `tuner: {score: …}`; else by what `run` returns."""
        return type(self).run is Workload.run  # the trials are asked for

    def score_in_words(self, config: Mapping[str, Any]) -> str:
        """Which value of a run is its score. `config`: the values that all trials have."""
        return self.file.metric.score_in_words() if self.scores else "as the run returns it"

    # -- the trial, in an agent

    def run(
        self,
        config: Mapping[str, Any],
        report: Report,
        *,
        run_folder: Path,
        inputs: Path | None,
        checkpoint: Path | None,
    ) -> Mapping[str, float]:
        """Runs one configuration, leaves its run folder and returns its metrics.

        Args:
            report: call it with `(epoch from 0, metrics)` after each epoch, and do not catch what it raises.
                Work that can be ended between reports calls `run_folder.check(report)` from time to time.
            run_folder: the trial's final folder, to be written completely or not at all (`RunFolder`).
            inputs: `Inputs.folder` on the machine that runs the trial.
            checkpoint: a folder for checkpoints; write a file under another name and rename it. If it has
                files, an interrupted trial of this configuration wrote them: continue there, with the next
                epoch. None: there is no such folder. `run` may leave this parameter out.

        Raises:
            Pruned: from `report`.
            TrainingFailed: the trial failed. Any other exception counts as a failure, too.
        """
        raise TypeError(f"{type(self).__name__} has no method 'run'")

    def reseeded(self, config: Mapping[str, Any], number: int) -> dict[str, Any]:
        """The values that repetition `number` (from 1) of a configuration changes, such as the seed."""
        return self.seeded(config, 2001 + (number - 1) * self.file.repeats.seeds)

    def seeded(self, config: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """The value that gives a run of `config` this seed; empty if the workload has no seed."""
        return {self.file.seed or "seed": seed}

    def command_line(self, config: Mapping[str, Any]) -> str:
        """The command that runs one configuration by hand; "" if there is none."""
        return ""

    def results_of(self, run_folder: Path) -> Path:
        """The results folder of a trial; by default the one that its run folder lies in."""
        return self.results or run_folder.resolve().parents[2]

    # -- after the last trial, and whenever somebody looks

    def conclude(self, study: OpenStudy, inputs: Inputs, results: Path, say: Say) -> None:
        """Called once when a study is done, to use its winner."""

    def trial_files(self, run_folder: Path) -> Mapping[str, Callable[[], bytes]]:
        """Files of a trial to show, by name; each is made when somebody opens it."""
        return {}

    def sections(self, study: Any, results: Path) -> list[Any]:
        """Blocks for the report about one study (`tuner.show.report.blocks`)."""
        return []
