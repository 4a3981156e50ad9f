"""One training run: fit → run_epoch → `Learner.train_step`. It calls `report` once per epoch."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import Tensor

from model import checkpoint as checkpoints
from model.config import Config
from model.devices import place
from model.evaluate import Outcome, evaluate
from model.finished_run import described, write_network
from model.identity import identity
from model.learner import Learner
from model.task import Task, prepare
from model.teacher import Teacher
from tuner.base.endings import Paused, Pruned
from tuner.base.errors import InputError, TrainingFailed
from tuner.base.files import write_json
from tuner.base.run_folder import CONFIG, Report, RunFolder, due


def train(
    config: Mapping[str, Any],
    report: Report,
    *,
    data: Path,
    run_folder: Path | None = None,
    checkpoint: Path | None = None,
    teacher: Teacher | None = None,
) -> dict[str, float]:
    """Trains one network and returns the `val/…` metrics of its best epoch.

    Args:
        config: values of `model.config.Config`; missing keys have their default.
        report: called after every epoch with the epoch (from 0) and its metrics. It may raise `Pruned`.
        data: a data set's folder.
        run_folder: where the run is written, whole or not at all; None: nothing is written.
        checkpoint: a folder in which the run keeps its state: when `report` ends it by an error, and now and
            then in case it is killed. A run that finds a state there goes on from it, and equals one that
            was never stopped. None: no state is kept.
        teacher: another model to learn from instead of labels (see `model/teacher.py`).

    Raises:
        InputError: a bad config or data set.
        Pruned: raised by `report`; the result in the run folder says so.
        TrainingFailed: the loss is not finite, or the device is out of memory.
    """
    checked = Config.from_dict(config)
    task = prepare(data, checked)
    with RunFolder(run_folder, checkpoint=checkpoint) if run_folder else nullcontext() as folder:
        run = _Run(checked, task, report, folder, teacher)
        if checkpoint is not None:
            run.go_on_from(checkpoint)
        return run.fit()


class _Run:
    """One run, epoch by epoch: what it reports, its best epoch, its folder and its checkpoint.

    Attributes:
        epochs_done: how many epochs were trained, also before the run was interrupted.
        identity: see `model.identity`; "" where another run of the same options may differ.
    """

    def __init__(
        self,
        config: Config,
        task: Task,
        report: Report,
        folder: RunFolder | None,
        teacher: Teacher | None = None,
    ) -> None:
        self.config, self.task, self.report, self.folder = config, task, report, folder
        self.began = time.monotonic()
        self.learner = Learner(config, task, place(config), teacher)
        self.last_is_best = config.last_is_best or teacher is not None  # a student reads `select`, too
        self.identity = "" if teacher else identity(config, task.data.content_hash)
        self.checkpoint: Path | None = None
        self.next_save = self.began + checkpoints.SECONDS
        self.epochs_done = 0
        self.best: dict[str, float] = {}
        self.best_epoch = -1
        self.best_weights: dict[str, Tensor] = {}

    # -- levels: fit, epoch, step

    def fit(self) -> dict[str, float]:
        """Runs all epochs, then evaluates the best one."""
        try:
            while self.epochs_done < self.config.epochs and not self._waited_long_enough():
                epoch = self.epochs_done
                metrics = self.run_epoch(epoch)
                self.epochs_done += 1
                if self.folder:
                    self.folder.log(epoch, metrics)
                self._tell(epoch, metrics)
        except (Pruned, Paused) as error:
            self._finish("pruned" if isinstance(error, Pruned) else "paused")
            raise
        except TrainingFailed as error:
            self._finish("failed", error=str(error))
            raise
        self.learner.network.load_state_dict(self.best_weights)
        self._finish("complete")
        return self.best

    def _tell(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Reports an epoch; keeps the state when `report` stops the run, and else now and then."""
        try:
            self.report(epoch, metrics)
        except (Pruned, TrainingFailed):
            raise
        except Exception:
            self.save()
            raise
        now = time.monotonic()
        if self.checkpoint is not None and now >= self.next_save:
            self.save()
            taken = time.monotonic() - now
            self.next_save = now + max(checkpoints.SECONDS, taken / checkpoints.SHARE)

    def run_epoch(self, epoch: int) -> dict[str, float]:
        """Trains an epoch, then returns its metrics: those on `select` as well, if it is evaluated."""
        began, learner = time.monotonic(), self.learner
        found = {"train/loss": learner.train_epoch(epoch)}
        if self._is_evaluated(epoch):
            with learner.averaged():
                outcome = evaluate(learner.network, self.task, "select", device=learner.device)
                self._keep_if_best(epoch, outcome)
            learner.schedule.observe(outcome.metrics["overall_acc"])
            found |= {f"val/{name}": value for name, value in outcome.metrics.items()}
        found["lr"] = learner.optimizer.param_groups[0]["lr"]
        return {**found, "epoch_seconds": time.monotonic() - began}

    def _is_evaluated(self, epoch: int) -> bool:
        config = self.config
        return config.evaluates_each or epoch + 1 == config.epochs or due(self.report, epoch)

    def _keep_if_best(self, epoch: int, outcome: Outcome) -> None:
        value = outcome.metrics["overall_acc"]
        if not self.best or value > self.best["val/overall_acc"] or self.last_is_best:
            self.best = {f"val/{name}": v for name, v in outcome.metrics.items()}
            self.best_epoch = epoch
            self.best_weights = deepcopy(self.learner.network.state_dict())

    def _waited_long_enough(self) -> bool:
        since_best = self.epochs_done - 1 - self.best_epoch
        return bool(self.config.early_stopping) and since_best >= self.config.early_stopping

    # -- the checkpoint

    def go_on_from(self, folder: Path) -> None:
        """Keeps the state in `folder` from now on, and takes over the one that is there.

        Raises:
            InputError: the state there is damaged, or of another run.
        """
        self.checkpoint = folder
        state = checkpoints.load(folder)
        if state is None:
            return
        if state.values["of"] != self._belongs_to():
            raise InputError(f"{folder}: a checkpoint of another configuration or data set; remove it")
        values = state.values
        self.learner.take(state)
        self.best_weights = {name: t.to(self.learner.device) for name, t in state.take("best").items()}
        self.best, self.best_epoch = values["best"], values["best_epoch"]
        self.epochs_done = values["epochs_done"]
        if values.get("identity") != self.identity:
            self.identity = ""  # other code or another machine trained the epochs before
        self.began -= values["seconds"]

    def save(self) -> None:
        """Writes the state at the end of an epoch to the checkpoint."""
        if self.checkpoint is None:
            return
        state = checkpoints.State(
            values={
                "of": self._belongs_to(),
                "identity": self.identity,
                "best": self.best,
                "best_epoch": self.best_epoch,
                "epochs_done": self.epochs_done,
                "seconds": time.monotonic() - self.began,
            }
        )
        self.learner.put(state)
        state.put("best", self.best_weights)
        checkpoints.save(state, self.checkpoint)

    def _belongs_to(self) -> str:
        """What a state belongs to."""
        of = {"config": self.config.to_dict(), "data": self.task.data.content_hash}
        return json.dumps(of, sort_keys=True)

    def _finish(self, state: str, **more: Any) -> None:
        """Writes the run folder: config, metrics and result; if complete, also network and predictions."""
        if self.folder is None:
            return
        learner = self.learner
        result = described(learner.network, self.task, self.config)
        result.update(state=state, metrics=self.best, best_epoch=self.best_epoch)
        if self.identity and learner.microbatches.parts == 1:  # halves of a batch round otherwise
            result["identity"] = self.identity
        result.update(device=learner.placement.reason, **more)
        write_json(self.folder.path / CONFIG, self.config.to_dict())
        if state == "complete":
            result.update(write_network(self.folder.path, learner.network, self.task, device=learner.device))
        result["seconds"] = round(time.monotonic() - self.began, 3)
        self.folder.finish(result)
