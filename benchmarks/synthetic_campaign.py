"""Writes the guide's campaign as if it had been run: studies in a storage, run folders, a bundle.

The answers come from a formula with noise, so that a report can be made and timed, and its verdicts checked
against what was put in, without training anything.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState, create_trial

from model.config import Config
from tuner.definition.loading import load_study_file, shipped_campaign
from tuner.definition.study_file import StudyFile
from tuner.storage import study_store
from tuner.storage.access import default_url, open_records
from tuner.storage.records import Records

START = datetime(2026, 1, 5, 9, 0)
NOISE = 0.006  # of a score, between seeds
HEADS = ("type", "command", "param_type", "param_value")


def make_campaign(
    results: Path, *, trials: Mapping[str, int] | None = None, seed: int = 0, files: Sequence[StudyFile] = ()
) -> int:
    """Writes studies, run folders and a bundle to `results`.

    Args:
        trials: finished trials by study (default: each file's own number).
        files: studies in place of the guide's.

    Returns:
        how many trials there are.
    """
    records = open_records(default_url(results), create=True)
    rng = np.random.default_rng(seed)
    total, clock = 0, START
    for file in files or [load_study_file(name) for name in shipped_campaign().studies]:
        count = (trials or {}).get(file.name, file.run_cap or len(file.space.grid()))
        clock = make_study(records, file, results, count=count, rng=rng, start=clock)
        total += count
    make_bundle(results / "ensembles" / "campaign")
    return total


def make_study(
    records: Records,
    file: StudyFile,
    results: Path,
    *,
    count: int,
    rng: np.random.Generator,
    start: datetime = START,
    prune: float = 0.6,
) -> datetime:
    """Writes one study of `count` finished trials by two agents; returns when the last one ended.

    Args:
        prune: share of trials stopped at the first or second rung, where the file prunes at all.
    """
    study = study_store.open_study(records, file, study_store.Origin(base={}), trials=count)
    clocks = [start, start + timedelta(seconds=2)]
    made = []
    for number, (params, distributions, searched) in enumerate(
        _configurations(file, count, seed=int(rng.integers(1e6)))
    ):
        agent = int(np.argmin(np.array([c.timestamp() for c in clocks])))
        trial, ended = _trial(
            file, results / "runs" / file.name / str(number), number, params, distributions, searched,
            rng=rng, started=clocks[agent], agent=agent, prune=prune,
        )  # fmt: skip
        clocks[agent] = ended + timedelta(seconds=0.2)
        made.append(trial)
    study.add_trials(made)
    return max(clocks)


def _configurations(
    file: StudyFile, count: int, *, seed: int
) -> list[tuple[dict[str, Any], Any, dict[str, Any]]]:
    space, found = file.space, []
    if file.method == "grid":
        for config in space.grid()[:count]:
            params = space.params_for(config)
            found.append((params, {k: space.distributions()[k] for k in params}, config))
        return found
    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    while len(found) < count:
        trial = drawn.ask()
        config = space.suggest(trial)
        if not space.violated(config):
            found.append((dict(trial.params), dict(trial.distributions), config))
    return found


def _trial(
    file: StudyFile, folder: Path, number: int, params: Mapping[str, Any], distributions: Any,
    searched: Mapping[str, Any], *, rng: np.random.Generator, started: datetime, agent: int, prune: float,
) -> tuple[optuna.trial.FrozenTrial, datetime]:  # fmt: skip
    epochs = file.max_epochs or 1
    accuracy = truth(searched) + rng.normal(0, NOISE)
    prunes = (
        file.pruner.kind != "none" if hasattr(file.pruner, "kind") else epochs > 1 and file.method != "grid"
    )
    stop = epochs
    if prunes and number and rng.random() < prune * (1.4 - accuracy):
        stop = int(rng.choice([1, 3])) if epochs > 3 else 1
    curve = [_metrics(accuracy * (1 - 0.6 * math.exp(-(e + 1) / 3)), rng, file) for e in range(stop)]
    complete = stop == epochs
    size = int(4e3 * float(searched.get("d_model", 128)) * (1 + float(searched.get("encoder_layers", 2)) / 4))
    seconds = stop * seconds_of_epoch(searched)
    ended = started + timedelta(seconds=seconds)
    name = file.metric.name
    violations = {f"constraints:{c}": min(c.violation(curve[-1]), 1e9) for c in file.constraints}
    attrs: dict[str, Any] = {
        "metrics": curve[-1],
        "run_folder": f"runs/{file.name}/{number}",
        "parameters": size, "ms_per_window": round(size / 4e6 + 0.05 * rng.random(), 4), "seconds": seconds,
        "seed": number,
        "lease": {"host": "mill", "boot": "b", "pid": 100 + agent, "started": "1", "beat": 1},
    }  # fmt: skip
    if number == 0:
        attrs["why"] = "default configuration"
    if not complete:
        attrs["pruned_because"] = f"epoch {stop}: {curve[-1][name]:.4f}, the best third reached more"
    _write_folder(folder, file, searched, curve, attrs, complete=complete)
    trial = create_trial(
        state=TrialState.COMPLETE if complete else TrialState.PRUNED,
        values=[curve[-1][m.name] for m in file.objectives] if complete else None,
        params=dict(params),
        distributions=dict(distributions),
        user_attrs=attrs,
        system_attrs=violations,
        intermediate_values={e + 1: row[name] for e, row in enumerate(curve)},
    )
    trial.datetime_start, trial.datetime_complete = started, ended
    return trial, ended


def seconds_of_epoch(config: Mapping[str, Any]) -> float:
    """What an epoch takes."""
    return 1.5 + 4e-3 * float(config.get("d_model", 128)) * (1 + float(config.get("encoder_layers", 2)) / 4)


def truth(config: Mapping[str, Any]) -> float:
    """The accuracy that a configuration has, without noise: what the verdicts should find."""
    value = 0.62
    value += {None: 0.07, 1: -0.15, 2: 0.0, 3: 0.09}.get(config.get("vocab_bucket_digits", 2), 0.0)
    if "d_model" in config:
        value += 0.06 * (1 - math.exp(-(float(config["d_model"]) - 64) / 64))
    if "learning_rate" in config:
        value -= 0.02 * (math.log10(float(config["learning_rate"])) + 3) ** 2
    value -= 0.04 * (config.get("optimizer") == "sgd") + 0.015 * (config.get("scheduler") == "step")
    value += 0.02 * (config.get("warmup_type") == "linear") - 0.001 * float(config.get("warmup_epochs") or 0)
    value += 0.01 * float(config.get("oversampling_factor", 1)) - 2 * abs(
        float(config.get("noise_std", 0.02)) - 0.02
    )
    value += 0.03 * float(config.get("reconstruction_weight", 0)) - 0.02 * (
        config.get("loss_type") == "focal"
    )
    return value + 0.01 * (config.get("method") == "beam")


def _metrics(accuracy: float, rng: np.random.Generator, file: StudyFile) -> dict[str, float]:
    accuracy = float(np.clip(accuracy, 0.01, 0.995))
    found = {
        "val/overall_acc": accuracy,
        "val/type_acc": min(1.0, accuracy + 0.2),
        "val/command_acc": min(1.0, 0.97 + 0.04 * accuracy + rng.normal(0, 0.004)),
        "val/param_type_acc": min(1.0, accuracy + 0.15),
        "val/param_value_acc": accuracy - 0.1,
        "val/value_within_tol": accuracy - 0.08,
        "val/value_and_command": accuracy - 0.09,
        "val/exact_acc": accuracy - 0.25,
        "val/nll": 1 - accuracy,
        "val/loss": 2 * (1 - accuracy),
    }
    return {**found, file.metric.name: found.get(file.metric.name, accuracy)}


def _write_folder(
    folder: Path, file: StudyFile, searched: Mapping[str, Any], curve: Sequence[Mapping[str, float]],
    attrs: Mapping[str, Any], *, complete: bool,
) -> None:  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    config = {**Config().to_dict(), "epochs": file.max_epochs, **searched}
    (folder / "config.json").write_text(json.dumps(config, default=str))
    lines = [json.dumps({"epoch": e, **row}) for e, row in enumerate(curve)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    test = {k.replace("val/", "test/"): v - 0.01 for k, v in curve[-1].items()} if complete else {}
    result = {
        "state": "complete" if complete else "pruned", "metrics": curve[-1], "test_metrics": test,
        **{name: attrs[name] for name in ("parameters", "seconds", "ms_per_window", "seed")},
        "data_hash": "0123456789abcdef", "split_hash": "89abcdef", "code_version": "0.1.0",
        "track": "simulator",
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))


def make_bundle(folder: Path, *, members: int = 5) -> None:
    """Writes a `bundle.json` with every figure that a report shows."""
    folder.mkdir(parents=True, exist_ok=True)

    def interval(mean: float) -> dict[str, float]:
        return {"mean": mean, "low": mean - 0.02, "high": mean + 0.02}

    weights = [w / (members * (members + 1) / 2) for w in range(members, 0, -1)]
    quality = {
        h: {
            "before": {
                "ece": 0.15,
                "ece_low": 0.12,
                "ece_high": 0.18,
                "nll": 0.9,
                "brier": 0.3,
                "samples": 400,
            },
            "after": {
                "ece": 0.03,
                "ece_low": 0.01,
                "ece_high": 0.05,
                "nll": 0.7,
                "brier": 0.25,
                "samples": 400,
            },
        }
        for h in HEADS
    }
    scores = {"exact": 0.71, "overall": 0.88, "nll": 1.1, **dict.fromkeys(HEADS, 0.9)}
    content = {
        "format": 1, "name": folder.name, "track": "simulator", "data_hash": "0123456789abcdef",
        "split_hash": "89abcdef", "vocabulary_digits": 3,
        "members": [
            {"path": f"members/{i}", "study": "loss_weighting", "number": i, "source": "", "feasible": True,
             "objective": {"name": "val/overall_acc", "goal": "maximize", "value": 0.7}, "parameters": 5000,
             "ms_per_window": 0.2, "seed": i, "metrics": {}}
            for i in range(members)
        ],
        "weights": dict.fromkeys((*HEADS, "operation"), weights),
        "pooling": "mixture", "temperatures": dict.fromkeys(HEADS, 0.8),
        "decoding": {"method": "beam", "beam": 5},
        "chosen_by": {
            "weights": {
                "method": "em", "part": "calibrate", "folds": 5,
                "reason": "is significantly better than uniform",
                "candidates": [{"method": m, "exact": interval(v)} for m, v in
                               (("single", 0.66), ("uniform", 0.69), ("em", 0.71))],
            },
            "temperatures": {"quality": {"calibrate": quality, "test": quality}},
            "decoding": {"how": "study inference_parameters, 50 trials", "part": "calibrate",
                         "margin": interval(0.004), "on_test": interval(0.001),
                         "inert": {"top_k": "3 values tried, no line differs"}},
        },
        "report": {
            "contributions": [{"exact": interval(0.01 * w), "nll": interval(0.02)} for w in weights],
            "pooled": dict.fromkeys(("select", "calibrate", "test"), scores),
            "optimism": {"pooled_exact": 0.02, "members": [0.02] * members},
        },
        "created": "2026-01-06T09:00:00+00:00",
    }  # fmt: skip
    (folder / "bundle.json").write_text(json.dumps(content, indent=1))
    _write_measurements(folder, [f"loss_weighting/{i}" for i in range(members)])


def _write_measurements(folder: Path, members: Sequence[str]) -> None:
    """What calibrate, evaluate and compare keep beside a bundle."""
    sure = [0.3 + 0.045 * i for i in range(15)]
    curve = {
        "before": {"confidence": sure, "accuracy": [max(0.0, x - 0.12) for x in sure], "size": [40] * 15},
        "after": {"confidence": sure, "accuracy": [x - 0.02 for x in sure], "size": [40] * 15},
    }
    reliability = {part: dict.fromkeys(HEADS, curve) for part in ("calibrate", "test")}
    (folder / "reliability.json").write_text(json.dumps(reliability))
    values = [f"X1.{i:03d}" for i in range(30)]
    evaluation = {
        "data": "made up", "part": "test", "joint": True,
        "metrics": {"exact_acc": 0.78, "row_acc": 0.9, "program_error_rate": 0.2, "overall_acc": 0.9,
                    "command_acc": 0.99, "value_within_tol": 0.8,
                    "unknown_line_rate": 0.03, "windows": 700, "recordings": 27},
        "intervals": {"exact_acc": {"mean": 0.78, "low": 0.7, "high": 0.86}},
        "heads": {
            "command": [["G1", "G1", 400], ["G0", "G0", 90], ["G0", "G1", 6], ["M30", "M30", 5]],
            "param_type": [["X", "X", 500], ["Y", "Y", 450], ["Y", "Z", 20], ["Z", "Z", 60]],
            "param_value": [*([v, v, 30] for v in values), *([v, values[i - 3], 1 + i % 5]
                                                             for i, v in enumerate(values))],
        },
        "errors": [{"true": "G1 X1.575 Y2", "decoded": "G1 X1.574 Y2", "windows": 9,
                    "example": "face_003, row 640"},
                   {"true": "X1.5 Y2.25", "decoded": "G0 X1.5 Y2.25 F20", "windows": 4,
                    "example": "pocket_001, row 16"}],
        "paths": {"face_003": {"points": [[i, i % 2 * 3, 0] for i in range(12)], "sure": [0.9, 0.3] * 6}},
        "kinds_of_error": 31, "ms_per_window": {"networks": 1.9, "joint": 3.2},
    }  # fmt: skip
    (folder / "evaluations").mkdir(exist_ok=True)
    (folder / "evaluations" / "made_up-test-joint.json").write_text(json.dumps(evaluation))
    rows = [
        {"k": k, "weights": weights, "members": k, "exact": exact + gain, "exact_low": exact - 0.04,
         "exact_high": exact + 0.04, "nll": 1.3 - exact, "test": {"exact": exact - 0.01 + gain,
         "overall": exact + 0.2, "nll": 1.4 - exact}, "parameters": 5000 * k, "megabytes": 0.02 * k,
         "ms": 0.2 * k}
        for k, exact in ((1, 0.62), (5, 0.7), (10, 0.72), (20, 0.715))
        for weights, gain in (("uniform", 0.0), ("em", 0.008)) if k > 1 or weights == "uniform"
    ]  # fmt: skip
    singles = [
        {"name": name, "ms": 0.2, "test": {"exact": 0.6 - 0.01 * i, "overall": 0.8, "nll": 0.9}}
        for i, name in enumerate(members)
    ]
    comparison = {"rows": rows, "singles": singles, "skipped": {}}
    (folder.parent / "compare.json").write_text(json.dumps(comparison))
