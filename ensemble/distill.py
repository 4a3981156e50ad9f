"""Distills a bundle into one network, and measures how much of the gain is kept at which latency."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from ensemble.build import Built, Options, build
from ensemble.bundle import Bundle
from ensemble.candidates import DISTILLED
from ensemble.latency import WINDOWS, fastest
from ensemble.library import check_data
from ensemble.predictor import BundleMemory, BundlePredictor
from ensemble.show import percent, plain_table
from model.config import Config
from model.predictor import Memory
from model.recordings import Recordings
from model.task import prepare
from model.teacher import PARTS
from model.tokens import BOS, HEADS
from model.trainer import train
from tuner.base.errors import InputError
from tuner.base.files import read_json
from tuner.base.run_folder import CONFIG, RESULT, Report

# What a student needs to settle; it is told no lines of the recordings that it has no labels for.
STUDENT = {"epochs": 40, "ema": 0.998, "scheduler": "cosine", "contrastive_weight": 0.0}
CELLS = ("exact", "overall")
T = TypeVar("T")


class BundleTeacher:
    """A bundle as the `model.teacher.Teacher` of a run: pooled outputs for windows without augmentation.

    The bundle is asked once for each window: later epochs take the stored answer.

    Args:
        sources: one per member, from `RunPredictor.windows`; members differ in scaling and context.
    """

    def __init__(
        self,
        predictor: BundlePredictor,
        sources: tuple[Any, ...],
        *,
        temperature: float,
    ) -> None:
        self.predictor, self.sources = predictor, sources
        self.temperature = temperature
        self._known: dict[int, dict[str, Tensor]] = {}  # by first row: as long as the batch that asked
        self._operation: dict[int, Tensor] = {}  # by first row

    def answers(self, start: Tensor, recording: Tensor, inputs: Tensor) -> dict[str, Tensor]:
        """Head → (B, L, classes) pooled log-probabilities."""

        def ask(new: Tensor) -> Iterable[dict[str, Tensor]]:
            found = self._asked(start[new], recording[new], inputs[new.to(inputs.device)])
            return ({head: v[place].half().cpu() for head, v in found.items()} for place in range(len(new)))

        known = _remembered(self._known, start, ask)
        width = inputs.shape[1]
        return {
            head: torch.stack([_as_wide(each[head], width) for each in known]).float().to(inputs.device)
            for head in HEADS
        }

    @torch.no_grad()
    def operation(self, start: Tensor, recording: Tensor) -> Tensor:
        """(B, operations) pooled log-probabilities."""

        def ask(new: Tensor) -> Iterable[Tensor]:
            memory = BundleMemory(tuple(self._encoded(start[new], recording[new])))
            return self.predictor.operation_logits(memory).cpu()

        return torch.stack(_remembered(self._operation, start, ask))

    def _encoded(self, start: Tensor, recording: Tensor) -> Iterator[Memory]:
        """The windows as each member encodes them."""
        for member, loaded in zip(self.predictor.members, self.sources, strict=True):
            x, _ = loaded.source.batch(start, recording)
            yield Memory(member.network.encode(x.to(member.device)))

    @torch.no_grad()
    def _asked(self, start: Tensor, recording: Tensor, inputs: Tensor) -> dict[str, Tensor]:
        logits = []
        for member, memory in zip(self.predictor.members, self._encoded(start, recording), strict=True):
            heads = member.network.decoder(memory.encoded, inputs.to(member.device))
            logits.append({head: values.flatten(0, 1) for head, values in heads.items() if head in HEADS})
        pooled = self.predictor.pooled(logits, inputs.flatten())
        return {head: values.view(*inputs.shape, -1).to(inputs.device) for head, values in pooled.items()}


def _remembered(known: dict[int, T], start: Tensor, ask: Callable[[Tensor], Iterable[T]]) -> list[T]:
    """What is `known` of the windows that begin at `start`; asks for those that are new, by their places."""
    rows = start.tolist()
    new = [i for i, row in enumerate(rows) if row not in known]
    if new:
        known.update(zip((rows[i] for i in new), ask(torch.tensor(new)), strict=True))
    return [known[row] for row in rows]


def _as_wide(answer: Tensor, width: int) -> Tensor:
    """(L, classes) with L = `width`: positions beyond the end of a line are cut or filled, and never read."""
    length = len(answer)
    return answer[:width] if length >= width else F.pad(answer, (0, 0, 0, width - length))


@dataclass(frozen=True)
class DistillOptions:
    """Options of `distill`.

    Attributes:
        config: config values of the student; others are those of `student_config`.
        temperature: softens both distributions.
    """

    config: Mapping[str, Any]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.temperature <= 100:
            raise InputError(f"temperature: expected 0.1 to 100, got {self.temperature}")


def student_config(bundle: Bundle, folder: Path, changes: Mapping[str, Any]) -> Config:
    """The config of the best member, but trained longer and with averaged weights, with `changes`.

    Raises:
        InputError: a bad key or value, or a change of windows or vocabulary.
    """
    best = read_json(folder / bundle.members[0].path / CONFIG)
    for key in ("track", "window", "stride", "split_seed", "vocab_bucket_digits"):
        if key in changes and changes[key] != best[key]:
            raise InputError(f"config key '{key}': a student keeps its bundle's ({best[key]!r})")
    return Config.from_dict({**best, **STUDENT, **changes})


def distill(
    bundle: Bundle,
    folder: Path,
    *,
    results: Path,
    data: Path,
    options: DistillOptions,
    report: Report,
    created: str,
) -> Built:
    """Trains a student of the bundle at `folder` and writes it as the bundle `<name>-distilled`.

    The run is kept as `results/runs/distilled-<name>/0`, replacing an earlier one.

    Raises:
        InputError: the bundle was trained on another data set.
        TrainingFailed: see `model.train`.
    """
    config = student_config(bundle, folder, options.config)
    task = prepare(data, config)
    check_data(bundle, task.data)
    teacher = teacher_of(folder, task.data, options, vocabulary_tokens=task.vocabulary.tokens)
    study = f"{DISTILLED}{bundle.name}"
    run = results / "runs" / study / "0"
    train(config.to_dict(), report, data=data, run_folder=run, teacher=teacher)
    student = Options(k=1, studies=(study,), name=f"{bundle.name}-distilled")
    built = build(results, student, created=created)
    figures = survey(bundle, folder, built.bundle, options)
    figures |= latencies(folder, built.folder, task.data)
    figures["trained_on"] = list(PARTS)
    updated = built.bundle.with_report(distilled=figures)
    updated.save(built.folder)
    return Built(updated, built.folder, built.skipped)


def teacher_of(
    folder: Path, data: Recordings, options: DistillOptions, *, vocabulary_tokens: tuple[str, ...]
) -> BundleTeacher:
    """The bundle at `folder` as a teacher for windows of `data`.

    Raises:
        InputError: the vocabulary of the student differs.
    """
    predictor = BundlePredictor.load(folder)
    if predictor.vocabulary.tokens != vocabulary_tokens:
        raise InputError(f"{folder}: its members have another vocabulary than a student on {data.name} has")
    loaded = predictor.windows(data)
    return BundleTeacher(predictor, loaded.members, temperature=options.temperature)


def survey(teacher: Bundle, folder: Path, student: Bundle, options: DistillOptions) -> dict[str, Any]:
    """Compares the student with its bundle and the best member on `test`, which none of them has seen.

    Returns:
        `rows`: name, parameters, and `exact`, `overall`, `nll` in `test`. From the exact lines: `gain` of the
        bundle over its best member, and `gain_kept`, the share that the student keeps.
    """
    best = teacher.members[0]
    metrics = read_json(folder / best.path / RESULT).get("test_metrics") or {}
    alone = {"exact": metrics.get("test/exact_acc"), "overall": metrics.get("test/overall_acc")}
    pooled, learnt = ((bundle.report.get("pooled") or {}).get("test") or {} for bundle in (teacher, student))
    rows: list[dict[str, Any]] = [
        {"name": f"best member ({best.name})", "parameters": best.parameters, "test": alone},
        {"name": f"bundle ({teacher.name})", "parameters": _parameters(teacher), "test": dict(pooled)},
        {"name": f"student ({student.name})", "parameters": _parameters(student), "test": dict(learnt)},
    ]
    single, many, one = (row["test"].get("exact") for row in rows)
    gain = None if single is None or many is None else many - single
    return {
        "rows": rows,
        "temperature": options.temperature,
        "gain": gain,
        "gain_kept": (one - single) / gain if gain and one is not None else None,
    }


def latencies(teacher: Path, student: Path, data: Recordings) -> dict[str, Any]:
    """`ms` per window of best member, bundle and student, and `latency`: student divided by bundle.

    This times encoding and one decoding step, with pooling.
    """
    bundle = BundlePredictor.load(teacher)
    networks = (bundle.members[0], bundle, BundlePredictor.load(student).members[0])
    loaded = [network.windows(data, [0]) for network in networks]
    index = np.arange(min(WINDOWS, len(loaded[0])))
    tokens = torch.full((len(index),), BOS)

    def step(network: Any, windows: Any) -> Callable[[], object]:
        return lambda: network.advance(network.begin(network.encode(windows, index)), tokens)

    ms = [each / len(index) for each in fastest(list(map(step, networks, loaded)))]
    return {"ms": ms, "latency": ms[2] / ms[1]}


def _parameters(bundle: Bundle) -> int:
    return sum(member.parameters for member in bundle.members)


def distilled_table(figures: Mapping[str, Any]) -> Table:
    """The rows of `survey` as a table."""
    table = plain_table("student, bundle and best member")
    for column in ("", "test: lines", "test: tokens", "size", "ms"):
        table.add_column(column, justify="right" if column else "left")
    for row, ms in zip(figures["rows"], figures["ms"], strict=True):
        cells = [row["test"].get(name) for name in CELLS]
        table.add_row(
            row["name"],
            *("–" if cell is None else percent(cell) for cell in cells),
            f"{row['parameters'] / 1e6:.2f} M",
            f"{ms:.2f}",
        )
    return table


def verdict(figures: Mapping[str, Any]) -> str:
    """In a sentence: how much of the gain is kept, at which share of the latency."""
    at = f"at {percent(figures['latency'])} of the bundle's latency"
    gain, kept = figures["gain"], figures["gain_kept"]
    if gain is None:
        return f"test scores are missing; the student decodes {at}"
    if gain <= 0 or kept is None:
        return f"the bundle gains nothing over its best member on test, so there is nothing to keep; {at}"
    points = f"{100 * gain:.1f} points of exact lines on test"
    if kept <= 0:
        return f"the student keeps none of the bundle's gain of {points}, {at}: train it longer"
    return f"the student keeps {percent(kept)} of the bundle's gain of {points}, {at}"
