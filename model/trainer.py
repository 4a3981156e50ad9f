"""One training run: fit → run_epoch → train_step. It calls `report` once per epoch."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from model import checkpoint as checkpoints
from model import losses
from model.augment import Augment, mixup, oversample, rare_windows
from model.config import Config
from model.data_layout import board_of
from model.devices import place
from model.evaluate import Outcome, evaluate
from model.finished_run import described, write_network
from model.identity import identity
from model.line_losses import LineLosses
from model.microbatches import Microbatches
from model.network import Network
from model.optimizers import WeightAverage, clip_gradients, make_optimizer, set_rate
from model.schedules import Schedule
from model.task import Task, prepare
from model.teacher import PARTS as STUDENT_PARTS
from model.teacher import Teacher, soft_loss
from model.tokens import PARAM_VALUE
from model.windows import Windows
from tuner.base.errors import InputError, Paused, Pruned, TrainingFailed
from tuner.base.files import write_json
from tuner.base.run_folder import CONFIG, Report, RunFolder


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
    """The state of a run: network, optimiser, random generators, best epoch.

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
        parts = ("train",) if teacher is None else STUDENT_PARTS
        self.windows = Windows.joined(*(task.parts[part] for part in parts))  # that are trained on
        # with `select` among them, no epoch can be shown to be better than the last
        self.last_is_best = config.fit_on != "train" or teacher is not None
        self.began = time.monotonic()
        self.placement = place(config)
        self.device = self.placement.device
        torch.manual_seed(config.seed)
        self.rng = np.random.default_rng([config.seed, 1])
        self.generator = torch.Generator(self.device).manual_seed(config.seed + 1)
        self.network = Network(
            config,
            channels=task.source.channels,
            head_sizes=task.vocabulary.head_sizes,
            tokens=len(task.vocabulary),
            operations=len(task.scaler.operations),
            recordings=len(task.data.recordings),
        ).to(self.device)
        self.placement.prepare(self.network)
        self.optimizer = make_optimizer(self.network, config)
        self.average = WeightAverage(self.network, config.ema) if config.ema else None
        self.grad_scaler = self.placement.grad_scaler()
        self.microbatches = Microbatches()
        self.augment = Augment(config, self.generator, boards=self._boards())
        self.weights = losses.loss_weights(config)
        counts = losses.class_counts(
            torch.from_numpy(task.table.factors[self.windows.line]), task.vocabulary.head_sizes
        )
        heads = losses.HeadLosses(config, counts=counts)
        self.lines = LineLosses(self.network.decoder, task, heads, teacher, device=self.device)
        self.index = self._train_index()
        self.schedule = Schedule(config, steps_per_epoch=math.ceil(len(self.windows) / config.batch_size))
        self.operation = torch.from_numpy(task.operation).to(self.device)
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
        self.network.load_state_dict(self.best_weights)
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
        """Trains on as many windows as there are to train on, then returns the metrics on `select`.

        Oversampling repeats rare windows in the set that is drawn from. The number of windows per epoch does
        not change, so that runs with different factors have equal steps and cost.
        """
        began = time.monotonic()
        self.network.train()
        total = torch.zeros((), device=self.device)
        permutation = self.rng.permutation(self.index)[: len(self.windows)]
        for step, first in enumerate(range(0, len(permutation), self.config.batch_size)):
            total += self.train_step(epoch, step, permutation[first : first + self.config.batch_size])
        with self._averaged():
            outcome = evaluate(self.network, self.task, "select", device=self.device)
            self._keep_if_best(epoch, outcome)
        self.schedule.observe(outcome.metrics["overall_acc"])
        return {
            "train/loss": float(total) / max(1, step + 1),
            **{f"val/{name}": value for name, value in outcome.metrics.items()},
            "lr": self.optimizer.param_groups[0]["lr"],
            "epoch_seconds": time.monotonic() - began,
        }

    def train_step(self, epoch: int, step: int, index: np.ndarray) -> Tensor:
        """One optimiser step on the windows `index`; returns the mean loss (detached)."""
        set_rate(self.optimizer, self.schedule.rate(epoch * self.schedule.steps_per_epoch + step))
        self.optimizer.zero_grad(set_to_none=True)
        loss_sum = torch.zeros((), device=self.device)

        def backward(part: Tensor, share: float) -> None:
            with self.placement.autocast():
                loss = self._loss(part.numpy())
            self.grad_scaler.scale(loss * share).backward()
            loss_sum.add_(loss.detach() * share)

        where = f"epoch {epoch}, step {step}"
        self.microbatches.run(
            torch.from_numpy(index),
            backward,
            drop_gradients=lambda: self.optimizer.zero_grad(set_to_none=True),
            where=where,
        )
        if not torch.isfinite(loss_sum):
            raise TrainingFailed(f"the loss is {float(loss_sum)} at {where}: try a smaller learning_rate")
        if self.config.grad_clip:
            self.grad_scaler.unscale_(self.optimizer)
            clip_gradients(self.network.parameters(), self.config.grad_clip)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        if self.average:
            self.average.update()
        return loss_sum

    # -- one batch

    def _loss(self, index: np.ndarray) -> Tensor:
        """The weighted sum of all losses of a batch of training windows."""
        config = self.config
        start, recording, line = self._moved(index)
        x, present = self.task.source.batch(torch.from_numpy(start), torch.from_numpy(recording))
        x, present = x.to(self.device), present.to(self.device)
        x = self.augment(x, present)
        mixture = mixup(x, present, alpha=config.mixup_alpha, generator=self.generator)
        seen, hidden = x, None
        if config.reconstruction_weight:
            seen, hidden = losses.hide_patches(
                x,
                share=config.reconstruction_mask,
                rows=config.reconstruction_patch,
                generator=self.generator,
            )
        memory = self.network.encode(seen)
        owner = torch.from_numpy(recording).to(self.device)
        terms = {
            **self.lines.terms(memory, start=start, recording=recording, line=line, mixture=mixture),
            "reconstruction": lambda: losses.reconstruction_loss(
                self.network.reconstruct(memory, x.shape[1]), x, _given(hidden), present
            ),
            "fingerprint": lambda: self._operation_loss(memory, start, recording),
            "invariance": lambda: losses.classification_loss(
                _given(self.network.recording)(losses.reverse_gradient(self.network.embedding(memory))), owner
            ),
            "contrastive": lambda: losses.contrastive_loss(
                self.network.embedding(memory),
                torch.from_numpy(line).to(self.device),
                temperature=config.contrastive_temperature,
            ),
        }
        return losses.combine(terms, self.weights)[0]

    def _operation_loss(self, memory: Tensor, start: np.ndarray, recording: np.ndarray) -> Tensor:
        logits, owner = self.network.operation_logits(memory), torch.from_numpy(recording)
        teacher = self.lines.teacher
        if teacher is None:
            return losses.classification_loss(logits, self.operation[owner.to(self.device)])
        answers = teacher.operation(torch.from_numpy(start), owner).to(self.device)
        everywhere = torch.zeros(len(answers), dtype=torch.int64, device=self.device)
        return soft_loss(logits, answers, everywhere, temperature=teacher.temperature)

    def _moved(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Start, recording and label of the training windows `index`, moved by up to `jitter_rows`."""
        windows = self.windows
        start, recording = windows.start[index], windows.recording[index]
        if not self.config.jitter_rows or self.config.track == "windows":
            return start, recording, windows.line[index]
        by = self.rng.integers(-self.config.jitter_rows, self.config.jitter_rows + 1, len(index))
        start = np.clip(start + by, self._first[recording], self._last[recording])
        return start, recording, self.task.labels[start]

    # -- what a run is made of

    def _boards(self) -> Tensor:
        """(channel,) index of the board of each channel, -1 for motor currents and position."""
        channels, boards = self.task.data.channels, self.task.data.boards
        numbers = [boards.index(board_of(c)) if board_of(c) in boards else -1 for c in channels]
        numbers += [-1] * (self.task.source.channels - len(channels))
        return torch.tensor(numbers, device=self.device)

    def _train_index(self) -> np.ndarray:
        """The training windows that epochs draw from, rare ones repeated; also sets tables for batches."""
        task, config = self.task, self.config
        windows, vocabulary = self.windows, task.vocabulary
        recordings = task.data.recordings
        self._first = np.array([r.start for r in recordings])
        self._last = np.array([r.start + max(0, r.rows - config.window) for r in recordings])
        index = np.arange(len(windows))
        if config.oversampling_factor == 1:
            return index
        is_value = vocabulary.factor_table[:, 0] == PARAM_VALUE
        rare = rare_windows(task.table.targets[windows.line], is_value, share=config.rare_share)
        return oversample(index, rare, config.oversampling_factor)

    def _averaged(self) -> AbstractContextManager[None]:
        return self.average.applied() if self.average else nullcontext()

    def _keep_if_best(self, epoch: int, outcome: Outcome) -> None:
        value = outcome.metrics["overall_acc"]
        if not self.best or value > self.best["val/overall_acc"] or self.last_is_best:
            self.best = {f"val/{name}": v for name, v in outcome.metrics.items()}
            self.best_epoch = epoch
            self.best_weights = deepcopy(self.network.state_dict())

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
        self.network.load_state_dict(state.take("network"))
        self.best_weights = {name: t.to(self.device) for name, t in state.take("best").items()}
        checkpoints.take_optimizer(state, self.optimizer)
        checkpoints.take_generators(state, self.rng, self.generator)
        self.augment.noise_table = state.tensors["noise_table"].to(self.device)
        if self.average:
            averages = state.take("average")
            self.average.set_state(values["average_steps"], [averages[str(i)] for i in range(len(averages))])
        self.grad_scaler.load_state_dict(values["grad_scaler"])
        self.schedule.set_state(values["schedule"])
        self.microbatches.parts = values["microbatches"]
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
            {"noise_table": self.augment.noise_table},
            {
                "of": self._belongs_to(),
                "identity": self.identity,
                "grad_scaler": self.grad_scaler.state_dict(),
                "schedule": self.schedule.state(),
                "microbatches": self.microbatches.parts,
                "best": self.best,
                "best_epoch": self.best_epoch,
                "epochs_done": self.epochs_done,
                "seconds": time.monotonic() - self.began,
            },
        )
        state.put("network", self.network.state_dict())
        state.put("best", self.best_weights)
        if self.average:
            state.values["average_steps"], averages = self.average.state()
            state.put("average", {str(i): average for i, average in enumerate(averages)})
        checkpoints.put_optimizer(state, self.optimizer)
        checkpoints.put_generators(state, self.rng, self.generator)
        checkpoints.save(state, self.checkpoint)

    def _belongs_to(self) -> str:
        """What a state belongs to."""
        of = {"config": self.config.to_dict(), "data": self.task.data.content_hash}
        return json.dumps(of, sort_keys=True)

    def _finish(self, state: str, **more: Any) -> None:
        """Writes the run folder: config, metrics and result; if complete, also network and predictions."""
        if self.folder is None:
            return
        result = described(self.network, self.task, self.config)
        result.update(state=state, metrics=self.best, best_epoch=self.best_epoch)
        if self.identity and self.microbatches.parts == 1:  # halves of a batch round otherwise
            result["identity"] = self.identity
        result.update(device=self.placement.reason, **more)
        write_json(self.folder.path / CONFIG, self.config.to_dict())
        if state == "complete":
            result.update(write_network(self.folder.path, self.network, self.task, device=self.device))
        result["seconds"] = round(time.monotonic() - self.began, 3)
        self.folder.finish(result)


T = TypeVar("T")


def _given(value: T | None) -> T:
    assert value is not None, "exists if the loss has a weight"
    return value
