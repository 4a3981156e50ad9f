"""A view of the storage for optuna-dashboard: adds constraints, files and a note to each trial.

optuna-dashboard 0.21 reads constraints from the attribute of Optuna 4. It shows only uploaded files, and
finished trials accept no uploads. So both are added when trials are read. Nothing is written to the storage.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner.claims import judge
from tuner.claims import material as materials
from tuner.claims.answer import Answer
from tuner.claims.material import Study
from tuner.plugins.dashboard import attributes, notes, trial_files
from tuner.plugins.dashboard.notes import ARTIFACT
from tuner.search import ranking
from tuner.storage import optuna_private
from tuner.storage.attributes import FILE, RUN_FOLDER
from tuner.storage.optuna_private import FrozenStudy
from tuner.storage.pass_through import PassThrough
from tuner.storage.study import OpenStudy, stored_file
from tuner.workloads.registry import workload_if_known
from tuner.workloads.workload import Workload

OLD_CONSTRAINTS = "constraints"  # in Optuna 4: one attribute with a list
MOST_NOTED = 500  # trials per study; for each trial the dashboard searches all notes


class DashboardStorage(PassThrough):
    """Wraps `storage`. Adds data for the dashboard to reads. Passes writes through.

    Args:
        results: the results folder, which has the run folders.
    """

    def __init__(self, storage: BaseStorage, results: Path) -> None:
        super().__init__(storage)
        self._results = results.resolve()
        self._shown: dict[int, tuple[dict[str, Any], FrozenTrial]] = {}  # finished trials, by id
        self._workloads: dict[str, Workload] = {}  # by study

    def run_folder(self, trial: FrozenTrial) -> Path | None:
        """The trial's run folder; None if there is none in the results folder."""
        name = RUN_FOLDER.of(trial)
        if not isinstance(name, str):
            return None
        folder = (self._results / name).resolve()
        inside = folder.is_relative_to(self._results / "runs") and folder.is_dir()
        return folder if inside else None

    def made(self, folder: Path | None) -> trial_files.Made:
        """The files that the workload makes from a run folder when a user opens them."""
        if folder is None:
            return {}
        name = folder.parent.name
        if name not in self._workloads:
            self._workloads[name] = workload_if_known(
                stored_file(optuna.load_study(study_name=name, storage=self._backend))
            )
        return self._workloads[name].trial_files(folder)

    # -- what is added

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._with_files(super().get_trial(trial_id))

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = self._backend.get_all_trials(study_id, deepcopy=False, states=states)
        shown = [self._with_files(trial) for trial in trials]
        if not infeasible(self._backend, study_id):
            shown = [_with_constraints(trial) for trial in shown]
        return copy.deepcopy(shown) if deepcopy else shown

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """The best trial. As in all of this tuner, trials that meet the constraints come first."""
        complete = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.COMPLETE,))
        if not complete:
            raise ValueError("No trials are completed yet.")
        (direction,) = self.get_study_directions(study_id)
        sign = -1.0 if direction is StudyDirection.MAXIMIZE else 1.0
        return min(complete, key=lambda t: (ranking.violation(t), sign * t.values[0], t.number))

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        attrs = self._backend.get_study_system_attrs(study_id)
        return self._with_notes(study_id, attrs, self._found(study_id))

    def get_all_studies(self) -> list[FrozenStudy]:
        studies = []
        for study in self._backend.get_all_studies():
            shown, study_id = copy.copy(study), optuna_private.study_id(study)
            found = self._found(study_id)
            if found is not None:
                shown.study_name = attributes.title(*found)
                shown.user_attrs = attributes.of_study(*found)
            shown.system_attrs = self._with_notes(study_id, study.system_attrs, found)
            studies.append(shown)
        return sorted(studies, key=optuna_private.study_id)

    def _found(self, study_id: int) -> tuple[Study, Answer] | None:
        """A study and what it found; None if it is not of this tuner."""
        if FILE not in self._backend.get_study_user_attrs(study_id):
            return None
        source = OpenStudy(self._backend, self._backend.get_study_name_from_id(study_id))
        study = materials.read_study(source, None)
        return study, judge.of_study(study)

    def _with_files(self, trial: FrozenTrial) -> FrozenTrial:
        trial_id = optuna_private.trial_id(trial)
        before, known = self._shown.get(trial_id, ({}, None))
        if known is not None and before == trial.user_attrs:  # `--fresh` moves old run folders
            return known
        shown = copy.copy(trial)
        attrs = {**trial.system_attrs}
        folder = self.run_folder(trial)
        names = trial_files.available(folder, reports=len(trial.intermediate_values), made=self.made(folder))
        for name in names:
            key = artifact_id(trial_id, name)
            meta = {"artifact_id": key, "filename": name, "mimetype": trial_files.media_type(name)}
            attrs[ARTIFACT + key] = json.dumps({**meta, "encoding": None})
        shown.system_attrs = attrs
        shown.user_attrs = attributes.of_trial(trial)
        if trial.state.is_finished():
            self._shown[trial_id] = (trial.user_attrs, shown)
        return shown

    def _with_notes(
        self, study_id: int, attrs: Mapping[str, Any], known: tuple[Study, Answer] | None
    ) -> dict[str, Any]:
        """Adds the result to the study's note, and a note to each finished trial without one."""
        trials = self.get_all_trials(study_id, deepcopy=False)
        found = {**attrs}
        if known is not None:
            found |= notes.with_result(known[1], str(known[0].attrs.get(notes.NOTED) or ""), attrs)
        if len(trials) > MOST_NOTED:
            return found
        for trial in trials:
            key = f"dashboard:{optuna_private.trial_id(trial)}"
            if trial.state.is_finished() and f"{key}:note_ver" not in found:
                found[f"{key}:note_ver"] = 1
                found[f"{key}:note_str:0"] = notes.trial_note(trial, study_id)
        return found

    # -- what passes through

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if key.startswith(ARTIFACT) and parse_artifact_id(key.removeprefix(ARTIFACT)):
            return  # the dashboard deletes a file of the run folder: the file stays
        super().set_trial_system_attr(trial_id, key, value)

    def delete_study(self, study_id: int) -> None:
        self._shown.clear()
        super().delete_study(study_id)


def infeasible(storage: BaseStorage, study_id: int) -> bool:
    """Whether all complete trials of a study miss its constraints.

    The dashboard draws trials that miss a constraint grey. Such a study would be all grey, so its trials are
    drawn as if there was no constraint.
    """
    complete = storage.get_all_trials(study_id, deepcopy=False, states=(TrialState.COMPLETE,))
    return bool(complete) and all(ranking.violation(trial) > 0 for trial in complete)


def _with_constraints(trial: FrozenTrial) -> FrozenTrial:
    """The trial with its constraints where the dashboard reads them."""
    prefix = optuna_private.CONSTRAINT
    values = [float(value) for key, value in trial.system_attrs.items() if key.startswith(prefix)]
    if not values:
        return trial
    shown = copy.copy(trial)
    shown.system_attrs = {**trial.system_attrs, OLD_CONSTRAINTS: values}
    return shown


class TrialFiles:
    """An Optuna artifact store. Reads the files of trials from their run folders, and keeps uploads.

    Args:
        uploads: the folder for files that users upload in the dashboard. The first upload creates it.
    """

    def __init__(self, storage: DashboardStorage, uploads: Path) -> None:
        self._storage = storage
        self._uploads = uploads

    def open_reader(self, artifact_id: str) -> BinaryIO:
        ours = parse_artifact_id(artifact_id)
        if ours is None:
            return self._uploaded().open_reader(artifact_id)
        trial_id, name = ours
        with contextlib.suppress(KeyError, FileNotFoundError):
            trial = self._storage.get_trial(trial_id)
            return trial_files.open_file(
                name,
                self._storage.run_folder(trial),
                curve=trial.intermediate_values,
                title=f"trial {trial.number}, {trial.state.name.lower()}",
                made=self._storage.made(self._storage.run_folder(trial)),
            )
        raise ArtifactNotFound(f"trial id {trial_id} has no file {name} (any more)")

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self._uploaded().write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        if parse_artifact_id(artifact_id) is None:
            self._uploaded().remove(artifact_id)

    def _uploaded(self) -> FileSystemArtifactStore:
        self._uploads.mkdir(parents=True, exist_ok=True)
        return FileSystemArtifactStore(self._uploads)


def artifact_id(trial_id: int, name: str) -> str:
    """Encodes trial and file as hexadecimal digits and a dash, which the dashboard allows in addresses."""
    return f"{trial_id:x}-{name.encode().hex()}"


def parse_artifact_id(text: str) -> tuple[int, str] | None:
    """Decodes the trial's id and the file's name. Returns None for uploads, whose ids are UUIDs."""
    trial, _, name = text.partition("-")
    with contextlib.suppress(ValueError):
        if name and "-" not in name:
            return int(trial, 16), bytes.fromhex(name).decode()
    return None
