"""The macros of a W&B sweep file's `command:`, expanded as `wandb agent` does (checked against wandb 0.31.0).

| macro | becomes |
| --- | --- |
| `${env}` | `/usr/bin/env` |
| `${interpreter}` | the Python that runs this (`wandb agent` says `python`, whatever that is) |
| `${program}` | the file's `program:` |
| `${args}` | `--lr=0.1 --layers=2` |
| `${args_no_equals}` | `--lr 0.1 --layers 2` |
| `${args_no_hyphens}` | `lr=0.1 layers=2` |
| `${args_no_boolean_flags}` | `--flag` for a true, nothing for a false, the rest as `${args}` |
| `${args_append_hydra}`, `${args_override_hydra}` | `+lr=0.1`, `++lr=0.1` |
| `${args_json}` | one argument: the parameters as JSON |
| `${args_json_file}` | the path of a file with that JSON |
| `${args_dict}` | the parameters' names (what the agent makes of it; its documentation leaves it out) |
| `${envvar:X}` | the variable X, or the letters X where it is not set; also inside a longer argument |

Every macro but the last must be a whole argument: `--config=${args_json_file}` stays as it is, as with W&B. A
macro that nobody knows becomes nothing. Arguments go to the program as a list, never through a shell.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")


def expand(
    command: Sequence[Any] | None,
    *,
    program: str | None,
    config: Mapping[str, Any],
    json_file: Path,
    environment: Mapping[str, str],
    interpreter: str = sys.executable,
) -> list[str]:
    """The argument list of one trial.

    Args:
        command: the file's `command:`, or None for W&B's default.
        config: the trial's parameters by name; nested ones are dicts.
        json_file: what `${args_json_file}` stands for (the caller writes it).
        environment: where `${envvar:X}` is looked up.
    """
    words = [f"{name}={value}" for name, value in config.items()]
    flags = [
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in config.items()
        if value is not False
    ]
    values = {
        "env": ["/usr/bin/env"] if os.name == "posix" else [],
        "interpreter": [interpreter],
        "program": [] if program is None else [program],
        "args": [f"--{word}" for word in words],
        "args_no_equals": [part for name, value in config.items() for part in (f"--{name}", str(value))],
        "args_no_hyphens": words,
        "args_no_boolean_flags": flags,
        "args_append_hydra": [f"+{word}" for word in words],
        "args_override_hydra": [f"++{word}" for word in words],
        "args_json": [as_json(config)],
        "args_json_file": [str(json_file)],
        "args_dict": list(config),
    }
    arguments: list[str] = []
    for part in command or DEFAULT_COMMAND:
        text = VARIABLE.sub(lambda match: environment.get(match[1], match[1]), str(part))
        if text.startswith("${") and text.endswith("}"):
            arguments += values.get(text[2:-1], [])
        else:
            arguments.append(text)
    return arguments


def as_json(config: Mapping[str, Any]) -> str:
    """What `${args_json}` and the file behind `${args_json_file}` hold."""
    return json.dumps(dict(config))


def as_sweep(config: Mapping[str, Any]) -> str:
    """What the file behind `wandb.config` holds, $WANDB_SWEEP_PARAM_PATH.

    W&B reads it with PyYAML, to which the 1e-05 of YAML 1.2 is a text, so PyYAML writes it.
    """
    return yaml.safe_dump({name: {"value": value} for name, value in config.items()}, sort_keys=False)


def uses(command: Sequence[Any] | None, macro: str) -> bool:
    """Whether the command has `${macro}`, for example `uses(command, "program")`."""
    return f"${{{macro}}}" in [str(part) for part in command or DEFAULT_COMMAND]


def module_in(command: Sequence[Any] | None, program: str | None) -> str | None:
    """The module that `python -m …` in the command runs; None: it runs none."""
    parts = [str(part) for part in command or ()]
    behind = dict(itertools.pairwise(parts)).get("-m")
    return program if behind == "${program}" else behind


def variables(command: Sequence[Any] | None) -> frozenset[str]:
    """Names of the variables whose values, perhaps secrets, become part of the arguments."""
    return frozenset(name for part in command or () for name in VARIABLE.findall(str(part)))
