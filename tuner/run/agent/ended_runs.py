"""Finishes the run folders of ended trials: writes `trial.json`, the second record, into them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuner.artifacts import checkpoints
from tuner.base.files import read_object, write_json
from tuner.base.run_folder import RESULT, TRIAL, if_readable
from tuner.definition.study_file import StudyFile
from tuner.storage import second_record
from tuner.storage.attributes import CHECKPOINT, METRICS

OUTCOMES: dict[TrialState, Literal["complete", "pruned", "failed"]] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


def note(folder: Path, told: FrozenTrial, study_file: StudyFile) -> None:
    """Writes how a trial ended to its run folder, where there is one. A paused run may have ended as pruned.

    Raises:
        CannotWrite: `settle` writes it at the next start.
    """
    if not folder.exists():
        return
    result = if_readable(read_object, folder / RESULT) or {}
    if result.get("state") == "paused":
        write_json(folder / RESULT, {**result, "state": OUTCOMES[told.state]})
    metric = study_file.objectives[0]
    write_json(
        folder / TRIAL,
        {
            "study": folder.parent.name,
            "number": told.number,
            "state": OUTCOMES[told.state],
            "objective": {
                "name": metric.name,
                "goal": metric.goal,
                "value": told.values[0] if told.values else None,
            },
            "constraints": study_file.violations(METRICS.of(told)),
            "params": told.params,
            second_record.RECORD: second_record.of_trial(told),
        },
    )


def settle(study: optuna.Study, study_file: StudyFile, results: Path) -> None:
    """Does what an agent did not come to after its trial had ended: it was killed then, or the disk was full.

    Raises:
        CannotWrite: it is done at the next start.
    """
    runs, kept = results / "runs" / study.study_name, results / checkpoints.FOLDER / study.study_name
    unnoted = {path.name for path in runs.glob("*") if path.name.isdigit() and not (path / TRIAL).exists()}
    left = {path.name for path in kept.glob("*")}
    if not unnoted and not left:
        return
    trials = study.get_trials(deepcopy=False)
    left -= {CHECKPOINT.of(trial) for trial in trials if not trial.state.is_finished()}
    for trial in trials:
        good = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        if good and str(trial.number) in unnoted and "run_folder" in trial.user_attrs:
            note(runs / str(trial.number), trial, study_file)
        if good and CHECKPOINT.of(trial) in left:
            shutil.rmtree(kept / trial.user_attrs[CHECKPOINT], ignore_errors=True)
