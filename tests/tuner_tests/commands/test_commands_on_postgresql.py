"""Every command that reads or writes studies, on a PostgreSQL database in place of a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuner.__main__ import main
from tuner.definition.study_file import StudyFile
from tuner.plugins.dashboard.server import application

pytestmark = pytest.mark.slow


@pytest.mark.slow
def test_from_a_study_to_its_report(
    make_study: Callable[..., StudyFile],
    postgres_url: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, results = postgres_url(), tmp_path / "results"
    monkeypatch.setenv("TUNER_STORAGE", url)
    monkeypatch.setenv("TUNER_RESULTS", str(results))

    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert main(list(arguments)) == 0
        return capsys.readouterr().out

    file = make_study()
    run("study", str(file.path), "--agents", "1", "--wandb", "off")
    (state,) = json.loads(run("status", "--json"))
    assert (state["name"], state["complete"]) == ("small", 6)
    run("verify", "small", "--top", "2", "--seeds", "2", "--agents", "1", "--wandb", "off")
    assert "x: 0." in run("export", "small")
    (best,) = json.loads(run("best", "small", "--top", "1", "--format", "json"))
    assert best["score"] == state["best"]["score"]
    report = results / "page.html"
    run("report", "small", "--output", str(report))
    assert "small" in report.read_text()
    run("gc", "--dry-run")

    answer = b"".join(application(url, results)(_get("/api/studies"), lambda *_: None))
    names = {study["study_name"] for study in json.loads(answer)["study_summaries"]}
    assert {name.partition(":")[0] for name in names} == {"small", "small.verify"}
    assert not list(results.glob("*.db"))  # nothing went to the default storage on the side


def _get(path: str) -> dict[str, Any]:
    from wsgiref.util import setup_testing_defaults

    environ: dict[str, Any] = {"PATH_INFO": path, "HTTP_HOST": "127.0.0.1:8080"}
    setup_testing_defaults(environ)
    return environ
