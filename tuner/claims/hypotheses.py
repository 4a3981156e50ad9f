"""`study hypotheses`: plans matched pairs for the undecided claims of finished studies.

The pairs run as an ordinary study. It can be resumed, runs on any number of agents and machines, and ends
when all points have run. Its pairs do not change once it has started. `--fresh` makes new pairs with new
seeds for claims that are still undecided. The earlier pairs still count.
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
    """A study of matched pairs, ready to run.

    Attributes:
        file: the study file; None if no claim needs pairs, or no pairs are possible.
        pairs: how the pairs were made; None if an earlier study of pairs is resumed.
        data: name of the data set that the studies ran on.
    """

    file: StudyFile | None
    pairs: Pairs | None
    data: str
    done: int = 0


def prepare(
    records: Records, results: Path, *, chosen: Path | None, overrides: Mapping[str, Any], fresh: bool
) -> list[Prepared]:
    """Returns the studies of pairs: unfinished ones, or new ones for undecided claims.

    Args:
        chosen: the data set; None: the one that the studies ran on.

    Raises:
        InputError: there is no study, or the studies ran on several data sets and `chosen` is None.
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
    done = finished(records.queue.counts(optuna_private.study_id(study)))
    return Prepared(stored_file(study), None, _data_of(study.user_attrs), done)


def _of_one_data_set(material: Material, chosen: Path | None) -> tuple[Material, str]:
    """Keeps the studies that ran on one data set, and those without data. Also returns its name."""
    names = {study.name: _data_of(study.attrs) for study in material.studies}
    known = sorted({name for name in names.values() if name})
    if chosen is None and len(known) > 1:
        raise InputError(
            f"the studies ran on several data sets ({', '.join(known)}); "
            f"choose one with --data data/{known[0]}"
        )
    name = chosen.name if chosen is not None else (known[0] if known else "")
    kept = tuple(s for s in material.studies if names[s.name] in ("", name))
    if not kept:
        raise InputError(f"no study ran on {name} (studies ran on: {', '.join(known)})")
    return replace(material, studies=kept), name


def _data_of(attrs: Mapping[str, Any]) -> str:
    return str((attrs.get(ORIGIN) or {}).get("data", "")).partition(" ")[0]
