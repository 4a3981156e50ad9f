"""Exports a study as a plain W&B sweep file, and a winner as a configuration file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tuner.definition.study_file import StudyFile

_NUMBER = re.compile(r"^[-+]?[\d.]+([eE][-+]?\d+)?$|^0[oxb]\w+$")


def wandb_sweep(study_file: StudyFile) -> dict[str, Any]:
    """The study without our own keys, as `wandb sweep` reads it.

    Nothing else changes: a file from W&B is exported as it was. W&B has no keys for `requires`, `when`,
    the points of a design and constraints, so they are left out. W&B then searches the whole space.
    """
    return {key: value for key, value in study_file.raw.items() if key != "tuner"}


def wandb_yaml(study_file: StudyFile) -> str:
    """`wandb_sweep` as text with the same meaning in YAML 1.1 and 1.2. (W&B reads 1.1: `1e-5` is a word.)"""
    own = study_file.raw.get("tuner", {})
    left_out = [key for key in ("requires", "when", "points", "constraints") if own.get(key)]
    note = f"# left out, W&B has no such key: {', '.join(left_out)}\n" if left_out else ""
    return f"# {study_file.name}, exported for `wandb sweep`\n{note}{config_yaml(wandb_sweep(study_file))}"


def config_yaml(config: Mapping[str, Any]) -> str:
    """A configuration as text, one option per line, with the same meaning in YAML 1.1 and 1.2."""
    return yaml.dump(dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Block style. Lists of plain values are on one line. Values that occur twice get no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_list(dumper: _Dumper, values: list[Any]) -> yaml.Node:
    flat = not any(isinstance(value, dict | list) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=flat)


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    """Quotes words that are numbers in YAML 1.2 but not in 1.1 (`1e5`, `0o7`)."""
    quoted = "'" if _NUMBER.match(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=quoted)


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(str, _represent_text)
