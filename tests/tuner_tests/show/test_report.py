"""The report on campaigns whose answers are known: pages, hostile names, thin studies, verdicts, PDF."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import optuna
import pytest
from rich.console import Console

from tuner.base.words import slug
from tuner.claims import material as data
from tuner.claims import verdicts
from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile
from tuner.show.dashboard import notes
from tuner.show.report import claim_chart, html, sections, terminal, words
from tuner.show.report.charts import Bars
from tuner.storage import study_store
from tuner.storage.access import default_url, open_records
from tuner.storage.stored import CONFIRMED

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
    assert [s.anchor for s in document.sections] == [
        "summary", "hypotheses", "study-small", "bundle-campaign", "frontier", "environment",
    ]  # fmt: skip
    for chart in document.charts():
        assert f'href="page_data/{chart.slug}.csv"' in page
        with (tmp_path / "page_data" / f"{chart.slug}.csv").open() as file:
            assert len(list(csv.reader(file))) > 1, chart.slug
    kinds = {chart.slug.rpartition("_")[2] for chart in document.charts()}
    assert {"history", "parallel", "importances", "slices", "pairs", "curves", "timeline"} <= kinds
    assert {"weights", "contributions", "optimism", "calibration", "reliability", "decoding"} <= kinds
    assert {"confusion", "sizes"} <= kinds


def test_a_page_takes_nothing_from_the_network(material: data.Material) -> None:
    page = html.render(sections.document(material), data="d", plotly="")
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert "default-src 'none'" in page


def test_names_from_a_study_are_never_markup(material: data.Material) -> None:
    page = html.render(sections.document(material), data="d", plotly="")
    assert "<img" not in page
    assert "&lt;img src=x" in page
    for figure in re.findall(r'<script type="application/json">(.*?)</script>', page):
        assert "<" not in figure
        assert "<img" not in json.dumps(json.loads(figure)), "plotly reads tags in its texts"


def test_no_cell_of_a_csv_file_is_a_formula(material: data.Material, tmp_path: Path) -> None:
    html.write(sections.document(material), tmp_path / "page.html")
    cells = [c for p in tmp_path.glob("page_data/*.csv") for row in csv.reader(p.open()) for c in row]
    assert "'=1+1" in cells
    assert not [c for c in cells if c.startswith(("=", "@", "+"))]


@pytest.mark.parametrize(
    ("trials", "sentence"),
    [(0, "no trial yet"), (1, "Only one trial is complete"), (-3, "trials were pruned")],
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
        study, _ = study_store.open_study(records, file, study_store.Origin(base={}))
        for _ in range(-trials):
            frozen = optuna.trial.create_trial(
                state=optuna.trial.TrialState.PRUNED,
                params={"d_model": 64, "learning_rate": 1e-3, "optimizer": "sgd"},
                distributions=file.space.distributions(),
                intermediate_values={1: 0.3},
            )
            study.add_trial(frozen)
    material = load(results)
    page = html.render(sections.document(material), data="d", plotly="")
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
        assert "a model, not an experiment" in found.basis


def test_a_gain_without_repeats_has_no_interval(material: data.Material) -> None:
    (study,) = material.studies
    lead = words.gain(study)
    assert lead is None or lead.low is None


def test_a_default_that_wins_has_no_gain_over_itself(material: data.Material) -> None:
    (study,) = material.studies
    assert study.default is not None
    confirmed = {CONFIRMED: {"number": study.default.number, "candidates": []}}
    won = replace(study, attrs={**study.attrs, **confirmed})
    assert words.gain(won) is None
    assert "The default configuration itself is the winner." in words.study_sentences(won)


def test_the_pdf_embeds_its_fonts_and_has_no_bitmap(material: data.Material, tmp_path: Path) -> None:
    pdf = pytest.importorskip("tuner.show.report.pdf")
    pdf.write(sections.document(material), tmp_path / "report.pdf")
    content = (tmp_path / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF-1.4")
    assert b"/FontFile2" in content and b"/Type3" not in content
    assert b"report_data/small_history.csv" in content


CHECK = """<script>addEventListener("load", () => setTimeout(async () => {
  const errors = window.problems;
  for (const plot of document.querySelectorAll(".plot")) plot.scrollIntoView();
  const filter = document.querySelector(".filter"), rows = () => document.querySelectorAll(
    ".trials tbody tr:not([hidden])").length;
  const all = rows(); filter.value = "optimizer=sgd"; filter.dispatchEvent(new Event("input"));
  const some = rows(); filter.value = "no such word"; filter.dispatchEvent(new Event("input"));
  const none = rows(); filter.value = ""; filter.dispatchEvent(new Event("input"));
  await new Promise((done) => setTimeout(done, 4000));
  const hidden = [...document.querySelectorAll("section")]
    .filter((s) => s.offsetHeight < 40).map((s) => s.id);
  const undrawn = [...document.querySelectorAll(".plot")]
    .filter((p) => !p.querySelector("svg.main-svg")).length;
  const shade = () => getComputedStyle(document.documentElement).backgroundColor;
  const light = shade(); document.getElementById("theme").click();
  await new Promise((done) => setTimeout(done, 2000));
  const dark = shade() !== light && shade();
  document.body.style.width = "390px";
  const phone = Math.max(...[...document.querySelectorAll("section, header")].map((s) => s.scrollWidth));
  const answer = { errors, hidden, dark, phone, undrawn, all, some, none, title: document.title,
    wide: document.documentElement.scrollWidth - innerWidth };
  document.body.innerHTML = ""; const out = document.createElement("pre");
  out.id = "answer"; out.textContent = JSON.stringify(answer); document.body.append(out);
}, 500));</script>"""


def test_the_page_in_a_browser(material: data.Material, tmp_path: Path) -> None:
    """On a phone's width: no error, every section visible, every plot drawn, the filter filters."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium (apt-get install chromium)")
    page, *_ = html.write(sections.document(material), tmp_path / "page.html")
    listener = (
        '<script>window.problems = []; addEventListener("error", (e) => problems.push(e.message));'
        "for (const kind of ['error', 'warn']) console[kind] = (...a) => problems.push(a.join(' '));</script>"
    )
    text = page.read_text().replace("<head>", "<head>" + listener, 1)
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
    assert answer["all"] == 12 and 0 < answer["some"] < 12 and answer["none"] == 0
    assert answer["title"] == "small" and answer["wide"] <= 0 and answer["phone"] <= 390
    assert answer["dark"] == "rgb(20, 24, 29)", "the button turns it dark, and no plot objects"


def test_the_dashboard_gets_notes_once(material: data.Material) -> None:
    storage = open_records(default_url(material.results))._backend
    assert notes.write_notes(storage) == 1
    assert notes.write_notes(storage) == 0, "what somebody wrote since then is kept"
    text = notes.note(material.studies[0].file)
    assert "Hypotheses" in text and "<img" not in text


def test_a_race_says_how_sure_the_winner_is(material: data.Material) -> None:
    (study,) = material.studies
    best = study.ranked[0]
    raced = {
        "number": best.number, "mean": 0.7, "default": False, "chance": 0.83, "noise": 0.005, "drop": 0.011,
        "gain": {"mean": 0.02, "low": 0.01, "high": 0.03},
        "lead": {"mean": 0.004, "low": -0.002, "high": 0.01},
        "candidates": [{"number": best.number, "again": [0.70, 0.71]}, {"number": -1, "again": [0.68, 0.69]}],
    }  # fmt: skip
    said = words.study_sentences(replace(study, attrs={**study.attrs, CONFIRMED: raced}))
    gain = "+0.0200 [+0.0100, +0.0300] (4 retrainings, paired by seed)"
    assert f"Gain over the default configuration: {gain}." in said
    assert (
        "The best of 2 retrained configurations with a probability of 83%; lead over the runner-up +0.0040 "
        "[-0.0020, +0.0100]; the study overrated it by +0.0110."
    ) in said
    none = words.study_sentences(replace(study, attrs={**study.attrs, CONFIRMED: {**raced, "default": True}}))
    assert any(line.startswith("No gain over the default configuration found: ") for line in none)


def test_the_report_leads_with_gains_and_claims(material: data.Material) -> None:
    made = sections.document(material)
    assert [section.anchor for section in made.sections[:2]] == ["summary", "hypotheses"]


def test_the_figure_of_claims_is_in_units_of_what_matters() -> None:
    found = [
        verdicts.Finding("s", "a", "acc", "as claimed", "matched pairs", "", 0.02, 0.01, 0.03, matters=0.01),
        verdicts.Finding("s", "b", "acc", "open", "surrogate", "", 0.5, -math.inf, math.inf, matters=0.01),
        verdicts.Finding("s", "c", "acc", "open", "none", "", matters=0.01),
    ]
    chart = claim_chart.chart(found)
    assert chart is not None
    (bars,) = chart.plots
    assert isinstance(bars, Bars)
    assert bars.labels == ["s: a (as claimed)", "s: b (open)"]
    assert bars.groups[""] == [2.0, claim_chart.WIDEST]
    assert (bars.low[""][0], bars.high[""][0]) == (1.0, 3.0)
    assert (bars.low[""][1], bars.high[""][1]) == (-claim_chart.WIDEST, claim_chart.WIDEST)
    assert claim_chart.chart(found[2:]) is None
