"""One study through every surface: the same verdict, difference, interval and score everywhere."""

import html
import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import optuna
import pytest

from tuner.__main__ import main
from tuner.claims import judge
from tuner.claims import material as materials
from tuner.claims.answer import Answer
from tuner.plugins.mcp.tools import Tools
from tuner.show.report import html as page
from tuner.show.report import pdf, sections
from tuner.show.report.result import StudyResult
from tuner.storage.access import open_records

pytestmark = pytest.mark.usefixtures("agents_in_this_process")

FILE = """
name: one
method: grid
metric: {name: score, goal: maximize}
parameters: {x: {values: [0.5, 0.9, 0.7]}}
tuner: {objective: "noisy.py:train"}
"""
TRAIN = """
import random


def train(config):
    rng = random.Random(f"{config['x']} {config.get('seed', 0)}")
    return {"score": config["x"] + SPREAD * rng.gauss(0, 1)}
"""


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`run("verdict", "one")`: what the command prints. The study lies in the results folder."""
    (tmp_path / "one.yaml").write_text(FILE)

    def command(*words: str) -> str:
        capsys.readouterr()
        main([*words, "--results", str(tmp_path / "results")])
        return re.sub(r"\s+", " ", capsys.readouterr().out)

    return command


def study(run: Callable[..., str], folder: Path, spread: float, *seeds: str) -> str:
    (folder / "noisy.py").write_text(TRAIN.replace("SPREAD", str(spread)))
    ended = run("study", str(folder / "one.yaml"), "--agents", "1", "--wandb", "off")
    if seeds:
        run("verify", "one", "--top", "3", "--seeds", *seeds, "--agents", "1", "--wandb", "off")
    return ended


@pytest.mark.parametrize(
    ("spread", "seeds", "verdict"),
    [
        (0.01, ("4",), "better"),
        pytest.param(0.2, ("3",), "open", marks=pytest.mark.slow),
        pytest.param(0.01, ("2",), "too few runs", marks=pytest.mark.slow),
        pytest.param(0.01, (), "too few runs", marks=pytest.mark.slow),
    ],
    ids=["better", "open", "two pairs", "never retrained"],
)
def test_every_surface_gives_the_same_answer(
    run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spread: float,
    seeds: tuple[str, ...], verdict: str,
) -> None:  # fmt: skip
    study(run, tmp_path, spread, *seeds)
    results = tmp_path / "results"
    url = f"sqlite:///{results / 'studies.db'}"
    material = materials.load(open_records(url), (), results, made=datetime(2026, 1, 7))
    answer = judge.of_study(material.studies[0], material)
    assert answer.verdict == verdict
    told = answer.to_dict()

    texts = {
        "the end of a study": run("study", str(tmp_path / "one.yaml"), "--agents", "1", "--wandb", "off"),
        "best": run("best", "one"),
        "verdict": run("verdict", "one"),
        "report": run("report", "one"),
        "html": html.unescape(page.render(sections.document(material), data="")),
        "pdf": text_of_pdf(material, tmp_path, monkeypatch),
        "dashboard": note(url, results),
    }
    for surface, text in texts.items():
        assert flat(answer.sentence) in flat(text), surface
        if answer.decide:
            assert flat(answer.decide) in flat(text), surface
    assert flat(answer.headline) in flat(json.dumps(json.loads(run("list", "--json")), ensure_ascii=False))
    assert answer.headline.split(",")[0] in run("list")

    tools = Tools(url, results)
    programs = {
        "verdict --json": json.loads(run("verdict", "one", "--json")),
        "study --json": json.loads(
            run("study", str(tmp_path / "one.yaml"), "--json", "--agents", "1", "--wandb", "off")
        )["verdict"],
        "best --json": next(r["verdict"] for r in json.loads(run("best", "one", "--json")) if "verdict" in r),
        "MCP verdict": tools.verdict("one"),
        "MCP report": tools.report()["answers"]["one"],
        "Python": StudyResult("one", "", results, url).verdict().to_dict(),
    }
    for surface, found in programs.items():
        assert found == told, surface
    card = sections.made.card(material.studies[0], material)
    assert card.score == re.sub(r" \(.*", "", card_score(answer)), "the headline of the report"


def card_score(answer: Answer) -> str:
    sides = [side for side in (answer.one, answer.other) if side and side.number == answer.winner]
    assert sides and sides[0].score is not None
    return f"{sides[0].score:.4f}"


def text_of_pdf(material: materials.Material, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The texts that the PDF is given; in the file they are numbers of glyphs."""
    said: list[str] = []
    text = pdf.Pages._text

    def recorded(self: pdf.Pages, line: str, **options: object) -> None:
        said.append(line)
        text(self, line, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pdf.Pages, "_text", recorded)
    pdf.write(sections.document(material), folder / "report.pdf")
    return " ".join(said)


def note(url: str, results: Path) -> str:
    """The note of the study as the dashboard shows it."""
    pytest.importorskip("optuna_dashboard")
    from optuna_dashboard import get_note

    from tuner.plugins.dashboard.notes import write_notes
    from tuner.plugins.dashboard.storage import DashboardStorage

    records = open_records(url)
    write_notes(records)
    shown = get_note(optuna.load_study(study_name="one", storage=DashboardStorage(records, results)))
    return re.sub(r"\\(.)", r"\1", shown)


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_a_script_that_ignores_its_seed_is_told_so(run: Callable[..., str], tmp_path: Path) -> None:
    study(run, tmp_path, 0.0, "3")
    said = run("verdict", "one")
    assert said.startswith("There are too few runs to say whether") and "100 %" not in said
    assert "exactly the same score, so the work seems to ignore its seed" in said
    assert "deterministic: true" in said and "To decide" not in said
    (tmp_path / "one.yaml").write_text(FILE.replace("tuner: {", "tuner: {deterministic: true, "))
    run("study", str(tmp_path / "one.yaml"), "--agents", "1", "--wandb", "off")
    said = run("verdict", "one")
    assert said.startswith("Trial 1 is better than") and "one run of each is the truth" in said


def test_no_feasible_trial_no_winner(run: Callable[..., str], tmp_path: Path) -> None:
    constrained = FILE.replace("tuner: {", 'tuner: {constraints: ["size <= 1"], ')
    (tmp_path / "one.yaml").write_text(constrained)
    (tmp_path / "noisy.py").write_text(
        "def train(config):\n    x = config['x']\n    return {'score': x, 'size': 1 + x}\n"
    )
    ended = run("study", str(tmp_path / "one.yaml"), "--agents", "1", "--wandb", "off")
    told = (
        "No trial meets size <= 1, so there is no winner. Best score: trial 1 (0.9000, misses by 0.9). "
        "Closest to the constraint: trial 0 (0.5000, misses by 0.5)."
    )
    for words in (("verdict", "one"), ("best", "one"), ("report", "one")):
        assert told in run(*words), words
    assert told in ended
    assert json.loads(run("verdict", "one", "--json"))["verdict"] == "no winner"
    assert run("export", "one") == "" and "x: 0.9" in run("export", "one", "--trial", "1")
