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
BUNDLE = Path(__file__).parent / "data" / "bundle.json"  # the files of a bundle, by name


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
        distributions = space.distributions()
        given = [(space.params_for(config), config) for config in space.grid()[:count]]
        return [(params, {name: distributions[name] for name in params}, config) for params, config in given]
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
    stop = epochs
    if file.pruner.kind != "none" and number and rng.random() < prune * (1.4 - accuracy):
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


def make_bundle(folder: Path) -> None:
    """Writes a `bundle.json` with every figure that a report shows, and what calibrate, evaluate and compare
    keep beside a bundle.
    """
    files = json.loads(BUNDLE.read_text())
    for name, content in files.items():
        path = (folder.parent if name == "compare.json" else folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**content, "name": folder.name} if name == "bundle.json" else content))
