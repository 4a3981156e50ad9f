"""The results of studies as sentences: winner, gain over the default, verification, cost."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

from tuner.base.statistics import LEVEL, t_interval
from tuner.claims.material import Study, Trial
from tuner.claims.noise import noise_and_freedom
from tuner.show.status.cost import Cost, cost_of, total
from tuner.storage.stored import CONFIRMED
from tuner.storage.study_store import TOTAL


@dataclass(frozen=True)
class Gain:
    """The winner's gain over the default configuration. `low`, `high`: None if the noise is unknown."""

    mean: float
    low: float | None
    high: float | None
    how: str

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:+.4f} ({self.how})"
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}] ({self.how})"


def gain(study: Study) -> Gain | None:
    """The winner's lead over the default configuration (trial 0). Positive: the winner is better.

    A race that confirmed the winner has measured it. None if the winner is the default. Without a race: for a
    retrained winner only the retrainings count, because its score in the study is the best of many and so too
    good. The noise is the pooled spread of retrainings of one configuration.
    """
    raced = study.attrs.get(CONFIRMED) or {}
    if raced.get("gain"):
        runs = sum(len(c["again"]) for c in raced["candidates"])
        found = raced["gain"]
        return Gain(found["mean"], found["low"], found["high"], f"{runs} retrainings, paired by seed")
    if raced.get("default"):
        return None
    winner, default = study.winner, study.default
    if winner is None or default is None or winner is default:
        return None
    if winner.value is None or default.value is None:
        return None
    sign = 1.0 if study.maximize else -1.0
    again = study.retrained(winner.number)
    value = statistics.fmean(again) if again else winner.value
    mean = sign * (value - default.value)
    known = noise_and_freedom(study)
    if known is None:
        return Gain(mean, None, None, "one run each; without retraining, part of it may be luck")
    noise, freedom = known
    half = float(stdtrit(freedom, 0.5 + LEVEL / 2)) * noise * math.sqrt(1 / max(1, len(again)) + 1)
    how = (
        f"mean of {len(again)} retrainings"
        if again
        else "its score in the study, which is too good on average"
    )
    return Gain(
        mean, mean - half, mean + half, f"{how}; 95 % interval from a seed-to-seed spread of {noise:.4f}"
    )


def cost(study: Study) -> Cost:
    """The cost of a study."""
    ends = ((t.state == "pruned", t.epochs, t.seconds) for t in study.trials)
    return cost_of(ends, whole=study.file.trial_epochs)


def counts_sentence(study: Study) -> str:
    """`24 of 24 trials finished: 10 complete, 14 pruned; 0 failed`."""
    wanted = study.attrs.get(TOTAL)
    done = len(study.finished)
    text = f"{done} of {wanted} trials" if wanted else f"{done} trials"
    ends = [sum(trial.state == state for trial in study.finished) for state in ("complete", "pruned")]
    text += f" finished: {ends[0]} complete, {ends[1]} pruned"
    for state in ("failed", "running", "paused", "waiting"):
        if study.count(state):
            text += f"; {study.count(state)} {state}"
    if study.imported:
        uncounted = sum(t not in study.finished for t in study.imported)
        text += f"; {len(study.imported)} imported" + (", not counted" if uncounted else "")
    if study.outside:
        text += f"; {len(study.outside)} only shown, because they do not fit the changed study"
    return text


def state_of_trials(study: Study) -> str | None:
    """A sentence if there are too few trials for a result, otherwise None."""
    if not study.trials:
        return "This study has no trial yet."
    if not study.finished:
        return "No trial of this study has finished yet."
    if not study.ranked:
        return f"All {len(study.finished)} finished trials were pruned, so there is no winner."
    if len(study.ranked) == 1:
        return "Only one trial is complete, so there is nothing to compare yet."
    return None


def verified_sentence(study: Study) -> str:
    """Whether the winner was retrained, with the result."""
    winner = study.winner
    if winner is None:
        return ""
    if study.workload.deterministic:
        return "Repeated runs always give the same score, so there is nothing to verify."
    again = study.retrained(winner.number)
    found = study.attrs.get("verified") or {}
    if not again:
        return f"Not verified. To retrain the best on new seeds: python -m tuner verify {study.name}"
    if len(again) > 1:
        mean, low, high = t_interval(again)
        text = f"Retrained {len(again)} times: {mean:.4f} [{low:.4f}, {high:.4f}] on average"
    else:
        text = f"Retrained once: {again[0]:.4f}"
    curse = found.get("curse")
    if isinstance(curse, float) and math.isfinite(curse):
        text += f"; the study overrated its best by {curse:+.4f} (winner's curse)"
    leads = found.get("leads") or []
    if leads:
        holds = sum(lead["verdict"] == "holds" for lead in leads)
        text += f"; its lead holds against {holds} of {len(leads)}"
    return text + "."


def study_sentences(study: Study) -> list[str]:
    """The result of a study as sentences."""
    lines = []
    if study.file.purpose:
        lines.append(study.file.purpose)
    lines.append(counts_sentence(study) + ".")
    thin = state_of_trials(study)
    if thin:
        lines.append(thin)
    winner = study.winner
    if winner is not None:
        lines += [winner_sentence(study, winner), why_not_higher(study)]
        lead = gain(study)
        if (study.attrs.get(CONFIRMED) or {}).get("default"):
            lines.append(no_gain_sentence(study))
        elif lead is not None:
            lines.append(f"Gain over the default configuration: {lead}.")
        elif winner is study.default:
            lines.append("The default configuration itself is the winner.")
        lines += [chance_sentence(study), verified_sentence(study)]
    origin = (study.attrs.get("origin") or {}).get("base_from")
    if origin:
        lines.append(f"It started from the {origin}.")
    if study.trials:
        lines.append(f"Cost: {cost(study)}.")
    if study.attrs.get("stopped"):
        lines.append(f"It stopped: {study.attrs['stopped']}.")
    return [line for line in lines if line]


def no_gain_sentence(study: Study) -> str:
    """That a race has shown no gain over the default configuration, or had nothing to choose from."""
    entered = (study.attrs.get(CONFIRMED) or {}).get("candidates", ())
    if len(entered) == 1:
        runs = len(entered[0]["again"])
        return f"One configuration: {study.metric} {entered[0]['mean']:.4f} on average in {runs} runs."
    lead = gain(study)
    best = "" if lead is None else f": the best one's lead is {lead}"
    return f"No gain over the default configuration found{best}. The next study starts from the default."


def chance_sentence(study: Study) -> str:
    """How sure it is that the winner is the best, and how much the study overrated it; "" without a race."""
    raced = study.attrs.get(CONFIRMED) or {}
    if raced.get("chance") is None or len(raced["candidates"]) == 1:
        return ""
    text = f"The best of {len(raced['candidates'])} retrained configurations with a probability of "
    text += f"{raced['chance']:.0%}"
    if raced.get("lead"):
        lead = raced["lead"]
        text += f"; lead over the runner-up {lead['mean']:+.4f} [{lead['low']:+.4f}, {lead['high']:+.4f}]"
    if raced.get("drop") is not None:
        text += f"; the study overrated it by {raced['drop']:+.4f}"
    return text + "."


def winner_sentence(study: Study, winner: Trial) -> str:
    """The winner with its score, its score on held-out `test`, and the constraints that it misses."""
    kind = "Confirmed winner" if study.attrs.get(CONFIRMED) else "Best"
    text = f"{kind}: trial {winner.number}, {study.metric} {winner.value:.4f}"
    test = winner.test.get(study.metric.replace("val/", "test/", 1))
    if test is not None:
        text += f" (held-out test: {test:.4f})"
    missed = constraints_sentence(study, winner)
    return f"{text}. {missed}" if missed else f"{text}."


def constraints_sentence(study: Study, winner: Trial) -> str:
    """That no trial meets the constraints; "" if the winner meets them."""
    if winner.violation <= 0:
        return ""
    wanted = ", ".join(map(str, study.file.constraints))
    return f"No trial meets {wanted}; the closest trial misses by {winner.violation:.3g}."


def why_not_higher(study: Study) -> str:
    """Why complete trials with a better score are not the winner; "" if there are none."""
    winner = study.winner
    if winner is None or winner.value is None:
        return ""
    sign = 1.0 if study.maximize else -1.0
    better = [t for t in study.ranked if t.value is not None and sign * (t.value - winner.value) > 0]
    if not better:
        return ""
    missing = [t.number for t in better if t.violation > winner.violation]
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
    wanted, done, running = study.attrs.get(TOTAL), len(study.finished), study.count("running")
    text = f"{done} of {wanted} trials" if wanted and not study.done else f"{done} trials"
    if running:
        return f"{text}, {running} running"
    return f"{text}, done" if study.done else text


def campaign_sentences(studies: Sequence[Study]) -> list[str]:
    """The result of a campaign: one or two sentences per study."""
    trials = sum(len(s.finished) for s in studies)
    complete = sum(s.count("complete") for s in studies)
    spent = total(cost(s) for s in studies)
    what = "1 study" if len(studies) == 1 else f"{len(studies)} studies"
    lines = [f"{what}, {trials} finished trials ({complete} complete). Cost: {spent}."]
    for study in studies:
        thin = state_of_trials(study)
        if study.winner is None:
            lines.append(f"{study.name}: {thin}")
            continue
        line = f"{study.name}: {winner_sentence(study, study.winner)}"
        lead = gain(study)
        if (study.attrs.get(CONFIRMED) or {}).get("default"):
            line += f" {no_gain_sentence(study)}"
        elif lead is not None:
            line += f" Gain over the default {lead}."
        if study.workload.deterministic:
            lines.append(line)
            continue
        line += " Verified." if study.attrs.get("verified") else (
            " Confirmed on other seeds." if study.attrs.get(CONFIRMED) else " Not verified."
        )  # fmt: skip
        lines.append(line)
    return lines
