"""Evaluates a network on one part: teacher-forced logits, greedy lines, metrics, stored predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from model.metrics import Forced, exact_matches, head_accuracies, value_errors
from model.network import MAX_TOKENS, Network, Positions
from model.task import Task
from model.tokens import BOS, COMMAND, EOS, HEADS, PARAM_TYPE, PARAM_VALUE, UNK, Vocabulary

EVALUATION_BATCH = 256
KEPT = 32 << 20  # bytes of features of a part, up to which they are kept


@dataclass(frozen=True, eq=False)
class Outcome:
    """The outputs of a network on a part of W windows with P target positions.

    logits: {head: (P, classes) float32}; gold, window, step: (P,); operation: (W, operations) float32;
    decoded: the greedy line of each window, as token ids up to EOS.
    """

    logits: dict[str, np.ndarray]
    gold: np.ndarray
    window: np.ndarray
    step: np.ndarray
    operation: np.ndarray
    decoded: list[list[int]]
    metrics: dict[str, float]


@torch.no_grad()
def evaluate(network: Network, task: Task, part: str, *, device: torch.device) -> Outcome:
    """Runs the network on the part, in evaluation mode, and computes all metrics of a run."""
    network.eval()
    windows = task.parts[part]
    table, vocabulary = task.table, task.vocabulary
    logits: dict[str, list[Tensor]] = {head: [] for head in HEADS}
    gold, window, step, operation = [], [], [], []
    decoded: list[list[int]] = []
    rules = GreedyRules(vocabulary, device)
    for first in range(0, len(windows), EVALUATION_BATCH):
        index = np.arange(first, min(first + EVALUATION_BATCH, len(windows)))
        memory = network.encoder(_features(network, task, part, index, device))
        lines = windows.line[index]
        length = table.length[lines]
        real = np.arange(length.max()) < length[:, None]
        inputs = torch.from_numpy(table.inputs[lines, : length.max()]).to(device)
        states = network.decoder.states(memory, inputs, Positions(torch.from_numpy(real).to(device)))
        for head, values in network.decoder.logits(states).items():
            logits[head].append(values.float().cpu())
        gold.append(table.targets[lines, : length.max()][real])
        window.append(np.repeat(index, length))
        step.append(np.nonzero(real)[1])
        operation.append(network.operation_logits(memory).float().cpu())
        decoded += [_until_end(ids) for ids in greedy(network, memory, rules).tolist()]
    all_logits = {head: torch.cat(parts).numpy() for head, parts in logits.items()}
    arrays = np.concatenate(gold), np.concatenate(window), np.concatenate(step)
    outcome = Outcome(all_logits, *arrays, torch.cat(operation).numpy(), decoded, {})
    outcome.metrics.update(measure(outcome, task, part))
    return outcome


def _features(network: Network, task: Task, part: str, index: np.ndarray, device: torch.device) -> Tensor:
    """What the encoder reads of one batch of windows. All networks of a task read the same: of a small part
    it is computed once.
    """
    kept = task.features.setdefault(part, [])
    batch = int(index[0]) // EVALUATION_BATCH
    if batch < len(kept):
        return kept[batch].to(device)
    x, _ = task.source.windows(task.parts[part], index)
    features = network.encoder.features(x.to(device))
    if len(task.parts[part]) * features[0].nbytes <= KEPT and batch == len(kept):
        kept.append(features)
    return features


def measure(outcome: Outcome, task: Task, part: str) -> dict[str, float]:
    """All metrics of `outcome`, by name without `val/`."""
    windows, vocabulary = task.parts[part], task.vocabulary
    lines = [task.data.lines[i] for i in windows.line]
    forced = forced_choices(outcome, vocabulary)
    truth = task.operation[windows.recording]
    known = truth >= 0
    right = outcome.operation[known].argmax(1) == truth[known]
    heads = head_accuracies(forced, vocabulary, unknown_is_token=task.unknown_is_token)
    values = value_errors(forced, vocabulary, lines)
    return {
        **heads,
        **values,
        # comparable between vocabularies; token accuracies are not, as coarse buckets are easier
        "value_and_command": values["value_within_tol"] * heads["command_acc"],
        "exact_acc": float(_exact(outcome, task, windows.line, lines).mean()),
        "operation_acc": float(right.mean()) if known.any() else 1.0,
        "loss": _loss(outcome, vocabulary),
    }


def _exact(outcome: Outcome, task: Task, line: np.ndarray, lines: list[str]) -> np.ndarray:
    """(windows,) bool: the whole line is right, in 4 digits or, UNK included, in a published vocabulary."""
    if task.unknown_is_token:
        targets = [_until_end(ids) for ids in task.table.targets[line].tolist()]
        return np.array([a == b for a, b in zip(outcome.decoded, targets, strict=True)], dtype=bool)
    return exact_matches([task.vocabulary.to_line(ids) for ids in outcome.decoded], lines)


def _until_end(ids: list[int]) -> list[int]:
    return ids[: ids.index(EOS)] if EOS in ids else ids


def forced_choices(outcome: Outcome, vocabulary: Vocabulary) -> Forced:
    """The best class of each head at each position; of values, the best of the parameter."""
    values = outcome.logits["param_value"]
    if len(vocabulary.values):
        param = vocabulary.factor_table[outcome.gold][:, 2]
        allowed = vocabulary.value_param_type[None, :] == param[:, None]
        values = np.where(allowed, values, -np.inf)
    return Forced(
        gold=outcome.gold,
        window=outcome.window,
        step=outcome.step,
        type=outcome.logits["type"].argmax(1),
        command=outcome.logits["command"].argmax(1),
        param_type=outcome.logits["param_type"].argmax(1),
        param_value=values.argmax(1),
    )


def _loss(outcome: Outcome, vocabulary: Vocabulary) -> float:
    """Mean cross-entropy over the heads where they apply, without smoothing: comparable between runs."""
    factors = vocabulary.factor_table[outcome.gold]
    total = 0.0
    for column, head in enumerate(HEADS):
        here = (factors[:, column] >= 0) & (outcome.gold != UNK)
        if here.any():
            logits = torch.from_numpy(outcome.logits[head][here])
            total += float(F.cross_entropy(logits, torch.from_numpy(factors[here, column])))
    return total / len(HEADS)


class GreedyRules:
    """Tables for greedy decoding: the token of each class of each head, and the values of each letter."""

    def __init__(self, vocabulary: Vocabulary, device: torch.device) -> None:
        table = vocabulary.factor_table
        self.command = _tokens_of(table, COMMAND, 1, len(vocabulary.commands), device)
        self.param = _tokens_of(table, PARAM_TYPE, 2, len(vocabulary.param_types), device)
        self.value = _tokens_of(table, PARAM_VALUE, 3, len(vocabulary.values), device)
        self.allowed = torch.from_numpy(vocabulary.values_of_param).to(device)
        self.letter = torch.from_numpy(table[:, 2]).to(device)
        self.names_letter = torch.from_numpy(table[:, 0] == PARAM_TYPE).to(device)


def _tokens_of(table: np.ndarray, kind: int, column: int, classes: int, device: torch.device) -> Tensor:
    """(classes,) the token id of each class of a head; UNK for a class without a token."""
    out = np.full(max(1, classes), UNK, dtype=np.int64)
    rows = np.flatnonzero(table[:, 0] == kind)
    out[table[rows, column]] = rows
    return torch.from_numpy(out).to(device)


def greedy(network: Network, memory: Tensor, rules: GreedyRules) -> Tensor:
    """Greedy decoding of all windows at once: (B, L) ids, EOS-terminated, EOS-padded.

    The type head decides which other head gives the token. There is no grammar here; `inference` adds it.
    Lines that have ended are not computed further: the longest has three times as many tokens as the mean.
    """
    caches = network.decoder.begin(memory)
    tokens = torch.full((len(memory),), BOS, dtype=torch.int64, device=memory.device)
    letter = torch.zeros_like(tokens)
    live = torch.arange(len(memory), device=memory.device)  # the windows of the rows
    out = []
    for _ in range(MAX_TOKENS - 1):
        logits, caches = network.decoder.step(caches, tokens)
        kind = logits["type"].argmax(1)
        value = logits["param_value"].masked_fill(~rules.allowed[letter], -torch.inf).argmax(1)
        choices = torch.stack(
            [
                torch.where(rules.names_letter[tokens], UNK, EOS),  # no line ends with a bare letter
                rules.command[logits["command"].argmax(1)],
                rules.param[logits["param_type"].argmax(1)],
                rules.value[value],
            ]
        )
        tokens = choices.gather(0, kind[None])[0]
        out.append(tokens.new_full((len(memory),), EOS).index_copy(0, live, tokens))
        rows = (tokens != EOS).nonzero()[:, 0]
        if not len(rows):
            break
        if len(rows) < len(tokens):
            caches = [cache.reorder(rows) for cache in caches]
            tokens, letter, live = tokens[rows], letter[rows], live[rows]
        named = rules.letter[tokens]
        letter = torch.where(named >= 0, named, letter)
    return torch.stack(out, dim=1)


def save_predictions(path: Path, outcome: Outcome, task: Task, part: str) -> None:
    """Writes the arrays that ensembles are built from: float16 logits where a head applies, and targets."""
    windows = task.parts[part]
    factors = task.vocabulary.factor_table[outcome.gold]
    applies = (factors >= 0) & (outcome.gold != UNK)[:, None]
    applies[:, 0] |= (outcome.gold == UNK) & task.unknown_is_token  # "special" is right here
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        gold=outcome.gold.astype(np.int32),
        window=outcome.window.astype(np.int32),
        step=outcome.step.astype(np.int16),
        recording=windows.recording.astype(np.int32),
        start=windows.start.astype(np.int32),
        line=windows.line.astype(np.int32),
        applies=applies,
        operation=outcome.operation.astype(np.float16),
        **{
            head: outcome.logits[head][applies[:, column]].astype(np.float16)
            for column, head in enumerate(HEADS)
        },
    )
