"""The results of studies as sentences: winner, gain over the default, verification, cost."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tuner.base.statistics import t_interval
from tuner.claims.material import Study, Trial
from tuner.show.status.cost import Cost, cost_of, total
from tuner.storage.stored import CONFIRMED

Z = 1.96  # for a 95 % interval


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

    None if the winner is the default. For a retrained winner only the retrainings count, because its score in
    the study is the best of many and so too good. The noise is the pooled spread of retrainings of one
    configuration.
    """
    winner, default = study.winner, study.default
    if winner is None or default is None or winner is default:
        return None
    if winner.value is None or default.value is None:
        return None
    sign = 1.0 if study.maximize else -1.0
    again = study.retrained(winner.number)
    value = statistics.fmean(again) if again else winner.value
    mean = sign * (value - default.value)
    noise = seed_noise(study)
    if noise is None:
        return Gain(mean, None, None, "one run each; without retraining, part of it may be luck")
    half = Z * noise * math.sqrt(1 / max(1, len(again)) + 1)
    how = f"mean of {len(again)} retrainings" if again else "its score in the study, on average too good"
    return Gain(
        mean, mean - half, mean + half, f"{how}; 95 % interval from a seed-to-seed spread of {noise:.4f}"
    )


def seed_noise(study: Study) -> float | None:
    """Pooled standard deviation between trainings of one configuration. None if none was repeated."""
    groups: list[list[float]] = []
    for key in (CONFIRMED, "verified"):
        groups += [c["again"] for c in (study.attrs.get(key) or {}).get("candidates", ())]
    if "seed" in study.searched:
        by_rest: dict[str, list[float]] = {}
        for trial in study.ranked:
            rest = repr(sorted((n, repr(v)) for n, v in trial.params.items() if n != "seed"))
            by_rest.setdefault(rest, []).append(trial.value or 0.0)
        groups += list(by_rest.values())
    groups = [g for g in groups if len(g) > 1]
    if not groups:
        return None
    freedom = sum(len(g) - 1 for g in groups)
    return math.sqrt(sum((len(g) - 1) * statistics.variance(g) for g in groups) / freedom)


def cost(study: Study) -> Cost:
    """The cost of a study."""
    ends = ((t.state == "pruned", t.epochs, t.seconds) for t in study.trials)
    return cost_of(ends, whole=study.file.trial_epochs)


def counts_sentence(study: Study) -> str:
    """`24 of 24 trials finished: 10 complete, 14 pruned; 0 failed`."""
    wanted = study.attrs.get("run_cap")
    done = len(study.finished)
    text = f"{done} of {wanted} trials" if wanted else f"{done} trials"
    ends = [sum(trial.state == state for trial in study.finished) for state in ("complete", "pruned")]
    text += f" finished: {ends[0]} complete, {ends[1]} pruned"
    for state in ("failed", "running", "waiting"):
        if study.count(state):
            text += f"; {study.count(state)} {state}"
    if study.imported:
        uncounted = sum(t not in study.finished for t in study.imported)
        text += f"; {len(study.imported)} imported" + (", not counted" if uncounted else "")
    if study.outside:
        text += f"; {len(study.outside)} shown only, as they do not fit since the study was changed"
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
        lines.append(winner_sentence(study, winner))
        lead = gain(study)
        if lead is not None:
            lines.append(f"Gain over the default configuration: {lead}.")
        elif winner is study.default:
            lines.append("The default configuration itself is the winner.")
        lines.append(verified_sentence(study))
    origin = (study.attrs.get("origin") or {}).get("base_from")
    if origin:
        lines.append(f"It started from the {origin}.")
    if study.trials:
        lines.append(f"Cost: {cost(study)}.")
    if study.attrs.get("stopped"):
        lines.append(f"It stopped: {study.attrs['stopped']}.")
    return [line for line in lines if line]


def winner_sentence(study: Study, winner: Trial) -> str:
    """The winner with its score, its score on held-out `test`, and the constraints that it misses."""
    kind = "Confirmed winner" if study.attrs.get(CONFIRMED) else "Best"
    text = f"{kind}: trial {winner.number}, {study.metric} {winner.value:.4f}"
    test = winner.test.get(study.metric.replace("val/", "test/", 1))
    if test is not None:
        text += f" (held-out test: {test:.4f})"
    if winner.violation > 0:
        wanted = ", ".join(map(str, study.file.constraints))
        text += f"; no trial meets {wanted}, the closest trial misses by {winner.violation:.3g}"
    return text + "."


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
        if lead is not None:
            line += f" Gain over the default {lead}."
        if study.workload.deterministic:
            lines.append(line)
            continue
        line += " Verified." if study.attrs.get("verified") else (
            " Confirmed on other seeds." if study.attrs.get(CONFIRMED) else " Not verified."
        )  # fmt: skip
        lines.append(line)
    return lines
