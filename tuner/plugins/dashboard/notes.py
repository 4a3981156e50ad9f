"""Notes for optuna-dashboard: purpose, expectation and hypotheses of each study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from tuner.claims.answer import Answer
from tuner.definition.study_file import StudyFile
from tuner.plugins.dashboard import attributes
from tuner.storage import optuna_private
from tuner.storage.attributes import ERROR, FILE, PRUNED_BECAUSE, RUN_FOLDER
from tuner.storage.study import stored_file

ARTIFACT = "artifacts:"  # Optuna's trial attribute for a file
STUDY_NOTE = "dashboard:note_str:"  # the dashboard's attributes for the note of a study, in parts
NOTED = "dashboard_note"  # study attribute: the last note that we wrote, to recognise notes of users


def write_notes(storage: BaseStorage) -> int:
    """Writes the note of every study of this tuner. Writes it again only if the study file has changed.

    So a note that a user edits in the dashboard stays.

    Returns:
        the number of written notes.
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


def with_result(answer: Answer, own: str, attrs: Mapping[str, Any]) -> dict[str, str]:
    """The study's note with its result below; empty if there is none, or if a user has edited it.

    Args:
        own: the note that `write_notes` wrote.
        attrs: the study's system attributes, which have its note in numbered parts.
    """
    parts = sorted((k for k in attrs if k.startswith(STUDY_NOTE)), key=lambda k: int(k.rpartition(":")[2]))
    if not own or "".join(attrs[key] for key in parts) != own:
        return {}
    last = parts[-1]
    decide = f"\n\n**To decide:** `{answer.decide}`" if answer.decide else ""
    return {last: f"{attrs[last]}\n\n**Result:** {plain(answer.sentence)}{decide}"}


def trial_note(trial: FrozenTrial, study_id: int) -> str:
    """The note of a trial in Markdown: missed constraints, why it ended, and links to its files."""
    lines = [f"- {plain(name)}: {said}" for name, said in attributes.constraints_of(trial).items()]
    why = PRUNED_BECAUSE.of(trial) or ERROR.of(trial)
    if why:
        lines.append(f"- {trial.state.name.lower()}: {plain(str(why))}")
    folder = RUN_FOLDER.of(trial)
    if folder:
        lines.append(f"- run folder: {plain(str(folder))} in the results folder")
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
    """The note of a study in Markdown."""
    lines = [f"## {plain(file.name)}"]
    for heading, text in (("Question", file.purpose), ("Expected", file.expectation), ("Cost", file.cost)):
        if text:
            lines.append(f"**{heading}:** {plain(text)}")
    aim = "maximise" if file.metric.goal == "maximize" else "minimise"
    lines.append(f"**Metric:** {aim} {plain(file.metric.name)}")
    if file.constraints:
        lines.append("**Constraints:** " + ", ".join(plain(str(c)) for c in file.constraints))
    if file.hypotheses:
        claims = [f"- {plain(h.claim)}" for h in file.hypotheses]
        verdicts = "(for the verdicts: `tuner report --hypotheses`)"
        lines.append(f"**Hypotheses** {verdicts}\n\n" + "\n".join(claims))
    lines.append(f"Run folders: `results/runs/{file.name}/NUMBER/`.")
    return "\n\n".join(lines)


def plain(text: str) -> str:
    """`text` with Markdown and HTML escaped."""
    for mark in "\\`*_[]<>#|":
        text = text.replace(mark, f"\\{mark}" if mark not in "<>" else {"<": "&lt;", ">": "&gt;"}[mark])
    return text
