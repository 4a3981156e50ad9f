"""Records what W&B's `sweeps` package answers, so that the tests need neither it nor its old numpy.

    python -m venv /tmp/oracle && /tmp/oracle/bin/pip install 'sweeps==0.3.0' 'numpy==1.26.*'
    /tmp/oracle/bin/python tests/tuner_tests/definition/oracle/record_sweeps.py --ours .venv/bin/python

`--ours` is a Python that has this project: it writes the exported files that `sweeps` then judges.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import random
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml
from histories import has_band, hyperband_case
from sweeps import stop_runs
from sweeps.config import schema_violations_from_proposed_config
from sweeps.grid_search import grid_search_next_runs
from sweeps.params import HyperParameter, HyperParameterSet
from sweeps.run import RunState, SweepRun

HERE = Path(__file__).parent
CASES = 4000
U = [1e-6, 0.001, 0.01, 0.05, 0.123456, 0.25, 1 / 3, 0.5, 0.61, 0.75, 0.9, 0.987654, 0.999, 1 - 1e-6]

EXPORT = """
import sys
from pathlib import Path
from tuner.definition import export
from tuner.definition.loading import load_study_file, shipped
for name in shipped():
    Path(sys.argv[1], name + ".yaml").write_text(export.wandb_yaml(load_study_file(name)))
"""


def parameter_files(draw: random.Random) -> list[dict[str, Any]]:
    """Definitions of every distribution: hand-picked corners, then random ones."""
    fixed: list[dict[str, Any]] = [
        {"value": 3},
        {"value": [1, {"a": None}]},
        {"distribution": "constant", "value": "word"},
        {"values": [1, 2, 3]},
        {"values": ["a", 2, None, 2.5, True, [1, 2], {"k": 1}]},
        {"values": [1, 1.0, True]},
        {"distribution": "categorical", "values": ["only"]},
        {"values": ["a", "b", "c"], "probabilities": [0.2, 0.0, 0.8]},
        {"values": [5, 6], "probabilities": [0.1, 0.9], "distribution": "categorical_w_probabilities"},
        {"values": ["a", "b", "c"], "probabilities": [0.1, 0.2, 0.7]},
        {"min": 1, "max": 10},
        {"min": 1.0, "max": 10},
        {"min": -3, "max": 3, "distribution": "int_uniform"},
        {"min": 0, "max": 1, "distribution": "uniform"},
        {"distribution": "q_uniform", "min": 0, "max": 1},
        {"distribution": "q_uniform", "min": 0, "max": 10, "q": 2},
        {"distribution": "q_uniform", "min": 96, "max": 256, "q": 32},
        {"distribution": "q_uniform", "min": 0.05, "max": 0.95, "q": 0.1},
        {"distribution": "q_log_uniform", "min": 0, "max": 5},
        {"distribution": "q_log_uniform_values", "min": 1, "max": 512, "q": 8},
        {"distribution": "normal"},
        {"distribution": "q_normal", "q": 0.5},
        {"distribution": "log_normal"},
        {"distribution": "q_log_normal"},
        {"distribution": "beta"},
        {"distribution": "beta", "a": 2, "b": 5},
        {"distribution": "q_beta", "q": 0.25},
        {"distribution": "q_beta", "q": 1, "a": 0.5, "b": 0.5},
    ]
    return fixed + [random_parameter(draw, kind) for kind in RANDOM_KINDS for _ in range(12)]


RANDOM_KINDS = [
    *(
        "int_uniform",
        "uniform",
        "log_uniform",
        "log_uniform_values",
        "inv_log_uniform",
        "inv_log_uniform_values",
    ),
    *(
        "q_uniform",
        "q_log_uniform",
        "q_log_uniform_values",
        "normal",
        "q_normal",
        "log_normal",
        "q_log_normal",
    ),
    *("beta", "q_beta", "categorical", "categorical_w_probabilities"),
]


def random_parameter(draw: random.Random, kind: str) -> dict[str, Any]:
    """A definition of distribution `kind`."""
    definition: dict[str, Any] = {"distribution": kind}
    if "categorical" in kind:
        values = [
            draw.choice([draw.randint(0, 9), draw.random(), "w" + str(draw.randint(0, 9))]) for _ in range(5)
        ]
        definition["values"] = values
        if kind != "categorical":
            cuts = sorted(draw.random() for _ in range(4))
            definition["probabilities"] = [b - a for a, b in itertools.pairwise([0.0, *cuts, 1.0])]
    elif kind == "int_uniform":
        low = draw.randint(-50, 50)
        definition |= {"min": low, "max": low + draw.randint(1, 100)}
    elif kind.endswith("uniform_values"):
        low = 10 ** draw.uniform(-6, 2)
        definition |= {"min": low, "max": low * 10 ** draw.uniform(0.1, 4)}
    elif "log_uniform" in kind:
        low = draw.uniform(-8, 4)
        definition |= {"min": low, "max": low + draw.uniform(0.1, 5)}
    elif "uniform" in kind:
        low = draw.uniform(-10, 10)
        definition |= {"min": low, "max": low + draw.uniform(0.1, 20)}
    elif "normal" in kind:
        definition |= {"mu": draw.uniform(-3, 3), "sigma": draw.uniform(0.1, 2)}
    else:
        definition |= {"a": draw.uniform(0.5, 6), "b": draw.uniform(0.5, 6)}
    if kind.startswith("q_"):
        definition["q"] = draw.choice([1, 2, 0.1, 0.25, 3, 1.0, round(draw.uniform(0.01, 2), 3)])
    return definition


def plain(value: Any) -> Any:
    """numpy's scalars as Python's, so that the kind of number is recorded too."""
    return value.item() if hasattr(value, "item") else value


def draws() -> list[dict[str, Any]]:
    """Each definition with what `sweeps` draws at each u."""
    records = []
    for definition in parameter_files(random.Random(1)):
        parameter = HyperParameter("p", definition)
        records.append({"parameter": definition, "draws": [plain(parameter.ppf(u)) for u in U]})
    return records


GRIDS: list[dict[str, Any]] = [
    {"b": {"values": [1, 2, 3]}, "a": {"values": ["x", "y"]}},
    {"lr": {"values": [0.1, 0.01]}, "n": {"min": 1, "max": 4}, "fixed": {"value": 7}},
    {"q": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25}, "z": {"values": [None, 1]}},
    {"q": {"distribution": "q_uniform", "min": 0, "max": 10, "q": 3}},
    {"q": {"distribution": "q_uniform", "min": 0.1, "max": 0.7}},
    {"a": {"values": [3, 3.0, 4, 3]}, "b": {"values": [True, 1, "1"]}},
    {
        "outer": {
            "parameters": {"x": {"values": [1, 2]}, "inner": {"parameters": {"y": {"min": 1, "max": 2}}}}
        }
    },
    {"m": {"parameters": {"b": {"values": [1, 2]}}}, "k": {"values": [{"a": 1}, {"a": 2}, [1, 2]]}},
    {"m": {"parameters": {"b": {"values": [1, 2]}, "c": {"value": 5}}}, "a": {"values": [0]}},
    {"only": {"value": 1}},
]


def grids() -> list[dict[str, Any]]:
    """Each space with the configurations of W&B's grid, in its order."""
    records = []
    for parameters in GRIDS:
        config = {"method": "grid", "parameters": parameters}
        points: list[Any] = []
        if any("value" not in p for p in parameters.values()):
            runs = grid_search_next_runs([], config, n=1000)
            points = [{k: v["value"] for k, v in run.config.items()} for run in runs if run is not None]
        records.append({"parameters": parameters, "points": points})
    return records


def random_search() -> list[dict[str, Any]]:
    """Whole configurations of nested spaces, with the u of each parameter by its path."""
    records = []
    for parameters in GRIDS[:3] + GRIDS[6:9]:
        hyperparameters = HyperParameterSet.from_config(parameters)
        draw = random.Random(5)
        for _ in range(5):
            u = {}
            for parameter in hyperparameters:
                path = ".".join(parameter.name.split(HyperParameterSet.NESTING_DELIMITER))
                u[path] = draw.random()
                parameter.value = plain(parameter.ppf(u[path]))
            config = {k: v["value"] for k, v in hyperparameters.to_config().items()}
            records.append({"parameters": parameters, "u": u, "config": config})
    return records


def hyperband() -> str:
    """A letter a case: for each running trial 1 where it is stopped, as a number in base 32; cases joined."""
    answers = []
    for seed in range(CASES):
        settings, goal, trials = hyperband_case(seed)
        if not has_band(settings):
            answers.append("-")
            continue
        config = {"method": "random", "metric": {"name": "m", "goal": goal}, "early_terminate": settings}
        runs = [
            SweepRun(
                name=str(number),
                state=RunState.running if running else RunState.finished,
                history=[{} if value is None else {"m": value} for value in values],
            )
            for number, (running, values) in enumerate(trials)
        ]
        stopped = {run.name for run in stop_runs(config, runs)}
        answers.append(
            "".join("01"[str(n) in stopped] if running else "." for n, (running, _) in enumerate(trials))
        )
    return " ".join(answers)


def verdicts() -> list[dict[str, Any]]:
    """Whole files with whether W&B's schema takes them."""
    good = {
        "method": "bayes",
        "metric": {"name": "m", "goal": "maximize"},
        "parameters": {"a": {"min": 0, "max": 1}},
    }
    changes: list[dict[str, Any]] = [
        {},
        {"method": "grid", "parameters": {"a": {"values": [1, 2]}}},
        {"method": "best"},
        {"metrik": 1},
        {"metric": {"goal": "maximize"}},
        {"metric": {"name": "m", "goal": "max"}},
        {"metric": {"name": "m", "target": "x"}},
        {"run_cap": 0},
        {"run_cap": 3},
        {"run_cap": 2.5},
        {"early_terminate": {"type": "hyperband"}},
        {"early_terminate": {"type": "hyperband", "min_iter": 3}},
        {"early_terminate": {"type": "hyperband", "max_iter": 27}},
        {"early_terminate": {"type": "hyperband", "max_iter": 27, "s": 2}},
        {"early_terminate": {"type": "hyperband", "min_iter": 3, "eta": 1}},
        {"early_terminate": {"type": "envelope", "min_iter": 3}},
        {"parameters": {}},
        {"parameters": {"a": {}}},
        {"parameters": {"a": 3}},
        {"parameters": {"a b": {"value": 1}}},
        {"parameters": {"a-b.c": {"value": 1}}},
        {"parameters": {"a": {"min": 2, "max": 1}}},
        {"parameters": {"a": {"min": 1, "max": 1}}},
        {"parameters": {"a": {"min": 1}}},
        {"parameters": {"a": {"values": []}}},
        {"parameters": {"a": {"values": 3}}},
        {"parameters": {"a": {"values": [1], "value": 1}}},
        {"parameters": {"a": {"values": [1, 2], "probabilities": [0.5]}}},
        {"parameters": {"a": {"values": [1, 2], "probabilities": [0.5, 0.6]}}},
        {"parameters": {"a": {"values": [1, 2], "probabilities": [-0.5, 1.5]}}},
        {"parameters": {"a": {"values": [1, 2], "probabilities": [0.5, 0.5], "distribution": "categorical"}}},
        {"parameters": {"a": {"distribution": "int_uniform", "min": 1.0, "max": 5}}},
        {"parameters": {"a": {"distribution": "log_uniform_values", "min": 0, "max": 5}}},
        {"parameters": {"a": {"distribution": "log_uniform_values", "min": 0.1, "max": 5}}},
        {"parameters": {"a": {"distribution": "normal", "sigma": -1}}},
        {"parameters": {"a": {"distribution": "normal", "min": 0}}},
        {"parameters": {"a": {"distribution": "q_normal", "q": 0}}},
        {"parameters": {"a": {"distribution": "gaussian"}}},
        {"parameters": {"a": {"parameters": {"b": {"value": 1}}}}},
        {"parameters": {"a": {"parameters": {"b": {"value": 1}}, "value": 2}}},
        {"parameters": {"a": {"parameters": {}}}},
        {"program": "train.py", "command": ["${env}", "python", "${program}", "${args}"]},
        {"command": "python train.py"},
        {"controller": {"type": "local"}, "name": "n", "project": "p", "entity": "e", "description": "d"},
        {"controller": {"type": "remote"}},
        {"kind": "sweep", "apiVersion": "1"},
        {"kind": "other"},
    ]
    records = []
    for change in changes:
        file = {**good, **change}
        try:
            violations = schema_violations_from_proposed_config(file)
        except ValueError as error:
            violations = [str(error)]
        records.append({"file": file, "accepted": not violations})
    return records


def exports(python: str) -> dict[str, str]:
    """The hash of each shipped study's export, once `sweeps` has found nothing wrong with it."""
    accepted = {}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, "-c", EXPORT, folder], check=True)
        for path in sorted(Path(folder).iterdir()):
            text = path.read_text()
            violations = schema_violations_from_proposed_config(yaml.safe_load(text))
            if violations:
                raise SystemExit(f"{path.name}: {violations}")
            accepted[path.stem] = hashlib.sha256(text.encode()).hexdigest()
    return accepted


def main() -> None:
    """Writes `sweeps_answers.json` beside this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ours", required=True, metavar="PYTHON")
    options = parser.parse_args()
    answers = {
        "u": U,
        "draws": draws(),
        "grids": grids(),
        "random": random_search(),
        "verdicts": verdicts(),
        "exports": exports(options.ours),
        "hyperband": hyperband(),
    }
    assert all(math.isfinite(u) for u in U)
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in answers.items())
    (HERE / "sweeps_answers.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
