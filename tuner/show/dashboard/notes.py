"""Notes on optuna-dashboard: what a study asks, what it expects, and its hypotheses."""

from __future__ import annotations

import json

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from tuner.definition.study_file import StudyFile
from tuner.storage import optuna_private
from tuner.storage.stored import stored_file
from tuner.storage.study_store import FILE

CONSTRAINT = "constraints:"  # Optuna's trial attributes: a constraint's value, above 0 where it is missed,
ARTIFACT = "artifacts:"  # and a file
NOT_MEASURED = 1e9  # a constraint's value where its metric was not logged (see tuner.run.agent.trial)
NOTED = "dashboard_note"  # study attribute: the note that was written, so that one of the user's is kept


def write_notes(storage: BaseStorage) -> int:
    """Gives every study of this tuner its note, once and again where its file has changed.

    A note is written once for each content: what somebody wrote in the dashboard since then stays.

    Returns:
        how many notes were written.
    """
    from optuna_dashboard import save_note

    written = 0
    for name in optuna.get_all_study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage)
        if FILE not in study.user_attrs:
            continue
        text = note(stored_file(study))
        if study.user_attrs.get(NOTED) != text:
            save_note(study, text)
            study.set_user_attr(NOTED, text)
            written += 1
    return written


def trial_note(trial: FrozenTrial, study_id: int) -> str:
    """What a trial missed or why it ended, and links to its files, in Markdown."""
    lines = []
    for key, value in trial.system_attrs.items():
        if key.startswith(CONSTRAINT):
            missed = f"missed by {value:.3g}" if value < NOT_MEASURED else "not measured"
            said = "holds" if value <= 0 else missed
            lines.append(f"- {plain(key.removeprefix(CONSTRAINT))}: {said}")
    why = trial.user_attrs.get("pruned_because") or trial.user_attrs.get("error")
    if why:
        lines.append(f"- {trial.state.name.lower()}: {plain(str(why))}")
    folder = trial.user_attrs.get("run_folder")
    if folder:
        lines.append(f"- run folder: {plain(str(folder))}, below the results folder")
    files = [json.loads(v) for k, v in trial.system_attrs.items() if k.startswith(ARTIFACT)]
    links = [
        f"[{plain(meta['filename'])}](/artifacts/{study_id}/{optuna_private.trial_id(trial)}/{meta['artifact_id']})"
        for meta in files
        if meta
    ]
    if links:
        lines.append(f"- files: {', '.join(links)}")
    return "\n".join(lines)


def note(file: StudyFile) -> str:
    """The study in Markdown."""
    lines = [f"## {plain(file.name)}"]
    for heading, text in (("Asks", file.purpose), ("Expects", file.expectation), ("Costs", file.cost)):
        if text:
            lines.append(f"**{heading}:** {plain(text)}")
    aim = "as high" if file.metric.goal == "maximize" else "as low"
    lines.append(f"**Metric:** {plain(file.metric.name)}, {aim} as it gets")
    if file.constraints:
        lines.append("**Must hold:** " + ", ".join(plain(str(c)) for c in file.constraints))
    if file.hypotheses:
        claims = [f"- {plain(h.claim)}" for h in file.hypotheses]
        verdicts = "(`python -m tuner report --hypotheses` has the verdicts)"
        lines.append(f"**Hypotheses** {verdicts}\n\n" + "\n".join(claims))
    lines.append(f"Runs lie in `results/runs/{file.name}/NUMBER/`.")
    return "\n\n".join(lines)


def plain(text: str) -> str:
    """`text` with no Markdown or HTML in it."""
    for mark in "\\`*_[]<>#|":
        text = text.replace(mark, f"\\{mark}" if mark not in "<>" else {"<": "&lt;", ">": "&gt;"}[mark])
    return text
