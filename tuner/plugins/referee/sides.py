"""The two sides of a duel: which commit, folder or file each is, where it runs and how it takes its seed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuner.base.errors import InputError
from tuner.base.words import slug
from tuner.definition.loading import from_plain
from tuner.definition.study_file import StudyFile
from tuner.plugins.referee import own, repository, run_once
from tuner.plugins.referee.history import History, refereed

FIRST_SEED = 1001  # not the one that a script has by itself: that run may be in the history already
SEEDS = 64  # runs of an arm at the most
WORKTREES = "worktrees"  # in the results folder: the files of arms that are commits
FLAG = re.compile(r"""["']--seed["']|DEFINE_integer\(\s*["']seed["']""")
VARIABLE = re.compile(r"""(?:environ(?:\.get\(|\[)|getenv\()\s*["'](SEED|[A-Z_]+_SEED)["']""")


@dataclass(frozen=True)
class Task:
    """What both sides run.

    Attributes:
        folder: where the command was given; the history is there.
        words: the command. seconds: after which each run is ended; None: it ends by itself.
        root: of the repository that the folder is in; None: it is in none.
        evaluation: files that measure, which no side may change; empty: those of the usual names.
        flag, variable: how the command takes its seed; both empty: it takes none.
    """

    folder: Path
    words: tuple[str, ...]
    metric: str
    maximize: bool
    root: Path | None = None
    flag: str = ""
    variable: str = ""
    seconds: float | None = None
    evaluation: tuple[str, ...] = ()

    @property
    def seeded(self) -> bool:
        return bool(self.flag or self.variable)


@dataclass(frozen=True)
class Side:
    """An arm that can be run.

    Attributes:
        name: in the history. commit: 40 digits; "" for a file or folder. note: what it is, in words.
        place: where it runs. words: its command. root: of the worktree that it runs in, if it is a commit.
        tree: of a commit, its content.
    """

    name: str
    note: str
    place: Path
    words: tuple[str, ...]
    commit: str = ""
    tree: str = ""
    root: Path | None = None

    def study(self, task: Task, results: Path) -> StudyFile:
        """The grid study of its runs, one a seed."""
        settings = {
            "words": self.words,
            "flag": task.flag,
            "variable": task.variable,
            "seconds": task.seconds,
            "root": self.root and str(self.root),
            "before": task.root and str(task.root),
        }
        raw: dict[str, Any] = {
            "method": "grid",
            "command": ["${interpreter}", "-I", run_once.__file__, json.dumps(settings), "${args_json}"],
            "metric": {"name": task.metric, "goal": "maximize" if task.maximize else "minimize"},
            "parameters": {"seed": {"values": list(range(FIRST_SEED, FIRST_SEED + SEEDS))}},
            "tuner": {
                "folder": str(self.place),
                "metrics_from": "stdout",
                "purpose": f"runs of {self.name} for tuner referee",
            },
        }
        digest = hashlib.sha256(json.dumps(raw).encode()).hexdigest()[:6]
        name = slug(f"referee.{self.name}.{digest}")
        return from_plain({"name": name, **raw}, name=name, path=results / f"{name}.yaml")


class Choice:
    """Finds the two sides."""

    def __init__(self, task: Task, results: Path, history: History) -> None:
        self.task, self.results, self.history = task, results, history
        self.folder, self.root = task.folder, task.root
        self.notes: list[str] = []  # what the user should know

    def candidate(self, told: str | None) -> Side:
        if told is not None:
            return self._side(told, "--candidate")
        if self.root is None:
            return self._path(self.folder, self.folder.name)
        left_out = repository.new_sources(self.folder)
        if left_out:
            shown = ", ".join(left_out[:3]) + (" …" if len(left_out) > 3 else "")
            self.notes.append(f"not in git, so the same for both sides: {shown} (git add makes it a change)")
        commit = repository.changes(self.folder)
        return self._commit(commit or self._head(), "" if commit is None else "uncommitted changes")

    def incumbent(self, told: str | None, candidate: Side) -> tuple[Side, bool]:
        """The incumbent, and whether the history has another one."""
        referee = refereed(self.folder, self.history, self.task.evaluation)
        kept = None if referee.incumbent is None else referee.incumbent.name
        if told is not None:
            side = self._side(told, "--incumbent")
        elif kept is not None:
            side = self._side(kept, f"the incumbent of {self.history.source}")
        elif candidate.commit:
            parent = repository.commit_of(self.folder, f"{candidate.commit}^")
            if parent is None:
                raise InputError(
                    f"{candidate.name} is the first commit: nothing to compare with; change a file that git "
                    "tracks, or name --incumbent"
                )
            side = self._commit(parent)
        else:
            raise InputError("what is it compared with? --incumbent REV|PATH")
        same = side.name == candidate.name or (candidate.tree and side.tree == candidate.tree)
        if same and side.name == kept and referee.kept:
            return side, False  # the same command again: it was kept
        if same:
            raise InputError(f"incumbent and candidate are the same ({side.name}): nothing to compare")
        return side, kept is not None and side.name != kept

    def _side(self, told: str, what: str) -> Side:
        commit = None if self.root is None else repository.commit_of(self.folder, told)
        if commit is not None:
            return self._commit(commit)
        path = Path(told.partition("@")[0])
        if not path.exists():
            kind = "no path here, and this is no git repository"
            if self.root:
                kind = "neither a commit nor a path here"
            raise InputError(f"{what}: '{told}' is {kind}; name one: --incumbent REV|PATH")
        return self._path(path, told.partition("@")[0])

    def _path(self, path: Path, name: str) -> Side:
        """A folder with a copy of the program, or a file in place of the one that the command names."""
        if path.is_dir():
            return Side(name, "a folder", path.resolve(), self.task.words)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[: repository.SHORT]
        told = self.task.words
        script = next((w for w in told if Path(w).suffix == path.suffix and Path(w).is_file()), None)
        if script is None:
            raise InputError(f"{name}: the command has no {path.suffix} file that it could stand for")
        words = tuple(str(path) if word == script else word for word in told)
        return Side(f"{name}@{digest}", "a file", self.folder, words)

    def _head(self) -> str:
        head = repository.commit_of(self.folder, "HEAD")
        if head is None:
            raise InputError(f"{self.root}: no commit yet; commit what works, then change something")
        return head

    def _commit(self, commit: str, note: str = "") -> Side:
        assert self.root is not None
        tree = repository.tree_of(self.folder, commit)
        names = [run.arm for run in self.history.runs if repository.is_commit(run.arm, commit)]
        root, inside = self.results / WORKTREES / commit[:12], f"{self.root}/"
        words = (str(root / w.removeprefix(inside)) if w.startswith(inside) else w for w in self.task.words)
        return Side(
            name=self._of_own(tree) or (names[0] if names else commit[: repository.SHORT]),
            note=note or repository.subject_of(self.folder, commit),
            place=root / self.folder.relative_to(self.root),
            words=tuple(words),
            commit=commit,
            tree=tree,
            root=root,
        )

    def _of_own(self, tree: str) -> str | None:
        """The arm with this content that was run here: uncommitted changes that were committed since."""
        for row in own.rows(self.folder):
            if row.get("kind") == "run" and row.get("tree") == tree:
                return str(row["arm"])
        return None


def edited_evaluation(task: Task, incumbent: Side, candidate: Side) -> list[str]:
    """The files that measure and that differ between two sides that are commits, or folders."""
    if incumbent.commit and candidate.commit:
        found = repository.edited_since_first(
            task.folder, [incumbent.commit, candidate.commit], task.evaluation
        )
        return found.get(candidate.commit, [])
    if incumbent.commit or candidate.commit or incumbent.place == candidate.place:
        return []
    one, two = (repository.evaluation_in(side.place, task.evaluation) for side in (incumbent, candidate))
    return sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))


def seeding(task: Task, sides: Sequence[Side], flag: str | None, variable: str | None) -> Task:
    """The task with the way in which the command takes its seed: as it is told, else as both scripts do."""
    if flag or variable:
        return replace(task, flag=flag or "", variable=variable or "")
    texts = [_script(task.folder, side) for side in sides]
    if all(FLAG.search(text) for text in texts):
        return replace(task, flag="--seed")
    common = set.intersection(*(set(VARIABLE.findall(text)) for text in texts))
    return replace(task, variable=min(common, default=""))


def _script(folder: Path, side: Side) -> str:
    """The text of the script that a side runs; "" where the command names none."""
    for word in side.words:
        if not word.endswith(".py"):
            continue
        path = side.place / word
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace")
        found = repository.git(folder, "show", f"{side.commit}:./{word}") if side.commit else None
        if found is not None:
            return found
    return ""
