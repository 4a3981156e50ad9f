"""Serves studies to coding agents as tools of the Model Context Protocol (MCP).

Each tool returns what the command of the same name prints with `--json`; `judge`, `next_run` and
`leaderboard` have parts of `tuner referee --json`. Only `enqueue` changes a study.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tuner.base import extras
from tuner.base.endings import in_short
from tuner.base.errors import InputError
from tuner.base.words import finite
from tuner.claims import judge, verdicts
from tuner.claims import material as materials
from tuner.claims.material import Material
from tuner.plugins.referee import show
from tuner.plugins.referee.history import TRACKED, History, read, refereed
from tuner.plugins.referee.judge import Referee
from tuner.run import enqueue as queueing
from tuner.show.report import words
from tuner.show.status import best_trials, listed
from tuner.show.summary import Summary
from tuner.storage.access import open_records
from tuner.storage.records import Records
from tuner.storage.study import load_study

INSTRUCTIONS = """\
Hyperparameter studies of this folder. Ask `verdict` before you call one configuration better than another,
and run what it names in next_run as long as it is not decided. A score in a study is the best of
many and so too good; `report` says what was shown. A loop that edits a program and keeps what scores better
asks `judge` before it keeps a change, and runs what `next_run` names as long as it is not decided."""


@dataclass(frozen=True)
class Tools:
    """The tools, as functions. `url`: the storage; `results`: the results folder."""

    url: str
    results: Path

    def all(self) -> dict[str, Callable[..., Any]]:
        """The tools by name."""
        return {"list": self.studies, "status": self.status, "best": self.best, "verdict": self.verdict,
                "enqueue": self.enqueue, "report": self.report, "judge": self.judge,
                "next_run": self.next_run, "leaderboard": self.leaderboard}  # fmt: skip

    def studies(self) -> list[dict[str, Any]]:
        """The studies here with progress and result, then those that come with the program."""
        return listed(self.url)

    def status(self, study: str | None = None) -> list[dict[str, Any]]:
        """Counts of trials, the best so far and the cost of a study, or of all studies that were begun."""
        records = self._records()
        names = [study] if study else [s.study_name for s in records.get_all_studies()]
        states = [Summary.of(load_study(records, name)) for name in names]
        return [finite(state.to_dict()) for state in states]

    def best(self, study: str, top: int = 5) -> list[dict[str, Any]]:
        """The best complete trials of a study with their configurations, best first."""
        if top < 1:
            raise InputError(f"top: expected a whole number from 1, got {top}")
        source = load_study(self._records(), study)
        found = Summary.of(source, source.file)
        ranks = best_trials(found, self.results, top=top)
        return [finite(rank.to_dict(found.metric)) for rank in ranks]

    def verdict(self, what: str, against: str | None = None) -> dict[str, Any]:
        """Whether a configuration is better than another: by how much, how sure, and what would settle it.

        `what` and `against` are STUDY (its winner) or STUDY/NUMBER (a trial). Without `against`: the default.
        """
        return dict(finite(judge.between(self._material(), what, against).to_dict()))

    def enqueue(self, study: str, values: dict[str, Any]) -> dict[str, Any]:
        """Queues a trial of a study with these values by dotted name; what they leave out is drawn."""
        queued = queueing.enqueue(self._records(), study, values)
        return {"study": study, **asdict(queued)}

    def report(self, study: str | None = None) -> dict[str, Any]:
        """What is known: each study with its answer and cost in sentences, and the verdict on each claim."""
        material = self._material([study] if study else [])
        return dict(
            finite(
                {
                    "studies": {s.name: words.study_sentences(s, material) for s in material.studies},
                    "answers": {s.name: judge.of_study(s, material).to_dict() for s in material.studies},
                    "claims": [asdict(finding) for finding in verdicts.findings(material)],
                }
            )
        )

    def judge(
        self, arm: str | None = None, source: str = ".", metric: str | None = None, goal: str | None = None
    ) -> dict[str, Any]:
        """Whether a change of a program (a commit, a branch, a name) is better than the incumbent, or noise.

        `arm`: the change; the last one without it. `source`: a folder in which a loop has written its runs
        (results.tsv, a CSV, JSON lines, a git history), or that file. `metric`, `goal`: found by name.
        """
        history, referee = _refereed(source, metric, goal)
        return dict(finite(show.ruling_of(referee, arm, history).to_dict()))

    def next_run(
        self, source: str = ".", metric: str | None = None, goal: str | None = None
    ) -> dict[str, Any]:
        """The arm and the seed that a loop should run next; `arm` is null where all is decided."""
        _, referee = _refereed(source, metric, goal)
        following = referee.next_run()
        if following is None:
            return {"arm": None, "seed": None}
        return {"arm": following.name, "seed": following.next_seed}

    def leaderboard(
        self, source: str = ".", metric: str | None = None, goal: str | None = None
    ) -> dict[str, Any]:
        """All arms of a loop with their verdicts, in groups that cannot be told apart, the best first."""
        history, referee = _refereed(source, metric, goal)
        return dict(finite(show.to_dict(referee, history, show.ruling_of(referee, None, history))))

    def _records(self) -> Records:
        return open_records(self.url)

    def _material(self, names: list[str] | None = None) -> Material:
        return materials.load(self._records(), names or (), self.results, made=datetime.now())


def _refereed(source: str, metric: str | None, goal: str | None) -> tuple[History, Referee]:
    """The history of a folder or file, and the referee on it."""
    if goal not in (None, "minimize", "maximize"):
        raise InputError(f"goal: expected minimize or maximize, got '{goal}'")
    path = Path(source)
    if not path.exists():
        raise InputError(f"source: {path} does not exist")
    whole = path.is_dir() and path.name not in TRACKED
    folder, file = (path, None) if whole else (path.parent, path)
    history = read(folder, file, metric=metric, goal=goal)
    return history, refereed(folder, history)


def server(url: str, results: Path) -> Any:
    """An MCP server with the tools.

    Raises:
        InputError: the package `mcp` is not installed.
    """
    extras.need("mcp", "mcp")
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    made = MCPServer("tuner", instructions=INSTRUCTIONS, version=version("optuna-sweeps"))
    for name, function in Tools(url, results).all().items():
        made.add_tool(_with_errors(function, ToolError), name=name, structured_output=False)
    return made


def _with_errors(function: Callable[..., Any], error: type[Exception]) -> Callable[..., Any]:
    """The function, with wrong input as an error that the agent is told."""

    @functools.wraps(function)
    def told(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except InputError as wrong:
            raise error(in_short(wrong)) from None

    return told
