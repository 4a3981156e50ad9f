"""What the tuner stored of a script's trials, beside what the script logged or would do elsewhere."""

from __future__ import annotations

import json
import math
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LIMIT = 1800  # seconds for a script, on a busy machine

WAYS = {
    "wandb": "W&B's own offline files",
    "tensorboard": "TensorBoard's event files",
    "formula": "the author's formula",
    "printed": "what the script printed",
    "optuna": "Optuna alone with the same parameters",
}


def compared(
    entry: dict[str, Any], folder: Path, root: Path, trials: list, variables: dict[str, str]
) -> dict[str, Any]:
    """How many values were compared with what the script logged, and the largest difference."""
    way = entry["compare"]
    way = {way: True} if isinstance(way, str) else way
    pairs: list[tuple[float, float]] = []
    for place, trial in trials:
        if trial["state"] not in ("complete", "pruned"):
            continue
        if "wandb" in way:
            pairs += wandb_pairs(place, root / "results")
        elif "tensorboard" in way:
            pairs += tensorboard_pairs(place, folder)
        elif "formula" in way and trial["state"] == "complete":
            formulas = [way["formula"]] if isinstance(way["formula"], str) else way["formula"]
            config = json.loads((place / "config.json").read_text(encoding="utf-8"))
            wanted = [eval(formula, {}, dict(config)) for formula in formulas]
            pairs += zip(trial["record"]["values"], wanted, strict=True)
    if "printed" in way:
        pairs += printed_pairs(way, [place for place, _ in trials], root / "results")
    if "optuna" in way:
        ours = [trial for _, trial in trials if trial["state"] == "complete"]
        pairs += optuna_pairs(way["optuna"], folder, ours, variables)
    differences = [difference(*pair) for pair in pairs]
    return {
        "compared": next(name for name in way if name in WAYS),
        "values": len(pairs),
        "difference": max(differences, default=math.inf),
        "tolerance": float(way.get("tolerance", 1e-6)),
    }


def difference(ours: float, theirs: float) -> float:
    """The difference, relative to values above 1."""
    if math.isnan(ours) and math.isnan(theirs):
        return 0.0
    return abs(ours - theirs) / max(1.0, abs(theirs))


def rows_of(place: Path) -> list[dict[str, Any]]:
    """What a trial reported."""
    lines = (place / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def wandb_pairs(place: Path, results: Path) -> Iterator[tuple[float, float]]:
    """Every number that a trial's W&B files hold, beside what the tuner stored for the same step."""
    names = json.loads((place / "result.json").read_text(encoding="utf-8")).get("wandb_runs", [])
    ours: dict[tuple[str, int], float] = {}
    for row in rows_of(place):
        for name, value in row.items():
            if isinstance(value, int | float):
                ours[name, int(row.get("_step", row.get("epoch", 0)))] = float(value)
    for name in names:
        folder = results / "wandb" / place.parent.name / name
        for file in folder.glob("run-*.wandb"):
            for steps, key, value in wandb_history(file):
                found = [ours[key, step] for step in steps if (key, step) in ours]
                if found or key != "global_step":  # of TensorBoard: W&B's name for its step
                    yield (found or [math.inf])[0], value


def tensorboard_pairs(place: Path, folder: Path) -> Iterator[tuple[float, float]]:
    """Every scalar in the event files of the only trial, beside what the tuner stored, in order."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = rows_of(place)
    for events in {file.parent for file in folder.rglob("events.out.tfevents.*")}:
        theirs = EventAccumulator(str(events), size_guidance={"scalars": 0}).Reload()
        for tag in theirs.Tags()["scalars"]:
            ours = [float(row[tag]) for row in rows if tag in row]
            yield from zip(ours, (float(event.value) for event in theirs.Scalars(tag)), strict=True)


def printed_pairs(way: dict[str, Any], places: list[Path], results: Path) -> Iterator[tuple[float, float]]:
    """A metric of all trials, beside what the script printed; a function prints into its agent's log."""
    files = [place / "output.log" for place in places if (place / "output.log").exists()]
    text = "".join(
        file.read_text(encoding="utf-8") for file in files or sorted((results / "logs").glob("*.log"))
    )
    logged = [row[way["metric"]] for place in places for row in rows_of(place) if way["metric"] in row]
    yield from zip(logged, map(float, re.findall(way["printed"], text)), strict=True)


def wandb_history(file: Path) -> Iterator[tuple[tuple[int, ...], str, float]]:
    """The numbers of a `.wandb` file: step, name, value; without W&B's own and those of media.

    What was synchronised from TensorBoard has two steps: W&B's, and `global_step`, which the tuner keeps.
    """
    from wandb.proto import wandb_internal_pb2

    for data in records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") != "history":
            continue
        row = {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}
        steps = [int(float(row[name])) for name in ("global_step",) if name in row] + [
            record.history.step.num
        ]
        media = tuple(key.removesuffix("_type") for key in row if key.endswith("._type"))
        for key, text in row.items():
            value = json.loads(text)
            if not key.startswith(("_", *media)) and isinstance(value, int | float):
                yield tuple(steps), key, float(value)


def records(data: bytes) -> Iterator[bytes]:
    """The records of a `.wandb` file: LevelDB's log format after a head of 7 bytes.

    Blocks of 32 KiB hold parts of records, each with a head of a checksum (4 bytes), a length (2) and a
    kind: whole, first, middle or last (https://github.com/google/leveldb/blob/main/doc/log_format.md).
    """
    place, parts, block, head = 7, b"", 32768, 7
    while place + head <= len(data):
        if (left := block - place % block) < head:
            place += left
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + head])
        if kind == 0:
            return
        parts += data[place + head : place + head + length]
        place += head + length
        if kind in (1, 4):
            yield parts
            parts = b""


OPTUNA = """
import importlib.util, json, sys, optuna
spec = importlib.util.spec_from_file_location("theirs", sys.argv[1])
module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)
study = optuna.create_study(direction=sys.argv[3])
for params in json.loads(sys.argv[2]):
    study.enqueue_trial(params)
    study.optimize(module.objective, n_trials=1)
sys.stderr.write("\\n@@" + json.dumps([{"params": trial.params, "value": float(trial.value),
    "reports": len(trial.intermediate_values), "user": sorted(trial.user_attrs),
    "space": {k: optuna.distributions.distribution_to_json(d) for k, d in trial.distributions.items()}}
    for trial in study.trials]))
"""


def optuna_pairs(
    script: str, folder: Path, ours: list[dict[str, Any]], variables: dict[str, str]
) -> Iterator[tuple[float, float]]:
    """The same parameters in Optuna alone: values, what they were drawn from, reports, attributes."""
    asked = json.dumps([trial["params"] for trial in ours])
    words = [sys.executable, "-c", OPTUNA, script, asked, ours[0]["objective"]["goal"]]
    done = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, timeout=LIMIT)
    if "\n@@" not in done.stderr:
        raise RuntimeError(f"{script} fails in Optuna alone: {done.stderr[-500:]}")
    records = [trial["record"] for trial in ours]
    for record, theirs in zip(records, json.loads(done.stderr.split("\n@@")[1]), strict=True):
        yield float(record["values"][0]), theirs["value"]
        for name, value in theirs["params"].items():
            same = (
                record["params"].get(name) == value
                and record["distributions"].get(name) == theirs["space"][name]
            )
            yield (0.0 if same else math.inf), 0.0
        yield float(bool(record["reports"])), float(bool(theirs["reports"]))
        yield (0.0 if set(theirs["user"]) <= set(record["user_attrs"]) else math.inf), 0.0
