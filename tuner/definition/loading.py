"""Finds and reads study files: shipped studies by name, other files by path, and files in a storage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tuner.base.errors import InputError, nearest
from tuner.definition.campaign_file import CampaignFile, is_campaign, read_campaign
from tuner.definition.parse import parse_study
from tuner.definition.study_file import StudyFile


def _shipped(name: str) -> Path:
    """A folder next to the package in a checkout, and inside the package if installed from a wheel."""
    engine = Path(__file__).parent.parent
    return next((f for f in (engine / name, engine.parent / name) if f.is_dir()), engine / name)


FOLDER, EXAMPLES = _shipped("studies"), _shipped("examples")
CAMPAIGN = "campaign"  # the shipped campaign


def load_study_file(name_or_path: str | Path) -> StudyFile:
    """Reads a shipped study by name, or any sweep file by path.

    Raises:
        InputError: the file is wrong. The message has the file, the line, the key and what was expected.
    """
    return parse_study(find(name_or_path))


def find(name_or_path: str | Path) -> Path:
    """The file of a shipped study, or the path itself.

    Raises:
        InputError: there is no such study. The message names the nearest shipped study.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return path
    if path.is_file():
        return path
    if (FOLDER / f"{name_or_path}.yaml").is_file():
        return FOLDER / f"{name_or_path}.yaml"
    names = shipped()
    hint = nearest(str(name_or_path), [*names, *map(str, Path().glob("*.y*ml"))])
    raise InputError(
        f"no study named '{name_or_path}'{hint} (shipped: {', '.join(names)}). "
        "For your own study give a .yaml file"
    )


def shipped() -> list[str]:
    """Names of the studies that come with the project: those of the campaign in its order, then others."""
    found = sorted(path.stem for path in FOLDER.glob("*.yaml") if not is_campaign(path))
    first = [name for name in shipped_campaign().studies if name in found]
    return first + [name for name in found if name not in first]


def shipped_campaign() -> CampaignFile:
    """The campaign that comes with the project. If there is none: a campaign without steps."""
    path = FOLDER / f"{CAMPAIGN}.yaml"
    return read_campaign(path) if path.is_file() else CampaignFile(path, (), ())


def from_plain(raw: Mapping[str, Any], *, name: str, path: Path) -> StudyFile:
    """The study file that the plain values `raw` make, as if read from `path`.

    Raises:
        InputError: as `load_study_file`.
    """
    with TemporaryDirectory() as folder:
        written = Path(folder) / f"{name}.yaml"
        written.write_text(json.dumps(raw), encoding="utf-8")  # JSON is YAML
        try:
            return replace(parse_study(written), name=name, path=path, notes=())
        except InputError as error:
            raise InputError(str(error).replace(str(written), str(path))) from None
