"""Is one configuration better than another: the one answer that every command, page and program shows.

The answer rests on retrainings (`verify`, the campaign's races): runs on other seeds, in rounds that share a
seed. The score of the best trial in its study does not count, because it was chosen for being high. Where
both configurations ran only once, the noise between other runs says how much the difference may be luck.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from tuner.base.errors import InputError, nearest
from tuner.base.words import chance, counted, number
from tuner.claims import race
from tuner.claims.answer import BETTER, Answer, Side
from tuner.claims.material import Material, Study, Trial
from tuner.claims.noise import noise_between_seeds
from tuner.definition.study_file import StudyFile
from tuner.run.agent.repeats import REPEATS
from tuner.search import ranking
from tuner.stats import runs as compare
from tuner.stats.comparison import LEAST_PAIRS, Comparison, Verdict, exactly
from tuner.stats.noise import UNKNOWN, Noise, seed_is_ignored
from tuner.storage.attributes import CONFIRMED, VERIFIED

IGNORED = (
    "Runs on different seeds gave exactly the same score, so the work seems to ignore its seed. Name the "
    "parameter that takes it (tuner: {seed: NAME}), or say that one run is the truth (tuner: "
    "{deterministic: true})."
)

UNRANKED = "No metric is named, so no trial is better than another."


def of_study(study: Study, material: Material | None = None) -> Answer:
    """The study's result: is the best configuration better than the default, or else than the next best?

    Args:
        material: other studies, whose noise counts where this one's is not known.
    """
    if material not in study.answers:  # a report asks for it on every page
        study.answers[material] = _of_study(study, material)
    found: Answer = study.answers[material]
    return found


def _of_study(study: Study, material: Material | None) -> Answer:
    if not study.ranked:
        note = "No trial has completed yet." if study.file.metric.declared else UNRANKED
        return Answer(study.name, study.metric, "no winner", None, notes=(note,))
    if study.winner is None:
        return _infeasible(study)
    best, other = _question(study)
    if best is None or other is None:
        winner = study.winner.number
        side = _side(study, winner, _runs(study).get(winner, {}))
        return Answer(
            study.name, study.metric, "too few runs", winner, side,
            notes=("There is only one configuration, so there is nothing to compare.",),
        )  # fmt: skip
    return _answer(study, best, study, other, material)


def after_race(study: Study) -> list[str]:
    """What a race hands on to the next study, and how likely its leader is the best; empty without one."""
    raced = CONFIRMED.of(study.attrs)
    runs = sum(len(c["again"]) for c in raced.get("candidates", ()))
    if len(raced.get("candidates", ())) < 2:
        return []
    if raced.get("default"):
        said = f"No gain over the default configuration was shown in {counted(runs, 'retraining')}, so the "
        lines = [f"{said}next study starts from the default."]
    else:
        lines = [f"The next study starts from trial {raced['number']} ({counted(runs, 'retraining')})."]
    if raced.get("chance") is not None:
        leader = f"Trial {raced['leader']}" if raced.get("leader", -1) >= 0 else "The default"
        lines.append(
            f"{leader} is the best of {len(raced['candidates'])} retrained configurations with a probability "
            f"of {chance(raced['chance'])}."
        )
    return lines


def between(material: Material, what: str, against: str | None) -> Answer:
    """Compares two configurations.

    Args:
        what: `STUDY` (its result) or `STUDY/NUMBER` (a trial).
        against: the same; None: the default configuration of the study, else its best other trial.

    Raises:
        InputError: there is no such study or trial, or they cannot be compared.
    """
    study, one = _named(material, what)
    if against is None and one is None:
        if not study.ranked:
            raise InputError(f"study '{study.name}': no trial has completed yet")
        return of_study(study, material)
    if against is None:
        second, other = study, _reference(study, one)
        if other is None:
            raise InputError(f"{what}: there is no other complete trial to compare it with")
    else:
        second, other = _named(material, against)
    one, other = (_winner(s) if t is None else t for s, t in ((study, one), (second, other)))
    if study.metric != second.metric or study.maximize != second.maximize:
        raise InputError(
            f"{what} and {against} have different metrics ({study.metric}, {second.metric}): they cannot be "
            "compared"
        )
    if (study.name, one) == (second.name, other):
        raise InputError(f"{what} is compared with itself: name another trial after 'against'")
    return _answer(study, one, second, other, material)


def _named(material: Material, what: str) -> tuple[Study, int | None]:
    """The study and, for `STUDY/NUMBER`, the trial's number."""
    what = " ".join(what.split())  # it stands in errors, which are one line
    study = next((s for s in material.studies if s.name == what), None)
    if study is not None:
        return study, None
    name, _, text = what.rpartition("/")
    study = next((s for s in material.studies if s.name == name), None)
    if study is None:
        known, wanted = [s.name for s in material.studies], name or what
        hint = nearest(wanted, known)
        raise InputError(f"no study named '{wanted}'{hint} (studies here: {', '.join(known)})")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InputError(f"'{what}': expected STUDY or STUDY/NUMBER")
    trial = next((t for t in study.trials if t.number == int(text)), None)
    if trial is None or not trial.complete:
        state = "there is no such trial" if trial is None else f"trial {text} is {trial.state}, not complete"
        raise InputError(f"study '{name}': {state}")
    return study, trial.number


def _winner(study: Study) -> int:
    if study.winner is None:
        raise InputError(f"study '{study.name}': {of_study(study).headline}")
    return study.winner.number


def _question(study: Study) -> tuple[int | None, int | None]:
    """The two configurations that a study's result compares: the best, and what it has to beat."""
    raced, winner = CONFIRMED.of(study.attrs), study.winner
    if len(raced.get("candidates", ())) == 1:  # its trials differ in the seed alone
        return None, None
    best = None if winner is None else winner.number
    default = default_number(study)
    if raced.get("default") and raced.get("leader", default) != default:
        best = int(raced["leader"])  # nothing was handed on, but it came closest
    if best == default:
        other = _next_best(study, default)
        return (other, default) if other is not None else (None, None)
    return best, _reference(study, best)


def _reference(study: Study, one: int | None) -> int | None:
    """What a configuration is compared with: the default, else the best other trial; None: nothing."""
    default = default_number(study)
    return default if default is not None and default != one else _next_best(study, one)


def _next_best(study: Study, but: int | None) -> int | None:
    """The best other trial: of those that were retrained, if there are any (a score alone is partly luck)."""
    others = [t for t in study.feasible or study.ranked if t.number != but]
    again = {t.number: statistics.fmean(runs) for t in others if (runs := study.retrained(t.number))}
    sign = 1.0 if study.maximize else -1.0
    if again:
        return max(again, key=lambda number: sign * again[number])
    return others[0].number if others else None


def default_number(study: Study) -> int | None:
    """The trial of the default configuration; -1: no trial, but in the race; None: not known."""
    if study.default is not None:
        return study.default.number
    raced = CONFIRMED.of(study.attrs).get("candidates", ())
    return next((int(c["number"]) for c in raced if c.get("default")), None)


def _infeasible(study: Study) -> Answer:
    """No trial meets the constraints: the best score and the closest trial, and no winner."""
    wanted = ", ".join(map(str, study.file.constraints))
    best, closest = study.best_score, study.ranked[0]
    assert best is not None
    text = f"No trial meets {wanted}, so there is no winner."
    if lacking := not_logged(study.file, (trial.metrics for trial in study.ranked)):
        notes = (f"{text} {lacking[0].upper()}{lacking[1:]}.",)
        return Answer(study.name, study.metric, "no winner", None, notes=notes)
    shown = f" Best score: {_missed(best)}."
    if closest.number != best.number and closest.violation < best.violation - (study.file.matters or 0.0):
        shown += f" Closest to the constraint: {_missed(closest)}."
    return Answer(study.name, study.metric, "no winner", None, notes=(text + shown,))


def not_logged(file: StudyFile, trials: Iterable[Mapping[str, Any]]) -> str:
    """The metric of a constraint that none of the trials has among its metrics, in words; "" if all have."""
    logged = sorted({name for metrics in trials for name in metrics})
    for constraint in file.constraints:
        name = constraint.metric
        if name not in logged and f"val/{name}" not in logged:
            return f"no trial logged '{name}'{nearest(name, logged)} (logged: {', '.join(logged)})"
    return ""


def _missed(trial: Trial) -> str:
    assert trial.value is not None
    return f"trial {trial.number} ({number(trial.value)}, misses by {trial.violation:.3g})"


def _runs(study: Study) -> dict[int, dict[int, float]]:
    """The runs of a study's configurations on several seeds by round. Rounds share a seed and a split.

    Retrainings count. For a study whose trials have several runs (`seeds`, `folds`), these count for trials
    that were not retrained.
    """
    found: dict[int, dict[int, float]] = {}
    rounds: dict[tuple[str, Any], int] = {}
    for kind, of, again in ranking.retrainings(study.attrs, CONFIRMED, VERIFIED):
        own = found.setdefault(of, {})
        own |= {rounds.setdefault((kind, k), len(rounds)): score for k, score in again.items()}
    for trial in study.ranked if study.file.repeats.count > 1 else ():
        if not found.get(trial.number):
            runs = ranking.runs_of(trial.frozen, study.metric).items()
            found[trial.number] = {rounds.setdefault((REPEATS, k), len(rounds)): v for k, v in runs}
    return found


def _side(study: Study, of: int, runs: Mapping[int, float]) -> Side:
    """A configuration by the number of its trial, with its retrainings."""
    name = f"trial {of}"
    if of == default_number(study):
        name = "the default configuration" + (f" (trial {of})" if of >= 0 else "")
    known = next((t.value for t in study.ranked if t.number == of), None)
    return Side(name, of, statistics.fmean(runs.values()) if runs else known, len(runs))


def _answer(study: Study, one: int, second: Study, other: int, material: Material | None) -> Answer:
    sign = 1.0 if study.maximize else -1.0
    all_runs = _runs(study)
    same = study is second or study.name == second.name
    ours, theirs = all_runs.get(one, {}), (all_runs if same else _runs(second)).get(other, {})
    sides = _side(study, one, ours), _side(second, other, theirs)
    if not same:
        sides = tuple(  # type: ignore[assignment]
            Side(f"{s.name} of {name}", s.number, s.score, s.runs)
            for s, name in zip(sides, (study.name, second.name), strict=True)
        )
    noise = _noise(study, material)
    found = _compared(study, sides, sign, ours if same else {}, theirs if same else {}, all_runs, noise)
    matters = race.matters(study.file, noise.deviation)
    verdict: Verdict = "too few runs" if found is None else found.verdict(matters)
    notes = []
    ignored = not study.workload.deterministic and seed_is_ignored(
        [list(r.values()) for r in all_runs.values()]
    )
    best = None if study.winner is None else study.winner.number
    chosen = one == best and not study.retrained(one) and not study.workload.deterministic
    if ignored:
        notes.append(IGNORED)
    elif chosen:
        notes.append("The best score of a study is too good on average, because it is the best of many.")
        verdict = verdict if verdict == "too few runs" else "open"
    if verdict == "no difference":
        notes.append(f"Differences up to {matters:.3g} do not matter.")
    decided = verdict in BETTER or ignored
    more = None if decided or found is None else compare.more_pairs(found, matters)
    if found is None and not decided:
        more = LEAST_PAIRS
    pairs = 0 if found is None else found.pairs
    runs_here = same and min(one, other) >= 0 and not study.file.only_in_python
    command = _decide(study.name, one, other, pairs, more) if runs_here and not decided else ""
    return Answer(
        study.name, study.metric, verdict, best, *sides, found, matters,
        0 if verdict in BETTER else more, command, tuple(notes),
    )  # fmt: skip


def _compared(
    study: Study, sides: tuple[Side, ...], sign: float, ours: Mapping[int, float],
    theirs: Mapping[int, float], all_runs: Mapping[int, Mapping[int, float]], noise: Noise,
) -> Comparison | None:  # fmt: skip
    """The comparison that the runs allow: the truth, runs in rounds, or single ones."""
    one, other = sides
    if study.workload.deterministic and one.score is not None and other.score is not None:
        return exactly(sign * (one.score - other.score))
    if ours.keys() & theirs.keys():
        signed = {i: {k: sign * v for k, v in runs.items()} for i, runs in all_runs.items()}
        others = [runs for i, runs in signed.items() if i not in (one.number, other.number)]
        return compare.in_rounds(signed[one.number], signed[other.number], others, _known(study))
    if one.score is None or other.score is None:
        return None
    first = [sign * v for v in ours.values()] or [sign * one.score]
    second = [sign * v for v in theirs.values()] or [sign * other.score]
    return compare.single(first, second, noise)


def _known(study: Study) -> Noise:
    """The noise of a run by the races before this study's, as its own race took it into account."""
    stored = CONFIRMED.of(study.attrs).get("known")
    return Noise(*stored) if stored else UNKNOWN


def _noise(study: Study, material: Material | None) -> Noise:
    """The noise of a run of this study; where it is not known, of other studies with the same metric."""
    found = noise_between_seeds(study)
    return found if found.freedom or material is None else noise_between_seeds(material.studies, study.metric)


def _decide(study: str, one: int, other: int, pairs: int, more: int | None) -> str:
    """The command that runs both on further seeds."""
    seeds = pairs + (more or LEAST_PAIRS)
    return f"tuner verify {study} --trial {one} --trial {other} --seeds {max(LEAST_PAIRS, seeds)}"
