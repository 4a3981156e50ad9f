"""The results of studies as sentences: the answer (`claims/judge.py`), what explains it, and the cost."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import astuple

from tuner.base.words import counted, number
from tuner.claims import judge
from tuner.claims.material import Material, Study
from tuner.show.summary import Spent
from tuner.storage.attributes import IMPORTED, ORIGIN, STOPPED, TOTAL


def spent(study: Study) -> Spent:
    """What the trials of a study took."""
    ran = (trial for trial in study.trials if IMPORTED not in trial.frozen.user_attrs)
    ends = ((t.state == "pruned", t.epochs, t.seconds) for t in ran)
    return Spent.by(ends, whole=study.file.trial_epochs)


def counts_sentence(study: Study) -> str:
    """`24 of 24 trials finished: 10 complete, 14 pruned; 0 failed`."""
    wanted = TOTAL.of(study.attrs)
    done = len(study.finished)
    text = f"{done} of {wanted} trials" if wanted else f"{done} trials"
    ends = [sum(trial.state == state for trial in study.finished) for state in ("complete", "pruned")]
    text += f" finished: {ends[0]} complete, {ends[1]} pruned"
    for state in ("failed", "interrupted", "running", "paused", "waiting"):
        if study.count(state):
            text += f"; {study.count(state)} {state}"
    if study.imported:
        uncounted = sum(t not in study.finished for t in study.imported)
        text += f"; {len(study.imported)} imported" + (", not counted" if uncounted else "")
    if study.outside:
        text += f"; {len(study.outside)} only shown, because they do not fit the changed study"
    return text


def state_of_trials(study: Study) -> str | None:
    """A sentence if no trial is complete, otherwise None."""
    if not study.trials:
        return "This study has no trial yet."
    if not study.finished:
        return "No trial of this study has finished yet."
    if not study.ranked:
        return f"All {len(study.finished)} finished trials were pruned, so there is no winner."
    return None


def study_sentences(study: Study, material: Material | None = None) -> list[str]:
    """The result of a study as sentences: the answer, what explains it, and the cost."""
    lines = [state_of_trials(study) or ""]
    if study.ranked:
        answer = judge.of_study(study, material)
        lines = [answer.sentence, *judge.after_race(study)]
        lines += [f"To decide: {answer.decide}"] if answer.decide else []
    cost = f"Cost: {spent(study)}." if study.trials else ""
    return [line for line in (study.file.purpose, *lines, *background(study), cost) if line]


def background(study: Study) -> list[str]:
    """What explains the result of a study."""
    origin = ORIGIN.of(study.attrs).get("base_from")
    test = None if study.winner is None else study.winner.test.get(study.metric.replace("val/", "test/", 1))
    held_out = "" if test is None else f"The winner's score on held-out test: {number(test)}."
    lines = [
        f"{counts_sentence(study)}.",
        why_not_higher(study),
        f"{held_out} Nothing is chosen by metrics on test." if held_out else "",
        f"It started from the {origin}." if origin else "",
        f"It stopped: {STOPPED.of(study.attrs)}." if STOPPED.of(study.attrs) else "",
    ]
    return [line for line in lines if line]


def why_not_higher(study: Study) -> str:
    """Why complete trials with a better score are not the winner; "" if there are none."""
    winner = study.winner
    if winner is None or winner.value is None:
        return ""
    sign = 1.0 if study.maximize else -1.0
    better = [t for t in study.ranked if t.value is not None and sign * (t.value - winner.value) > 0]
    if not better:
        return ""
    missing = [t.number for t in better if t.violation > 0 >= winner.violation]
    raced = [t for t in better if t.number not in missing]
    text = (
        f"Trial {winner.number} is the winner, although {_numbers([t.number for t in better])} scored better."
    )
    if missing:
        wanted = ", ".join(map(str, study.file.constraints))
        verb = "misses" if len(missing) == 1 else "miss"
        text += f" {_numbers(missing)} {verb} the constraint {wanted}."
    again = study.retrained(winner.number)
    means = [(t.number, found) for t in raced if (found := study.retrained(t.number))]
    if again and raced:
        shown = ", ".join(f"trial {n} {statistics.fmean(found):.4f}" for n, found in means)
        text += (
            " The winner was chosen by runs on other seeds, because the best score of a search is partly "
            f"luck: trial {winner.number} has {statistics.fmean(again):.4f} on average there"
            + (f", {shown}." if shown else ".")
        )
        left = [t.number for t in raced if not study.retrained(t.number)]
        if left:
            text += f" {_numbers(left)} did not run there."
    return text


def _numbers(numbers: Sequence[int]) -> str:
    """`trial 7`, `trials 7, 9 and 12`."""
    some = [str(n) for n in sorted(numbers)[:8]]
    if len(numbers) > len(some):
        return f"trials {', '.join(some)} and {len(numbers) - len(some)} more"
    return f"trial {some[0]}" if len(some) == 1 else f"trials {', '.join(some[:-1])} and {some[-1]}"


def progress(study: Study) -> str:
    """`24 trials, done` or `7 of 24 trials, 2 running`."""
    wanted, done, running = TOTAL.of(study.attrs), len(study.finished), study.count("running")
    text = f"{done} of {wanted} trials" if wanted and not study.done else counted(done, "trial")
    if running:
        return f"{text}, {running} running"
    return f"{text}, done" if study.done else text


def campaign_sentence(studies: Sequence[Study]) -> str:
    """The size of a campaign and its cost."""
    trials = sum(len(s.finished) for s in studies)
    complete = sum(s.count("complete") for s in studies)
    cost = Spent(*map(sum, zip(*(astuple(spent(study)) for study in studies), strict=True)))
    what = "1 study" if len(studies) == 1 else f"{len(studies)} studies"
    return f"{what}, {trials} finished trials ({complete} complete). Cost: {cost}."
