"""The report on campaigns whose answers are known: pages, hostile names, thin studies, verdicts, PDF."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import math
import re
import shutil
import subprocess
from copy import copy
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import optuna
import pytest
from rich.console import Console

from tuner.base.words import slug
from tuner.claims import judge, verdicts
from tuner.claims import material as data
from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile
from tuner.plugins.dashboard import notes
from tuner.show.report import cards, figures, html, palette, sections, terminal, words
from tuner.show.report.blocks import Cards
from tuner.show.report.charts import Bars, Chart, Panel, Series
from tuner.storage import study_store
from tuner.storage.access import default_url, open_records
from tuner.storage.attributes import CONFIRMED

MADE = datetime(2026, 1, 7)
HOSTILE = '<img src=x onerror=document.title="owned">'
STUDY = {
    "method": "bayes",
    "run_cap": 12,
    "metric": {"name": "val/overall_acc", "goal": "maximize"},
    "parameters": {
        "d_model": {"values": [64, 128, 256]},
        "learning_rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
        "optimizer": {"values": ["adamw", "sgd"]},
    },
    "tuner": {
        "max_epochs": 9,
        "pruner": {"type": "hyperband", "min_resource": 1, "max_resource": 9, "eta": 3},
        "hypotheses": [{"claim": "adamw beats sgd", "where": "optimizer == 'adamw'"}],
    },
}


def write_study(folder: Path, name: str = "small", **changes: Any) -> StudyFile:
    raw = {**STUDY, "name": name, **changes}
    path = folder / f"{slug(name)}.yaml"
    path.write_text(json.dumps(raw))
    return load_study_file(path)


def load(results: Path) -> data.Material:
    return data.load(open_records(default_url(results)), (), results, made=MADE)


@pytest.fixture(scope="module")
def material(campaign: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> data.Material:
    """One study of 12 trials and a bundle, with a hostile claim, purpose and parameter value."""
    folder = tmp_path_factory.mktemp("report")
    parameters = {**STUDY["parameters"], "note": {"values": [HOSTILE, "=1+1"]}}  # type: ignore[dict-item]
    tuner = {
        **STUDY["tuner"],  # type: ignore[dict-item]
        "purpose": HOSTILE,
        "hypotheses": [{"claim": HOSTILE, "where": "optimizer == 'adamw'"}],
        "objective": "objective.py:train",  # parameters of any name
    }
    file = write_study(folder, parameters=parameters, tuner=tuner)
    campaign.make_campaign(folder / "results", files=[file])
    return load(folder / "results")


def test_every_section_and_chart_of_the_page_is_there(material: data.Material, tmp_path: Path) -> None:
    document = sections.document(material)
    written = html.write(document, tmp_path / "page.html")
    page = written[0].read_text()
    assert [s.anchor for s in document.sections] == ["summary", "hypotheses", "study-small", "environment"]
    for chart in document.charts():
        assert f'href="page_data/{chart.slug}.csv"' in page
        with (tmp_path / "page_data" / f"{chart.slug}.csv").open() as file:
            assert len(list(csv.reader(file))) > 1, chart.slug
    kinds = {chart.slug.rpartition("_")[2] for chart in document.charts()}
    assert kinds >= {"history", "parallel", "importances", "slices", "pairs", "curves", "timeline"}
    assert kinds >= {"edf", "rank", "parameters", "pruning"}
    assert written[0].stat().st_size < 2e6 and "plotly" not in page.lower()


def test_ensembles_and_programs_stand_after_studies_of_recordings(
    campaign: ModuleType, tmp_path: Path
) -> None:
    campaign.make_campaign(tmp_path, trials={"loss_weighting": 6}, files=[load_study_file("loss_weighting")])
    document = sections.document(load(tmp_path))
    anchors = [section.anchor for section in document.sections]
    assert anchors[anchors.index("study-loss_weighting") + 1 :][-4:] == [
        "ensembles",
        "bundle-campaign",
        "data",
        "environment",
    ]
    ensembles = document.sections[anchors.index("ensembles")]
    slugs = [block.slug for block in ensembles.blocks if isinstance(block, Chart)]
    assert slugs == ["ensemble_sizes", "programs_campaign", "paths_campaign"]
    kinds = {chart.slug.rpartition("_")[2] for chart in document.charts()}
    assert kinds >= {"weights", "contributions", "calibration", "reliability", "decoding", "confusion"}


def test_a_card_answers_for_its_study(material: data.Material) -> None:
    (study,) = material.studies
    (found,) = [b for b in sections.document(material).sections[0].blocks if isinstance(b, Cards)]
    (card,) = found.cards
    winner = study.winner
    assert winner is not None and card.number == winner.number
    values = {setting.name: setting for setting in card.settings}
    assert set(values) >= set(winner.config), "the whole configuration, constant values too"
    for name in study.searched:
        assert values[name].changed == (winner.config[name] != study.default.config[name])  # type: ignore[union-attr]
    assert [fact.title for fact in card.facts] == [
        f"Winner: trial {winner.number}",
        "Default: trial 0",
        "Gain",
        "Cost",
    ]
    assert card.facts[0].value == card.score and card.facts[3].note.startswith("of training: 12 trials, ")
    shown = card.values
    assert shown is not None and list(shown.headings) == ["parameter", "winner", "default"]
    assert {row[0] for row in shown.rows} == set(study.searched)
    assert f"optimizer: {winner.config['optimizer']}" in card.yaml
    assert card.verdict and card.next.startswith("tuner ")


def test_a_card_shows_no_secret() -> None:
    config = {"lr": 0.1, "wandb": {"api_key": "0123456789"}, "password": "sesame"}
    assert cards.without_secrets(config) == {"lr": 0.1, "wandb": {"api_key": "***"}, "password": "***"}


def test_the_winner_is_marked_and_it_is_said_why_others_scored_better(material: data.Material) -> None:
    (study,) = material.studies
    best, second = study.ranked[:2]
    again = [{"number": best.number, "again": [0.60, 0.62]}, {"number": second.number, "again": [0.65, 0.67]}]
    raced = replace(study, attrs={**study.attrs, CONFIRMED: {"number": second.number, "candidates": again}})
    said = words.why_not_higher(raced)
    assert said.startswith(
        f"Trial {second.number} is the winner, although trial {best.number} scored better."
    )
    assert "0.6600 on average there" in said and f"trial {best.number} 0.6100" in said
    table = sections.trials_table(raced)
    assert table.rows[0][0] == f"{second.number} ★ winner" and table.marked == {0}
    assert table.rows[1][0] == str(best.number) and table.rows[1][2] == "0.6100 (2)", "then by rank"

    missed = replace(best, violation=0.1)
    infeasible = replace(study, ranked=(second, missed, *study.ranked[2:]))
    assert f"trial {best.number} misses the constraint" in words.why_not_higher(infeasible)
    assert words.why_not_higher(study) == ""


def test_the_headline_is_the_retrained_mean(material: data.Material) -> None:
    (study,) = material.studies
    best = study.ranked[0]
    raced = {"number": best.number, "candidates": [{"number": best.number, "again": [0.60, 0.61, 0.65]}]}
    card = cards.card(replace(study, attrs={**study.attrs, CONFIRMED: raced}), material)
    assert card.score == card.facts[0].value == "0.6200"
    assert card.facts[0].note == f"{study.metric}, mean of 3 runs, {best.value:.4f} in the search"


def test_a_study_that_no_trial_of_meets_the_constraint_shows_the_closest(material: data.Material) -> None:
    (study,) = material.studies
    missed = []
    for miss, trial in enumerate(reversed(study.ranked), 1):
        frozen = copy(trial.frozen)
        frozen.system_attrs = {"constraints:ms <= 1": float(miss)}
        missed.append(replace(trial, violation=float(miss), frozen=frozen))
    card = cards.card(replace(study, ranked=tuple(missed)), material)
    assert [fact.title for fact in card.facts] == [
        f"Best score: trial {missed[-1].number}",
        f"Closest: trial {missed[0].number}",
        "Cost",
    ]
    assert (card.verdict, card.score, card.values) == ("no winner", "", None)
    assert card.todo == "Loosen the constraint, or run more trials" and card.next.endswith("--trials 24")


def test_a_parameter_may_be_called_like_a_column(campaign: ModuleType, tmp_path: Path) -> None:
    parameters = {"epochs": {"values": [1, 2]}, "state": {"values": ["on", "off"]}}
    file = write_study(tmp_path, parameters=parameters, tuner={"objective": "objective.py:train"})
    campaign.make_campaign(tmp_path / "results", files=[file])
    (study,) = load(tmp_path / "results").studies
    headings = list(sections.trials_table(study).headings)
    assert headings.count("epochs") == headings.count("state") == 2


@pytest.mark.parametrize("theme", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
def test_text_and_marks_stand_out_from_the_page(theme: dict[str, str]) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    def contrast(name: str, ground: str) -> float:
        low, high = sorted([luminance(theme[name]), luminance(theme[ground])])
        return (high + 0.05) / (low + 0.05)

    for text in ("ink", "quiet", "link", "good", "bad"):
        assert min(contrast(text, "paper"), contrast(text, "soft")) >= 4.5, text
    for mark in ("s0", "s1", "s2", "s3", "s4", "faint"):
        assert contrast(mark, "paper") >= 3, mark


def test_a_page_takes_nothing_from_the_network(material: data.Material) -> None:
    page = html.render(sections.document(material), data="d")
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert "default-src 'none'" in page


def test_names_from_a_study_are_never_markup(material: data.Material) -> None:
    page = html.render(sections.document(material), data="d")
    assert "<img" not in page
    assert "&lt;img src=x" in page
    numbers = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page)
    assert len(numbers) > 10 and not [figure for figure in numbers if "<" in figure]


def test_no_cell_of_a_csv_file_is_a_formula(material: data.Material, tmp_path: Path) -> None:
    html.write(sections.document(material), tmp_path / "page.html")
    cells = [c for p in tmp_path.glob("page_data/*.csv") for row in csv.reader(p.open()) for c in row]
    assert "'=1+1" in cells
    assert not [c for c in cells if c.startswith(("=", "@", "+"))]


@pytest.mark.parametrize(
    ("trials", "sentence"),
    [(0, "no trial yet"), (1, "There is only one configuration"), (-3, "trials were pruned")],
    ids=["no trial", "one trial", "only pruned ones"],
)
def test_thin_studies_get_a_sentence(
    campaign: ModuleType, tmp_path: Path, trials: int, sentence: str
) -> None:
    file = write_study(tmp_path)
    results = tmp_path / "results"
    records = open_records(default_url(results), create=True)
    if trials > 0:
        campaign.make_study(records, file, results, count=trials, rng=np.random.default_rng(0), prune=0)
    else:
        study = study_store.open_study(records, file, study_store.Origin(base={}))
        for _ in range(-trials):
            frozen = optuna.trial.create_trial(
                state=optuna.trial.TrialState.PRUNED,
                params={"d_model": 64, "learning_rate": 1e-3, "optimizer": "sgd"},
                distributions=file.space.distributions(),
                intermediate_values={1: 0.3},
            )
            study.add_trial(frozen)
    material = load(results)
    page = html.render(sections.document(material), data="d")
    assert sentence in page
    console = Console(width=120, record=True, file=(tmp_path / "out.txt").open("w"))
    terminal.show(material, console)
    assert sentence in console.export_text()
    pdf = pytest.importorskip("tuner.show.report.pdf")
    pdf.write(sections.document(material), tmp_path / "thin.pdf")


def test_matched_pairs_find_what_was_put_in(campaign: ModuleType, tmp_path: Path) -> None:
    three, two = "vocab_bucket_digits == 3", "vocab_bucket_digits == 2"
    tuner = {"max_epochs": 3, "hypotheses": [
        {"claim": "3 digits beat 2", "where": three, "against": two, "gain": [0.06, 0.12]},
        {"claim": "2 digits beat 3", "where": two, "against": three},
        {"claim": "seed 1 is lucky", "where": "seed == 1"},
    ]}  # fmt: skip
    parameters = {"vocab_bucket_digits": {"values": [2, 3]}, "seed": {"values": [0, 1, 2, 3, 4, 5]}}
    file = write_study(tmp_path, method="grid", parameters=parameters, tuner=tuner)
    campaign.make_campaign(tmp_path / "results", files=[file])
    good, bad, _ = verdicts.findings(load(tmp_path / "results"))[:3]
    assert (good.verdict, good.how) == ("as claimed", "matched pairs")
    assert (bad.verdict, bad.how) == ("opposite", "matched pairs")
    put_in = 0.09 * (1 - 0.6 * math.exp(-1))  # after 3 epochs of the synthetic curve
    assert good.low is not None and good.high is not None and good.low < put_in < good.high


def test_a_surrogate_says_that_it_is_one(material: data.Material) -> None:
    found = verdicts.findings(material)[0]
    assert found.how in ("surrogate", "none")
    if found.how == "surrogate":
        assert "a regression (a model)" in found.basis


def test_a_gain_without_repeats_has_no_interval(material: data.Material) -> None:
    (study,) = material.studies
    answer = judge.of_study(study)
    assert answer.verdict == "too few runs" and answer.found is not None and answer.found.interval is None
    assert "∞" not in answer.sentence


def test_a_default_that_wins_has_no_gain_over_itself(material: data.Material) -> None:
    (study,) = material.studies
    assert study.default is not None
    confirmed = {CONFIRMED: {"number": study.default.number, "default": True, "candidates": []}}
    answer = judge.of_study(replace(study, attrs={**study.attrs, **confirmed}))
    assert answer.winner == study.default.number
    assert answer.one is not None and answer.other is not None
    assert answer.one.number != answer.other.number == study.default.number, "the next best against it"


def test_the_pdf_embeds_its_fonts_and_has_no_bitmap(material: data.Material, tmp_path: Path) -> None:
    pdf = pytest.importorskip("tuner.show.report.pdf")
    pdf.write(sections.document(material), tmp_path / "report.pdf")
    content = (tmp_path / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF-1.4")
    assert b"/FontFile2" in content and b"/Type3" not in content
    assert b"report_data/small_history.csv" in content


def test_no_tick_labels_of_a_figure_overlap(material: data.Material) -> None:
    charts = pytest.importorskip("tuner.show.report.matplotlib_charts")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    words = [f"a rather long word {i}" for i in range(4)]
    crowded = Panel([Series("complete", list(range(10_000_000, 10_000_012)), [0.1] * 12)], "x", "y")
    named = Panel([Series("complete", words, [0.1, 0.2, 0.3, 0.4])], "x", "y", words=words)
    drawn = [plot for chart in sections.document(material).charts() for plot in chart.plots]
    for plot in [*drawn, crowded, named]:
        figure = Figure(figsize=(3.4, 2.6))
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.25, 0.3, 0.7, 0.55))
        charts.draw(plot, axes, wide=3.4)
        figure.canvas.draw()
        for axis, low, high in ((axes.xaxis, "x0", "x1"), (axes.yaxis, "y0", "y1")):
            shown = [
                t for t in axis.get_ticklabels() if t.get_text() and t.get_visible() and not t.get_rotation()
            ]
            spans = sorted(
                (getattr(b, low), getattr(b, high)) for b in (t.get_window_extent() for t in shown)
            )
            assert all(a[1] <= b[0] + 0.5 for a, b in pairwise(spans)), plot


def test_a_wide_table_of_the_pdf_keeps_every_column() -> None:
    pdf = pytest.importorskip("tuner.show.report.pdf")
    headings = [f"a_long_parameter_name_{i}" for i in range(20)]
    parts = pdf._parts(headings, [["0.123456789"] * 20])
    assert len(parts) > 1 and all(part[0] == 0 for part in parts), "each part has the number of the trial"
    assert sorted({i for part in parts for i in part}) == list(range(20))


CHECK = """<script>addEventListener("load", () => setTimeout(async () => {
  const errors = window.problems, study = document.getElementById("study-small");
  const find = (selector) => study.querySelector(selector);
  const all = (selector) => study.querySelectorAll(selector);
  const rows = () => all(".trials tbody tr:not([hidden])").length;
  const faded = () => all("svg .off").length;
  const filter = find(".filter");
  const filtered = (text) => {
    filter.value = text;
    filter.dispatchEvent(new Event("input"));
    return rows();
  };
  const texts = ["", "optimizer == sgd", "optimizer=sgd or optimizer=adamw", "not sgd", "no-such-word",
    "optimizer =="];
  const left = Object.fromEntries(texts.map((text) => [text, filtered(text)]));
  const wrong = find(".wrong").textContent;
  const dimmed = [filtered("optimizer == sgd") && faded(), filtered("") && faded()];

  const axis = find(".touch"), at = axis.getBoundingClientRect();
  const drag = (kind, share) => axis.dispatchEvent(new PointerEvent(kind, { pointerId: 1, bubbles: true,
    clientX: at.x + 5, clientY: at.y + share * at.height }));
  axis.setPointerCapture = () => {};
  drag("pointerdown", 0.4); drag("pointermove", 0.9); drag("pointerup", 0.99);
  const brushed = [filter.value, rows()];
  filtered("");

  const heading = find("th button");
  const order = () => [heading.closest("th").ariaSort, find(".trials tbody td").textContent];
  const sorted = [order()];
  for (let i = 0; i < 2; i++) { heading.click(); sorted.push(order()); }
  const before = find(".trials").compareDocumentPosition(find("figure")) === Node.DOCUMENT_POSITION_FOLLOWING;
  const marks = all("svg [data-t]").length;
  find(".pruned").click();
  const more = all("svg [data-t]").length;
  const page = (selector) => [...document.querySelectorAll(selector)];
  const hidden = page("section").filter((s) => s.offsetHeight < 40).map((s) => s.id);
  const undrawn = page(".plot").filter((p) => !p.querySelector("svg.chart")).length;
  const shade = () => getComputedStyle(document.documentElement).backgroundColor;
  document.getElementById("theme").click();
  const dark = shade();
  document.body.style.width = "390px"; dispatchEvent(new Event("resize"));
  await new Promise((done) => setTimeout(done, 300));
  const phone = Math.max(...page("section, header").map((s) => s.scrollWidth));
  const answer = { errors, hidden, dark, phone, undrawn, left, wrong, dimmed, brushed, sorted, before,
    marks, more, title: document.title, wide: document.documentElement.scrollWidth - innerWidth };
  document.body.innerHTML = ""; const out = document.createElement("pre");
  out.id = "answer"; out.textContent = JSON.stringify(answer); document.body.append(out);
}, 200));</script>"""


def test_a_terminal_shows_claims_only_where_a_study_has_some(campaign: ModuleType, tmp_path: Path) -> None:
    for name, tuner in (("with", STUDY["tuner"]), ("without", {"max_epochs": 9})):
        file = write_study(tmp_path, tuner=tuner)
        campaign.make_campaign(tmp_path / name, files=[file])
        console = Console(width=120, record=True, file=io.StringIO())
        terminal.show(load(tmp_path / name), console)
        assert ("hypotheses" in console.export_text()) == (name == "with")


def test_the_page_in_a_browser(material: data.Material, tmp_path: Path) -> None:
    """No error, every plot drawn; filter, brush, sorting and the switch work; dark; on a phone's width."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium (apt-get install chromium)")
    page, *_ = html.write(sections.document(material), tmp_path / "page.html")
    listener = (
        '<script>window.problems = []; addEventListener("error", (e) => problems.push(e.message));'
        "for (const kind of ['error', 'warn']) console[kind] = (...a) => problems.push(a.join(' '));</script>"
    )
    text = re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", page.read_text())  # for this check
    text = text.replace("<head>", "<head>" + listener, 1)
    page.write_text(text.replace("</body>", CHECK + "</body>"))
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=500,12000",
        "--virtual-time-budget=20000",
    ]
    done = subprocess.run(
        [browser, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    found = re.search(r'<pre id="answer">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stderr[-2000:]
    answer = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert answer["errors"] == [] and answer["hidden"] == [] and answer["undrawn"] == 0
    left = answer["left"]
    assert left[""] == left["optimizer=sgd or optimizer=adamw"] == 12 and left["no-such-word"] == 0
    assert 0 < left["optimizer == sgd"] < 12 and left["optimizer == sgd"] + left["not sgd"] == 12
    assert answer["wrong"] == "a value is missing"
    assert answer["dimmed"][0] > 0 and answer["dimmed"][1] == 0, "charts follow the table"
    expression, rows = answer["brushed"]
    assert expression and 0 < rows <= 12, "the table follows the brush"
    assert [kind for kind, _ in answer["sorted"]] == ["none", "ascending", "descending"]
    assert answer["sorted"][1][1].startswith("0") and answer["sorted"][2][1].startswith("11")
    assert answer["before"], "the table stands before the charts"
    assert answer["more"] > answer["marks"], "the switch shows pruned trials"
    assert answer["title"] == "small" and answer["wide"] <= 0 and answer["phone"] <= 390
    assert answer["dark"] == "rgb(20, 24, 29)", "the button turns it dark"


def test_only_the_pages_own_script_may_run(material: data.Material) -> None:
    page = html.render(sections.document(material), data="d")
    script = re.search(r"<script>(.*?)</script>", page, re.S)
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page and "unsafe-inline" not in page
    assert " style=" not in page and not re.search(r"<[^>]* on\w+=", page)


def test_the_dashboard_gets_notes_once(material: data.Material) -> None:
    storage = open_records(default_url(material.results))._backend
    assert notes.write_notes(storage) == 1
    assert notes.write_notes(storage) == 0, "what somebody wrote since then is kept"
    text = notes.note(material.studies[0].file)
    assert "Hypotheses" in text and "<img" not in text


def test_a_race_says_how_sure_the_winner_is(material: data.Material) -> None:
    (study,) = material.studies
    best = study.ranked[0]
    mine, default = [0.70, 0.71, 0.72, 0.70], [0.68, 0.69, 0.699, 0.681]
    raced = {
        "number": best.number, "leader": best.number, "mean": 0.7075, "default": False, "chance": 0.83,
        "candidates": [
            {"number": best.number, "again": mine}, {"number": -1, "again": default, "default": True},
        ],
    }  # fmt: skip
    study = replace(study, trials=tuple(t for t in study.trials if t is not study.default),
                    ranked=tuple(t for t in study.ranked if t is not study.default))  # fmt: skip
    said = words.study_sentences(replace(study, attrs={**study.attrs, CONFIRMED: raced}))
    (answer,) = [line for line in said if "the default configuration: " in line]
    assert answer.startswith(f"Trial {best.number} is better than the default configuration: ")
    assert "0.7075 (mean of 4) against 0.6875 (mean of 4), a difference of +0.0200 [" in answer
    assert "(4 pairs of runs, better with a probability of over 99 %)" in answer
    assert f"The next study starts from trial {best.number} (8 retrainings)." in said
    chance = f"Trial {best.number} is the best of 2 retrained configurations with a probability of 83 %."
    assert chance in said
    none = words.study_sentences(replace(study, attrs={**study.attrs, CONFIRMED: {**raced, "default": True}}))
    assert any(line.startswith("No gain over the default configuration was shown in 8 retr") for line in none)
    alone = {**raced, "default": True, "candidates": raced["candidates"][:1]}
    only = words.study_sentences(replace(study, attrs={**study.attrs, CONFIRMED: alone}))
    assert (
        f"Trial {best.number}: {study.metric} 0.7075 (mean of 4). There is only one configuration"
        in " ".join(only)
    )
    assert not any("retrained configurations" in line for line in only)


def test_the_report_leads_with_gains_and_claims(material: data.Material) -> None:
    made = sections.document(material)
    assert [section.anchor for section in made.sections[:2]] == ["summary", "hypotheses"]


def test_the_figure_of_claims_is_in_units_of_what_matters() -> None:
    found = [
        verdicts.Finding("s", "a", "acc", "as claimed", "matched pairs", "", 0.02, 0.01, 0.03, matters=0.01),
        verdicts.Finding("s", "b", "acc", "open", "surrogate", "", 0.5, -math.inf, math.inf, matters=0.01),
        verdicts.Finding("s", "c", "acc", "open", "none", "", matters=0.01),
    ]
    chart = figures.claims(found)
    assert chart is not None
    (bars,) = chart.plots
    assert isinstance(bars, Bars)
    assert bars.labels == ["s: a (as claimed)", "s: b (open)"]
    assert bars.groups[""] == [2.0, figures.WIDEST]
    assert (bars.low[""][0], bars.high[""][0]) == (1.0, 3.0)
    assert (bars.low[""][1], bars.high[""][1]) == (-figures.WIDEST, figures.WIDEST)
    assert figures.claims(found[2:]) is None
