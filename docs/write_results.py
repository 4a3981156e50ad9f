"""Writes docs/results.md and its plots from the results folder of a campaign. All figures are computed.

    python docs/write_results.py RESULTS          # also stores the figures and puts them into the other pages

RESULTS holds the campaign (studies.db, runs/, ensembles/) and `evaluations/`, where the commands of
docs/campaign.sh have written their answers. The template holds the words. The figures between its marks go to
docs/figures.json.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
from matplotlib.figure import Figure

from tuner.base.words import duration, in_words
from tuner.claims import judge, verdicts
from tuner.claims import material as data
from tuner.claims.evidence import REUSED
from tuner.claims.material import Material, Study, Trial
from tuner.claims.verdicts import Finding
from tuner.definition.loading import shipped_campaign
from tuner.show.report import figures as charts
from tuner.show.report import sections, words
from tuner.show.report.charts import Bars
from tuner.storage.access import default_url, open_records

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import figures

CONFIRM = ".confirm"
CLOCK = "true operation + row number, no sensors"
PAUSE = timedelta(minutes=5)  # without a running trial, the campaign counts as stopped
DOCS = Path(__file__).parent
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "results", "font.size": 9})


def main(results: Path, page: Path = DOCS / "results.md", stored: Path = figures.FILE) -> None:
    """Reads `results`, writes the page, its plots beside it, and its figures to `stored`."""
    plots = page.parent / "results"
    material = data.load(open_records(default_url(results)), [], results, made=datetime.now())
    expected = {name + CONFIRM for name in shipped_campaign().studies}
    retrained = [name for name in _all_names(results) if name in expected]
    confirmations = data.load(open_records(default_url(results)), retrained, results, made=datetime.now())
    found = verdicts.findings(material)
    answers = evaluations(results / "evaluations")
    plots.mkdir(exist_ok=True)
    plot_claims(found, plots / "claims.svg")
    plot_campaign(material.studies, plots / "campaign.svg")
    plot_front(_study(material.studies, "architecture_sweep"), plots / "front.svg")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters |= {"percent": percent, "seeds": seeds}
    template = environment.from_string((DOCS / "results_template.md").read_text())
    text = template.render(
        studies=[
            row(study, _trials_of(study.name + CONFIRM, confirmations.studies), material)
            for study in material.studies
        ],
        cost=campaign_cost(material.studies, confirmations.studies, material.pairs),
        findings=found,
        notes=sections.notes_on_pairs(found),
        claim_counts=sections.verdict_counts(found),
        evaluations=answers,
    )
    page.write_text(text, encoding="utf-8")
    values, units = figures.found_in(text)
    last = max((t.ended for s in material.studies for t in s.trials if t.ended), default=datetime.now())
    figures.record(
        values | shares(answers),
        command="bash docs/campaign.sh data/mill results vocabulary_4digit_hybrid.json",
        units=units,
        measured=last.date(),
        file=stored,
    )
    kept = [key for key in figures.load(stored) if key.startswith("campaign.") and key not in values]
    if kept := sorted(set(kept) - set(shares(answers))):
        sys.stderr.write(
            f"kept from an earlier campaign, as {results} has no answer for them: {', '.join(kept)}\n"
        )


def shares(answers: dict[str, Any]) -> dict[str, figures.Value]:
    """Single figures, in percent, that other pages have in a sentence."""
    found = {}
    if told := answers["baseline"]["baselines"].get(CLOCK):
        found["campaign.clock_exact"] = percent(told["exact_acc"])
    if runs := answers.get("default"):
        found["campaign.default_operation"] = percent(
            statistics.fmean(run["test/operation_acc"] for run in runs)
        )
    if "refit" in answers:
        found["campaign.refit_operation"] = percent(answers["refit"]["operation_acc"])
    return found


def row(study: Study, confirmed: Sequence[Trial], material: Material) -> dict[str, Any]:
    """A study as one row of the table of studies. `confirmed`: the trials that retrained its best."""
    spent = words.spent(study)
    winner = study.winner
    answer = judge.of_study(study, material)
    found = answer.found
    return {
        "name": study.name,
        "finished": len(study.finished),
        "complete": study.count("complete"),
        "pruned": study.count("pruned"),
        "failed": study.count("failed"),
        "epochs": spent.epochs,
        "saved": spent.saved_epochs,
        "wall": duration(_seconds(sittings([*study.trials, *confirmed]))),
        "race": duration(_seconds(sittings(confirmed))) if confirmed else "–",
        "raced": sum(trial.complete for trial in confirmed),
        "metric": study.metric,
        "default": study.default.value if study.default else None,
        "best": winner.value if winner else None,
        "gain": answer.interval_words if found and (found.pairs or found.exact) else "",
        "known": " ".join([answer.sentence, *judge.after_race(study)[:1]]),
        "cost": str(spent),
        "winner": in_words(winner.params) if winner else "",
    }


def campaign_cost(
    studies: Sequence[Study], confirmations: Sequence[Study], pairs: Sequence[Study]
) -> dict[str, Any]:
    """Wall time of the studies and their confirmations without pauses, and training time of the agents;
    apart from them the wall time and runs of `pairs`, which decided claims.
    """
    trials = [t for s in (*studies, *confirmations) for t in s.trials]
    at_work = sittings(trials)
    of_seeds = [s for s in studies if [p.name for p in s.file.space.parameters] == ["seed"]]
    return {
        "wall": duration(_seconds(at_work)),
        "searching": duration(sum(_seconds(sittings(s.trials)) for s in studies if s not in of_seeds)),
        "seeds": duration(sum(_seconds(sittings(s.trials)) for s in of_seeds)),
        "racing": duration(sum(_seconds(sittings(s.trials)) for s in confirmations)),
        "sittings": len(at_work),
        "training": duration(sum(t.seconds for t in trials)),
        "trials": sum(len(study.finished) for study in studies),
        "retrained": sum(len(study.finished) for study in confirmations),
        "repeated": sum(REUSED in t.result for t in trials),
        "epochs": sum(t.epochs for t in trials if REUSED not in t.result),
        "claims_wall": duration(_seconds(sittings([t for s in pairs for t in s.trials]))),
        "claims_runs": sum(len(study.finished) for study in pairs),
    }


def sittings(trials: Sequence[Trial]) -> list[tuple[datetime, datetime]]:
    """The times at which trials were running: from start to end, without pauses."""
    found: list[tuple[datetime, datetime]] = []
    for start, end in sorted((t.started, t.ended) for t in trials if t.started and t.ended):
        if found and start - found[-1][1] < PAUSE:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _seconds(spans: Sequence[tuple[datetime, datetime]]) -> float:
    return sum((end - start).total_seconds() for start, end in spans)


def evaluations(folder: Path) -> dict[str, Any]:
    """The JSON files in `folder`, by name. Runs that differ only in the seed become a list."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json")):
        answer, (stem, of_seed, _) = json.loads(path.read_text()), path.stem.rpartition("_seed")
        if of_seed:
            found.setdefault(stem, []).append(answer)
        else:
            found[path.stem] = answer
    return found


def percent(values: Any, digits: int = 1) -> str:
    """A share as percent. For several runs: the mean, with the range in brackets."""
    if isinstance(values, list):
        low, high = min(values), max(values)
        spread = f" ({100 * low:.{digits}f}–{100 * high:.{digits}f})" if len(values) > 1 else ""
        return f"{100 * statistics.fmean(values):.{digits}f}{spread}"
    return f"{100 * values:.{digits}f}"


def seeds(runs: Sequence[Any]) -> str:
    return f"{len(runs)} seed{'' if len(runs) == 1 else 's'}"


def plot_campaign(studies: Sequence[Study], path: Path) -> None:
    """Plots the objective of every trial over the time of the campaign, and the best so far of each study."""
    trained = [s for s in studies if not s.workload.deterministic]
    at_work = sittings([t for s in trained for t in s.trials])

    def minutes(ended: datetime) -> float:
        return _seconds([(a, min(b, ended)) for a, b in at_work if a < ended]) / 60

    figure = Figure(figsize=(7.5, 2.8), layout="constrained")
    axes = figure.subplots()
    for place, study in enumerate(trained):
        ended = [(t.ended, t.value, t.complete) for t in study.finished if t.ended and t.value is not None]
        points = sorted((minutes(time), value, whole) for time, value, whole in ended)
        for complete, mark, colour in ((False, ".", "0.75"), (True, "o", ("black", "0.45")[place % 2])):
            some = [(x, y) for x, y, whole in points if whole is complete]
            axes.plot([x for x, _ in some], [y for _, y in some], mark, ms=3, color=colour)
        first, last = points[0][0], points[-1][0]
        axes.annotate(
            study.name.replace("_", "\n", 1), (statistics.fmean((first, last)), 0.02),
            xycoords=("data", "axes fraction"), ha="center", fontsize=7,
        )  # fmt: skip
        axes.axvline(last, lw=0.5, color="0.85")
    axes.set(xlabel="minutes of the campaign", ylabel="objective on select")
    axes.set_ylim(bottom=0.5)
    _save(figure, path)


def plot_claims(found: Sequence[Finding], path: Path) -> None:
    """Plots every claim's effect with its interval, in units of the difference that matters."""
    chart = charts.claims(found)
    figure = Figure(
        figsize=(7.5, 0.4 + 0.22 * (len(chart.plots[0].labels) if chart else 1)), layout="constrained"
    )  # type: ignore[union-attr]
    axes = figure.subplots()
    axes.axvspan(-1, 1, color="0.92", lw=0)
    axes.axvline(0, color="0.6", lw=0.5)
    for bars in chart.plots if chart else ():
        assert isinstance(bars, Bars)
        for place, label in enumerate(bars.labels):
            colour = "0.6" if label.endswith("(open)") else "black"
            axes.plot([bars.low[""][place], bars.high[""][place]], [place, place], color=colour, lw=1)
            axes.plot(bars.groups[""][place], place, "o", ms=3, color=colour)
        axes.set_yticks(
            range(len(bars.labels)), [textwrap.shorten(t, 70, placeholder=" …") for t in bars.labels]
        )
        axes.tick_params(axis="y", labelsize=6, length=0)
        axes.invert_yaxis()
        axes.set(xlabel=bars.x)
    axes.spines["left"].set_visible(False)
    _save(figure, path)


def plot_front(study: Study, path: Path) -> None:
    """Plots accuracy against the number of parameters: all complete trials, with the front in black."""
    figure = Figure(figsize=(4.2, 2.6), layout="constrained")
    axes = figure.subplots()
    front = {t.number for t in study.front}
    for chosen, colour, size in ((False, "0.7", 3), (True, "black", 5)):
        points = [t for t in study.ranked if t.size and (t.number in front) is chosen]
        axes.plot([t.size / 1e6 for t in points], [t.value for t in points], "o", color=colour, ms=size)  # type: ignore[operator]
    axes.set(xlabel="million parameters", ylabel=study.metric)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    figure.axes[0].spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def _trials_of(name: str, studies: Sequence[Study]) -> Sequence[Trial]:
    return next((study.trials for study in studies if study.name == name), ())


def _study(studies: Sequence[Study], name: str) -> Study:
    return next(study for study in studies if study.name == name)


def _all_names(results: Path) -> list[str]:
    import optuna

    return list(optuna.get_all_study_names(open_records(default_url(results))))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
    subprocess.run([sys.executable, DOCS / "write_figures.py"], check=True)
