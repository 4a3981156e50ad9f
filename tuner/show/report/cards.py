"""The cards on the report's first page: what each study found, whether it is real, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.base.errors import InputError
from tuner.base.nested import leaves
from tuner.base.words import number, slug
from tuner.claims import judge
from tuner.claims.encoding import word
from tuner.claims.material import Material, Study, Trial
from tuner.definition import export
from tuner.definition.loading import FOLDER
from tuner.show.report import words
from tuner.show.report.blocks import Card, Setting
from tuner.stats.comparison import Verdict
from tuner.storage.study_store import ORIGIN, PATH
from tuner.workloads.masking import BLANK, SURE_NAME

BADGES: dict[Verdict, tuple[str, str]] = {  # two words, and good, bad or open
    "better": ("real gain", "good"),
    "no difference": ("no gain that matters", "bad"),
    "worse": ("worse than the default", "bad"),
    "open": ("not decided yet", "open"),
    "too few runs": ("too few runs", "open"),
    "no winner": ("no winner", "open"),
}


def anchor(study: Study) -> str:
    """Where the report has the study's section."""
    return f"study-{slug(study.name)}"


def card(study: Study, material: Material) -> Card:
    """The card of one study."""
    winner, answer = study.winner, judge.of_study(study, material)
    state = words.progress(study)
    badge, tone = BADGES[answer.verdict]
    if study.default is None and answer.verdict in ("better", "worse"):
        badge = "real lead" if answer.verdict == "better" else "not the best"
    if winner is None:
        reason = words.state_of_trials(study) or answer.sentence
        return Card(study.name, anchor(study), state, None, "", study.metric, badge, tone, reason,
                    None, (), "", "", _cost(study), _resume(study))  # fmt: skip
    config = without_secrets(winner.config)
    side = next((s for s in (answer.one, answer.other) if s and s.number == winner.number), None)
    score = winner.value if side is None or side.score is None else side.score
    found = answer.found
    return Card(
        title=study.name,
        anchor=anchor(study),
        state=state,
        number=winner.number,
        score="" if score is None else number(score),
        metric=study.metric,
        verdict=badge,
        tone=tone,
        real=" ".join([answer.sentence, *judge.after_race(study)]),
        gain=None if found is None else (found.difference, *(found.interval or (None, None))),
        settings=settings(study, winner),
        yaml=export.config_yaml(config),
        command=study.workload.command_line(config),
        cost=_cost(study),
        next=_next(study, answer.decide),
        todo="To decide" if answer.decide and study.done and study.file.function is None else "Next",
    )


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
    found = [
        Setting(
            name, word(value), _default_word(default.get(name)), name in default and default[name] != value
        )
        for name, value in config.items()
    ]
    searched = set(study.searched)
    return sorted(found, key=lambda s: (not s.changed, s.name not in searched))


def _default_word(value: Any) -> str:
    return "none" if value is None else word(value)


def default_config(study: Study) -> dict[str, Any]:
    """The configuration that a winner is compared with: that of trial 0, else that of a plain run."""
    if study.default is not None:
        return dict(study.default.config)
    try:
        plain: Mapping[str, Any] = study.workload.defaults() or {}
    except InputError:  # the code that ran is not here any more
        plain = {}
    return {**plain, **((study.attrs.get(ORIGIN) or {}).get("base") or {})}


def _next(study: Study, settles: str) -> str:
    """The command to run next: go on, settle whether the gain is real, or take the winner."""
    export_it = f"tuner export {study.name} --output winner.yaml"
    if study.file.function is not None:  # given in Python: no other program can run its trials
        return export_it
    return _resume(study) or settles or export_it


def _resume(study: Study) -> str:
    """The command that goes on with a study, or follows it; "" if it is done."""
    if study.done:
        return ""
    if study.count("running"):
        return f"tuner report {study.name} --live"
    path = Path(str(study.attrs.get(PATH) or ""))
    if not path.name or path.parent == FOLDER:
        return f"tuner study {study.name}"
    here = Path.cwd()
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return shlex.join(["python", "-m", "tuner", "study", str(shown)])


def _cost(study: Study) -> str:
    return f"Cost: {words.cost(study)}." if study.trials else ""
