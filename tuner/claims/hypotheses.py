"""`study hypotheses`: decides the open claims of finished studies with rounds of paired runs.

Each round is an ordinary study (`tuner/claims/rounds.py`). It can be resumed and runs on any number of agents
and machines. After each round all claims are judged. Decided claims leave, the others go on. The intervals
stay valid however often you look, so you can stop at any time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna

from tuner.base.errors import InputError
from tuner.base.words import duration
from tuner.claims import material as materials
from tuner.claims import rounds, verdicts
from tuner.claims.material import Material, is_paired
from tuner.claims.rounds import Round
from tuner.claims.verdicts import Finding
from tuner.definition.study_file import StudyFile
from tuner.run import launch
from tuner.run.events import View
from tuner.run.request import Request
from tuner.storage.access import open_records
from tuner.storage.attributes import ORIGIN
from tuner.storage.records import Records
from tuner.storage.study import finished, load_study
from tuner.workloads.registry import workload_if_known

LEAST_SECONDS = 5.0  # with less time left no round is begun


@dataclass(frozen=True)
class Prepared:
    """A round that is ready to run.

    Attributes:
        file: the study file; None if no claim needs pairs, or no pairs are possible.
        planned: how the round was made; None if one that was begun is resumed.
        data: the data set or other inputs that the studies ran on; None: the only ones there are.
        done: finished runs of a round that was begun.
    """

    file: StudyFile | None
    planned: Round | None
    data: Path | None
    done: int = 0


@dataclass(frozen=True)
class Settling:
    """How the open claims are to be decided.

    Attributes:
        request_for: makes the request for a round.
        chosen: the data set; None: the one that the studies ran on.
        overrides: values for every run (`--set`).
        fresh: leave a round that was begun, and start with new seeds.
        budget: seconds for all rounds of this call; None: until every claim is decided or given up.
        most: runs of this call, at most.
    """

    url: str = field(repr=False)
    results: Path
    request_for: Callable[[StudyFile], Request]
    make_view: Callable[[], View]
    say: Callable[[str], None]
    chosen: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = False
    budget: float | None = None
    most: int | None = None

    def run(self) -> list[Finding]:
        """Runs rounds until no claim is open that pairs can decide, or the budget is used up.

        Returns:
            the findings on all claims of studies.

        Raises:
            InputError: there is no study, or the studies ran on several data sets and none was chosen.
            KeyboardInterrupt: the user stopped it. The same command continues.
            WorkFailed: a round failed.
        """
        started, runs = time.monotonic(), 0
        before = self._findings()
        prepared = self.prepare(fresh=self.fresh)
        for one in prepared:
            for study, claim, reason in one.planned.left_out if one.planned else ():
                self.say(f"left out: {study}: {claim}: {reason}")
        while found := [one for one in prepared if one.file is not None]:
            for one in found:
                left = None if self.budget is None else self.budget - (time.monotonic() - started)
                more = None if self.most is None else self.most - runs
                done, ended = 0, False
                if (left is None or left >= LEAST_SECONDS) and more != 0:
                    done, ended = self._round(one, left, more)
                    runs += done
                    before = self._tell(before)
                if not ended or done == 0:
                    spent = duration(time.monotonic() - started)
                    self.say(f"{runs} runs in {spent}; run the same command to continue")
                    return self._findings()
            prepared = self.prepare(fresh=False)
        return self._findings()

    def prepare(self, *, fresh: bool) -> list[Prepared]:
        """The rounds to run now: unfinished ones, or else the next ones."""
        records = open_records(self.url, waits=True, say=self.say)
        return prepare(records, self.results, chosen=self.chosen, overrides=self.overrides, fresh=fresh)

    def request(self, prepared: Prepared) -> Request:
        """The request for a round. Nothing follows from its best run: it was not chosen for being good."""
        assert prepared.file is not None
        asked = self.request_for(prepared.file)
        return replace(asked, data=prepared.data, trials=None, fresh=False, conclude=False)

    def _round(self, prepared: Prepared, left: float | None, more: int | None) -> tuple[int, bool]:
        """Runs a round. Returns the number of its new runs, and False if it was left early."""
        assert prepared.file is not None
        total = None if more is None else prepared.done + more
        if prepared.planned is not None:
            self.say(in_words(prepared.planned))
        request = replace(self.request(prepared), timeout=left, trials=total)
        result = launch.run(request, self.make_view())
        if result.interrupted:
            raise KeyboardInterrupt
        if not result.fine:
            result.check(prepared.file.name)
        ran = max(0, result.finished - prepared.done)
        capped = total is not None and prepared.file.run_cap is not None and total < prepared.file.run_cap
        return ran, not (result.timed_out or result.stopped or capped)

    def _findings(self) -> list[Finding]:
        records = open_records(self.url, waits=True, say=self.say)
        material = materials.load(records, (), self.results, made=datetime.now())
        return [f for f in verdicts.findings(material) if f.study != verdicts.CAMPAIGN]

    def _tell(self, before: Sequence[Finding]) -> list[Finding]:
        """Prints the claims that were decided since, and returns the new findings."""
        known = {(f.study, f.claim) for f in before if f.decided}
        now = self._findings()
        for finding in now:
            if finding.decided and (finding.study, finding.claim) not in known:
                self.say(f"{finding.study}: {finding.claim}: {finding.sentence}")
        still = sum(not f.decided for f in now)
        self.say(f"{len(now) - still} of {len(now)} claims are decided, {still} are open")
        return now


def prepare(
    records: Records, results: Path, *, chosen: Path | None, overrides: Mapping[str, Any], fresh: bool
) -> list[Prepared]:
    """Returns rounds that were begun and are not done, or the next ones for open claims.

    Args:
        chosen: the data set; None: the one that the studies ran on.

    Raises:
        InputError: there is no study, or the studies ran on several data sets and `chosen` is None.
    """
    names = [n for n in optuna.get_all_study_names(records) if is_paired(n) and "@" not in n]
    begun = [] if fresh else [_begun(records, name, chosen) for name in sorted(names)]
    if unfinished := [one for one in begun if one.file is not None]:
        return unfinished
    material = materials.load(records, (), results, made=datetime.now())
    material, name = _of_one_data_set(material, chosen)
    found = []
    for planned in rounds.next_rounds(material, overrides=overrides):
        origin = ORIGIN.of(planned.like.attrs)
        data = planned.like.workload.begun_inputs(origin.get("overrides") or {}) or chosen or _folder(name)
        found.append(Prepared(planned.file() if planned.points else None, planned, data))
    return found


def in_words(planned: Round) -> str:
    """What a round consists of, in one sentence."""
    count = len(planned.points) // 2
    text = f"{planned.name}: {len(planned.points)} runs, {count} pairs for {len(planned.claims)}"
    text += " claims" if len(planned.claims) > 1 else " claim"
    if planned.drawn:
        text += ", each pair with other values"
    return text + (f"; {planned.notes}" if planned.notes else "")


def _begun(records: Records, name: str, chosen: Path | None) -> Prepared:
    """A round that was begun; without a file if it is done."""
    study = load_study(records, name)
    file, counts = study.file, study.counts()
    done = finished(counts, study.attrs)
    tried = max(done, len(study.points_taken()))
    unfinished = tried < len(file.grid()) or counts[optuna.trial.TrialState.RUNNING] > 0
    inputs = workload_if_known(file).begun_inputs(study.origin.get("overrides") or {})
    data = inputs or chosen or _folder(_data_of(study.attrs))
    return Prepared(file if unfinished else None, None, data, done)


def _folder(name: str) -> Path | None:
    folder = Path("data") / name
    return folder if name and folder.is_dir() else None


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
    return str(ORIGIN.of(attrs).get("data", "")).partition(" ")[0]
