"""`study hypotheses`: the matched pairs that would decide the undecided claims of finished studies.

Studies as any other: they resume, take agents and other machines, and end when every point was tried. What
one was begun with stays; `--fresh` makes new pairs, on new seeds, for what is undecided then, and the earlier
ones keep counting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna

from tuner.base.errors import InputError
from tuner.claims import material as materials
from tuner.claims.material import Material, is_paired
from tuner.claims.pairs import Pairs, pairs_for
from tuner.definition.study_file import StudyFile
from tuner.storage import optuna_private
from tuner.storage.allocate import finished
from tuner.storage.records import Records
from tuner.storage.stored import load_study, stored_file
from tuner.storage.study_store import ORIGIN


@dataclass(frozen=True)
class Prepared:
    """A study of pairs to run.

    Attributes:
        file: None where no claim needs pairs, or none can have them.
        pairs: how it was made; None where it goes on with one that was begun.
        data: name of the data set that the claims' studies were run on.
    """

    file: StudyFile | None
    pairs: Pairs | None
    data: str
    done: int = 0


def prepare(
    records: Records, results: Path, *, chosen: Path | None, overrides: Mapping[str, Any], fresh: bool
) -> list[Prepared]:
    """The studies of pairs: those that were begun, or new ones for what is undecided.

    Args:
        chosen: the data set asked for; None: the one that the studies were run on.

    Raises:
        InputError: there is no study, or they were run on several data sets and none is chosen.
    """
    names = [name for name in optuna.get_all_study_names(records) if is_paired(name) and "@" not in name]
    if names and not fresh:
        return [_begun(records, name) for name in sorted(names)]
    material = materials.load(records, (), results, made=datetime.now())
    material, name = _of_one_data_set(material, chosen)
    made = pairs_for(material, overrides=overrides)
    return [Prepared(pairs.file() if pairs.points else None, pairs, name) for pairs in made]


def _begun(records: Records, name: str) -> Prepared:
    study = load_study(records, name)
    done = finished(records.queue.counts(optuna_private.study_id(study)), study.user_attrs)
    return Prepared(stored_file(study), None, _data_of(study.user_attrs), done)


def _of_one_data_set(material: Material, chosen: Path | None) -> tuple[Material, str]:
    """The studies that were run on one data set (those that read none stay), and its name."""
    names = {study.name: _data_of(study.attrs) for study in material.studies}
    known = sorted({name for name in names.values() if name})
    if chosen is None and len(known) > 1:
        raise InputError(
            f"the studies were run on several data sets ({', '.join(known)}): "
            f"choose one with --data data/{known[0]}"
        )
    name = chosen.name if chosen is not None else (known[0] if known else "")
    kept = tuple(s for s in material.studies if names[s.name] in ("", name))
    if not kept:
        raise InputError(f"no study was run on {name} (there are: {', '.join(known)})")
    return replace(material, studies=kept), name


def _data_of(attrs: Mapping[str, Any]) -> str:
    return str((attrs.get(ORIGIN) or {}).get("data", "")).partition(" ")[0]
