"""Run folders as the trainer writes them, with made-up predictions.

Members are noisy views of the truth: a position is easy or hard for all of them (shared noise) and each errs
in its own way besides, so that averaging helps as it does with real networks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.tokens import EOS, HEADS, UNK, Vocabulary

PART_SIZES = {"select": 1.0, "calibrate": 1.0, "test": 1.0}  # windows a part, in units of `windows`


@dataclass(frozen=True)
class Size:
    """How large the made-up study is."""

    windows: int = 60
    recordings: int = 6
    values: int = 12  # distinct numbers a parameter
    weight_bytes: int = 64


def make_vocabulary(size: Size, *, digits: int | None = 4) -> Vocabulary:
    """A vocabulary of G0 G1 G2, X Y F and `size.values` numbers each."""
    numbers = [f"{1 + i * 0.013:.3f}" for i in range(size.values)]
    lines = {f"G{i % 3} X{n} Y{n} F{100 + i % 9}": 1 + i % 5 for i, n in enumerate(numbers)}
    return Vocabulary.build(lines, digits=digits)


def make_targets(vocabulary: Vocabulary, size: Size, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """The arrays of a prediction file that all runs share; one line in twenty has an unknown value."""
    x = [t for t in vocabulary.values if t.startswith("NUM_X")]
    y = [t for t in vocabulary.values if t.startswith("NUM_Y")]
    gold, window, step = [], [], []
    for w in range(size.windows):
        words = [] if generator.random() < 0.3 else [f"G{generator.integers(3)}"]
        words += ["X", str(generator.choice(x)), "Y", str(generator.choice(y))]
        ids = [vocabulary.ids[word] for word in words] + [EOS]
        if generator.random() < 0.05:
            ids[-2] = UNK
        gold += ids
        window += [w] * len(ids)
        step += range(len(ids))
    gold_ids = np.array(gold, dtype=np.int32)
    kinds = vocabulary.factor_table[gold_ids]
    applies = np.stack([gold_ids != UNK, *(kinds[:, h] >= 0 for h in (1, 2, 3))], axis=1)
    recording = np.sort(np.arange(size.windows) % size.recordings)
    return {
        "gold": gold_ids,
        "window": np.array(window, dtype=np.int32),
        "step": np.array(step, dtype=np.int16),
        "applies": applies,
        "recording": recording.astype(np.int32),
        "start": (np.arange(size.windows) * 16).astype(np.int32),
        "line": np.zeros(size.windows, dtype=np.int32),
    }


def make_logits(
    targets: dict[str, np.ndarray],
    vocabulary: Vocabulary,
    *,
    skill: float,
    shared: np.random.Generator,
    own: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Head → float16 logits: the truth lifted by `skill`, under shared noise and noise of the run's own."""
    factors = vocabulary.factor_table[targets["gold"]]
    logits = {}
    for h, head in enumerate(HEADS):
        answer = factors[targets["applies"][:, h], h]
        shape = (len(answer), vocabulary.head_sizes[head])
        noise = shared.standard_normal(shape, dtype=np.float32) + own.standard_normal(shape, dtype=np.float32)
        noise[np.arange(len(answer)), np.maximum(answer, 0)] += skill
        logits[head] = (1.5 * noise).astype(np.float16)
    operations = own.standard_normal((len(targets["recording"]), 3), dtype=np.float32)
    return {**logits, "operation": operations.astype(np.float16)}


def make_run(
    folder: Path,
    *,
    size: Size | None = None,
    skill: float = 4.0,
    seed: int = 0,
    objective: float | None = None,
    violation: float = 0.0,
    data_hash: str = "d" * 64,
    digits: int | None = 4,
    data_seed: int = 0,
    window: int = 64,
    split_seed: int = 42,
) -> Path:
    """Writes one complete run folder, `<study>/<number>`.

    Args:
        skill: how far the truth stands out of the noise. seed: the run's own noise. data_seed: targets.
        objective: `val/exact_acc`; by default it grows with `skill`.
    """
    size = size or Size()
    vocabulary = make_vocabulary(size, digits=digits)
    (folder / "predictions").mkdir(parents=True)
    for part_number, part in enumerate(PART_SIZES):
        targets = make_targets(vocabulary, size, np.random.default_rng([data_seed, part_number]))
        logits = make_logits(
            targets,
            vocabulary,
            skill=skill,
            shared=np.random.default_rng([data_seed, part_number, 1]),
            own=np.random.default_rng([data_seed, part_number, 2, seed]),
        )
        np.savez(folder / "predictions" / f"{part}.npz", **targets, **logits)
    value = skill / 10 if objective is None else objective
    metrics = {"val/exact_acc": value, "val/overall_acc": (1 + value) / 2, "val/loss": 1 - value}
    result = {
        "state": "complete",
        "metrics": metrics,
        "test_metrics": {name.replace("val", "test"): number - 0.02 for name, number in metrics.items()},
        "best_epoch": 3,
        "parameters": 1000 + seed,
        "seconds": 1.0,
        "ms_per_window": 0.3,
        "data_hash": data_hash,
        "split_hash": "s" * 64,
        "code_version": "0",
        "seed": seed,
        "track": "recordings",
    }
    trial = {
        "study": folder.parent.name,
        "number": int(folder.name),
        "state": "COMPLETE",
        "objective": {"name": "val/exact_acc", "goal": "maximize", "value": value},
        "constraints": {"command_acc >= 1.0": violation},
        "params": {"learning_rate": 1e-3 * (1 + seed)},
    }
    config = {
        "window": window,
        "stride": 16,
        "split_seed": split_seed,
        "seed": seed,
        "learning_rate": 1e-3 * (1 + seed),
        "d_model": 128,
    }
    for name, content in (
        ("result.json", result),
        ("trial.json", trial),
        ("config.json", config),
        ("vocabulary.json", vocabulary.to_json()),
        ("scaler.json", {"operations": ["face", "pocket", "adaptive"]}),
    ):
        (folder / name).write_text(json.dumps(content))
    (folder / "metrics.jsonl").write_text('{"epoch": 0}\n')
    (folder / "model.safetensors").write_bytes(bytes(size.weight_bytes))
    return folder
