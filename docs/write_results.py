"""Writes docs/results.md and its plots from a campaign's results folder; no figure in it is typed by hand.

    python docs/write_results.py RESULTS

RESULTS holds the campaign (studies.db, runs/, ensembles/) and `evaluations/`, where the commands that
docs/results_template.md lists have written their answers. The template holds the words.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
from matplotlib.figure import Figure

from model.config import Config
from tuner.report import data, ledger, words
from tuner.report.data import Study
from tuner.search.winners import in_words
from tuner.storage.access import default_url, open_records
from tuner.storage.study_store import RETRAINED
from tuner.view import duration

DOCS = Path(__file__).parent
PLOTS = DOCS / "results"
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "results", "font.size": 9})


def main(results: Path) -> None:
    """Reads `results` and writes the page."""
    material = data.load(open_records(default_url(results)), [], results, made=datetime.now())
    everything = data.load(
        open_records(default_url(results)), _all_names(results), results, made=datetime.now()
    )
    PLOTS.mkdir(exist_ok=True)
    plot_campaign(material.studies, PLOTS / "campaign.svg")
    plot_front(_study(material.studies, "architecture_sweep"), PLOTS / "front.svg")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters["percent"] = percent
    template = environment.from_string((DOCS / "results_template.md").read_text())
    text = template.render(
        studies=[row(study) for study in material.studies],
        cost=campaign_cost(everything.studies),
        ledger=ledger.ledger(material),
        confirmed=[study for study in material.studies if study.winner and study.file.on == "train"],
        sentences=words.verified_sentence,
        gain=words.gain,
        default_config=Config().to_dict(),
        evaluations=evaluations(results / "evaluations"),
    )
    (DOCS / "results.md").write_text(text)


def row(study: Study) -> dict[str, Any]:
    """A study as one line of the table of studies."""
    spent = words.cost(study)
    times = [(t.started, t.ended) for t in study.trials if t.started and t.ended]
    wall = (max(e for _, e in times) - min(s for s, _ in times)).total_seconds() if times else 0.0
    winner = study.winner
    return {
        "name": study.name,
        "finished": len(study.finished),
        "pruned": study.count("pruned"),
        "failed": study.count("failed"),
        "epochs": spent.epochs,
        "saved": spent.saved_epochs,
        "wall": duration(wall),
        "metric": study.metric,
        "default": study.default.value if study.default else None,
        "best": winner.value if winner else None,
        "gain": words.gain(study) if winner is not None and winner is not study.default else None,
        "winner": in_words(winner.params) if winner else "",
    }


def campaign_cost(studies: Sequence[Study]) -> dict[str, Any]:
    """Wall time from the first trial's start to the last one's end, and agents' hours of training."""
    trials = [t for s in studies for t in s.trials if t.started and t.ended]
    wall = max(t.ended for t in trials) - min(t.started for t in trials)  # type: ignore[type-var, operator]
    return {
        "wall": duration(wall.total_seconds()),
        "minutes": wall.total_seconds() / 60,
        "training": duration(sum(t.seconds for t in trials)),
        "hours": sum(t.seconds for t in trials) / 3600,
        "trials": len([t for s in studies if not s.name.endswith(RETRAINED) for t in s.finished]),
        "epochs": sum(t.epochs for t in trials),
    }


def evaluations(folder: Path) -> dict[str, Any]:
    """The answers in `folder`, by file name; runs that differ in their seed alone become a list."""
    found: dict[str, Any] = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    grouped: dict[str, Any] = {}
    for name, answer in sorted(found.items()):
        stem = name.rpartition("_seed")[0]
        if stem:
            grouped.setdefault(stem, []).append(answer)
        else:
            grouped[name] = answer
    return grouped


def percent(values: Any, digits: int = 1) -> str:
    """A share as percent; of several runs the mean and, in brackets, the range."""
    if isinstance(values, list):
        low, high = min(values), max(values)
        spread = f" ({100 * low:.{digits}f}–{100 * high:.{digits}f})" if len(values) > 1 else ""
        return f"{100 * statistics.fmean(values):.{digits}f}{spread}"
    return f"{100 * values:.{digits}f}"


def plot_campaign(studies: Sequence[Study], path: Path) -> None:
    """The objective of every trial over the campaign's minutes, and the best so far of each study."""
    trained = [s for s in studies if s.file.on == "train"]
    start = min(t.started for s in trained for t in s.trials if t.started)
    figure = Figure(figsize=(7.5, 2.8), layout="constrained")
    axes = figure.subplots()
    for place, study in enumerate(trained):
        ended = sorted((t for t in study.finished if t.ended and t.value is not None), key=lambda t: t.ended)  # type: ignore[arg-type, return-value]
        minutes = [(t.ended - start).total_seconds() / 60 for t in ended]  # type: ignore[operator]
        shade = ("black", "0.45")[place % 2]
        full = [t.complete for t in ended]
        axes.plot(
            [m for m, f in zip(minutes, full, strict=True) if not f],
            [t.value for t in ended if not t.complete], ".", ms=3, color="0.75",
        )  # fmt: skip
        axes.plot(
            [m for m, f in zip(minutes, full, strict=True) if f],
            [t.value for t in ended if t.complete], "o", ms=3, color=shade,
        )  # fmt: skip
        axes.annotate(
            study.name.replace("_", "\n", 1),
            (statistics.fmean((minutes[0], minutes[-1])), 0.02),
            xycoords=("data", "axes fraction"), ha="center", fontsize=7,
        )  # fmt: skip
        axes.axvline(minutes[-1], lw=0.5, color="0.85")
    axes.set(xlabel="minutes since the campaign's start", ylabel="objective on select")
    axes.set_ylim(bottom=0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def plot_front(study: Study, path: Path) -> None:
    """Accuracy against the number of parameters: every complete trial, the front in black."""
    figure = Figure(figsize=(4.2, 2.6), layout="constrained")
    axes = figure.subplots()
    front = {t.number for t in study.front}
    for chosen, colour, size in ((False, "0.7", 3), (True, "black", 5)):
        points = [t for t in study.ranked if t.size and (t.number in front) is chosen]
        axes.plot([t.size / 1e6 for t in points], [t.value for t in points], "o", color=colour, ms=size)  # type: ignore[operator]
    axes.set(xlabel="million parameters", ylabel=f"{study.metric}")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def _study(studies: Sequence[Study], name: str) -> Study:
    return next(study for study in studies if study.name == name)


def _all_names(results: Path) -> list[str]:
    import optuna

    return list(optuna.get_all_study_names(open_records(default_url(results))))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
