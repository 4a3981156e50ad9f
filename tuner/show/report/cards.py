"""A card for each study: the winner, the default, the gain, if it is real, the cost, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.base.errors import InputError
from tuner.base.nested import leaves
from tuner.base.words import counted, duration, number, slug
from tuner.claims import judge
from tuner.claims.answer import Answer, Side
from tuner.claims.encoding import word
from tuner.claims.material import Material, Study, Trial
from tuner.definition import export
from tuner.definition.loading import FOLDER
from tuner.show.report import words
from tuner.show.report.blocks import Card, Fact, Setting
from tuner.stats.comparison import Verdict
from tuner.storage.attributes import ORIGIN, PATH
from tuner.workloads.masking import BLANK, SURE_NAME

BADGES: dict[Verdict, tuple[str, str]] = {  # two words, and good, bad or open
    "better": ("real gain", "good"),
    "no difference": ("no gain that matters", "bad"),
    "worse": ("worse than the default", "bad"),
    "open": ("not decided yet", "open"),
    "too few runs": ("too few runs to say", "open"),
    "no winner": ("no winner", "open"),
}


def anchor(study: Study) -> str:
    """Where the report has the study's section."""
    return f"study-{slug(study.name)}"


def card(study: Study, material: Material) -> Card:
    """The card of one study."""
    winner, answer = study.winner, judge.of_study(study, material)
    badge, tone = BADGES[answer.verdict]
    if judge.default_number(study) is None and answer.verdict in ("better", "worse"):
        badge = "real lead" if answer.verdict == "better" else "not the best"
    config = {} if winner is None else without_secrets(winner.config)
    side, found = answer.best, answer.found
    score = side.score if side is not None else None if winner is None else winner.value
    command, todo = _next(study, answer)
    whose = _gaining(answer)
    return Card(
        title=study.name,
        anchor=anchor(study),
        state=words.progress(study),
        number=None if winner is None else winner.number,
        score="" if score is None else number(score),
        metric=study.metric,
        verdict=badge,
        tone=tone,
        real=" ".join([words.state_of_trials(study) or answer.sentence, *judge.after_race(study)]),
        facts=facts(study, answer),
        gain=None if found is None else (found.difference, *(found.interval or (None, None))),
        interval=f"{whose}: {answer.interval_words}" if whose else answer.interval_words,
        settings=() if winner is None else settings(study, winner),
        yaml=export.config_yaml(config) if config else "",
        command=study.workload.command_line(config) if config else "",
        next=command,
        todo=todo,
    )


def facts(study: Study, answer: Answer) -> list[Fact]:
    """The winner, what it is compared with, the gain and the cost. Without a winner: the closest trials."""
    found = []
    if study.ranked and study.winner is None:
        best, closest = study.best_score, study.ranked[0]
        for label, trial in {"Best score": best, "Closest": closest}.items():
            if trial is not None and trial.value is not None and (label == "Best score" or trial is not best):
                lacking = judge.not_logged(study.file, (each.metrics for each in study.ranked))
                missed = f"{study.metric}; {lacking or f'misses by {trial.violation:.3g}'}"
                found.append(Fact(label, f"trial {trial.number}", number(trial.value), missed))
    sides = [side for side in (answer.one, answer.other) if side is not None]
    for side in sorted(sides, key=lambda side: side.number != answer.winner):
        found.append(_side(study, side, answer))
    difference, _, interval = answer.interval_words.partition(" ")
    if difference:
        exact = answer.found is not None and answer.found.exact
        known = "exact: a repeated run gives the same score" if exact else "interval not known yet"
        found.append(
            Fact("Gain", _gaining(answer), difference, f"95 % interval {interval}" if interval else known)
        )
    spent = words.spent(study)
    if study.trials:
        trials = counted(len(study.finished), "trial")
        saved = f", {spent.saved_epochs} saved by pruning" if spent.saved_epochs else ""
        note = f"of training: {trials}, {counted(spent.epochs, 'epoch')}{saved}"
        found.append(Fact("Cost", "", duration(spent.seconds), note))
    return found


def _gaining(answer: Answer) -> str:
    """Whose gain it is; "" if it is the winner's."""
    return "" if answer.one is None or answer.one.number == answer.winner else answer.one.name


def _side(study: Study, side: Side, answer: Answer) -> Fact:
    is_default, is_winner = side.number == judge.default_number(study), side.number == answer.winner
    label = "Winner" if is_winner else "Default" if is_default else "Next best"
    name = "" if side.number < 0 else f"trial {side.number}"
    if is_winner and is_default:
        name = f"the default ({name})" if name else "the default"
    notes = [study.metric, f"mean of {side.runs} runs" if side.runs > 1 else "one run"]
    trial = next((t for t in study.ranked if t.number == side.number), None)
    if study.retrained(side.number) and trial is not None and trial.value is not None:
        notes.append(f"{number(trial.value)} in the search")
    return Fact(label, name, "unknown" if side.score is None else number(side.score), ", ".join(notes))


def without_secrets(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration whose texts are blanked where their name is that of a secret."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found[name] = without_secrets(value)
        else:
            found[name] = BLANK if isinstance(value, str) and SURE_NAME.search(name) else value
    return found


def settings(study: Study, winner: Trial) -> list[Setting]:
    """The whole configuration of a winner: changed values, then searched ones, then all others."""
    config, default = (
        dict(leaves(without_secrets(values))) for values in (winner.config, default_config(study))
    )
    searched = set(study.searched)
    found = []
    for name, value in config.items():
        plain = "" if name not in default else "none" if default[name] is None else word(default[name])
        changed = name in default and default[name] != value
        found.append(Setting(name, word(value), plain, changed, name in searched))
    return sorted(found, key=lambda s: (not s.changed, not s.searched))


def default_config(study: Study) -> dict[str, Any]:
    """The configuration that a winner is compared with: that of trial 0, else that of a plain run."""
    if study.default is not None:
        return dict(study.default.config)
    try:
        plain: Mapping[str, Any] = study.workload.defaults() or {}
    except InputError:  # the code that ran is not here any more
        plain = {}
    return {**plain, **(ORIGIN.of(study.attrs).get("base") or {})}


def _next(study: Study, answer: Answer) -> tuple[str, str]:
    """The command to run next, and what for: go on, settle whether the gain is real, or take the winner."""
    if study.file.function is not None:  # given in Python: no other program can run its trials
        return f"tuner export {study.name} --output winner.yaml", "Take the winner"
    if study.count("running"):
        return f"tuner report {study.name} --live", "Follow it"
    if not study.done:
        return _run(study), "Continue"
    if answer.decide:
        return answer.decide, f"To decide ({answer.to_decide})" if answer.to_decide else "To decide"
    if not study.finished:
        return _run(study), "Repair the cause, then"
    if answer.verdict in ("no winner", "no difference", "worse"):
        change = "Loosen the constraint" if study.ranked and study.winner is None else "Change the space"
        return f"{_run(study)} --trials {2 * len(study.finished)}", f"{change}, or run more trials"
    return f"tuner export {study.name} --output winner.yaml", "Take the winner"


def _run(study: Study) -> str:
    """The command that runs a study."""
    path = Path(PATH.of(study.attrs))
    if not path.name or path.parent == FOLDER:
        return f"tuner study {study.name}"
    here = Path.cwd()
    return shlex.join(["tuner", "study", str(path.relative_to(here) if path.is_relative_to(here) else path)])
