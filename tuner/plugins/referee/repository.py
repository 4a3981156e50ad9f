"""What the referee asks git: which commit an arm is, a folder with its files, what it changed."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from tuner.base.errors import InputError
from tuner.base.files import make_folder, writing

EVALUATION = ("eval*.py", "evaluate*.py", "metric*.py", "score*.py", "prepare.py", "benchmark*.py")
SHORT = 7  # characters of a commit, as loops write it
_COMMIT = re.compile(r"[0-9a-f]{4,40}")
_ANONYMOUS = {f"GIT_{who}_{what}": "tuner" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(folder: Path, *words: str, variables: Mapping[str, str] | None = None) -> str | None:
    """What a command of git prints; None where it fails, or where there is no git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={**os.environ, **(variables or {})},
        )
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def root_of(folder: Path) -> Path | None:
    """The root of the repository that a folder is in; None: it is in none."""
    found = git(folder, "rev-parse", "--show-toplevel")
    return None if found is None else Path(found.rstrip("\n")).resolve()


def commit_of(folder: Path, revision: str) -> str | None:
    """The commit that a revision names, 40 digits; None: it names none."""
    if revision.startswith("-"):
        return None
    found = git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    return found.strip() if found else None


def is_commit(name: str, commit: str) -> bool:
    """Whether a name, as a loop writes it, is this commit's."""
    return _COMMIT.fullmatch(name) is not None and commit.startswith(name)


def tree_of(folder: Path, commit: str) -> str:
    """The content of a commit: equal for commits with equal files."""
    return (git(folder, "rev-parse", f"{commit}^{{tree}}") or "").strip()


def subject_of(folder: Path, commit: str) -> str:
    """The first line of a commit's message."""
    return (git(folder, "log", "-1", "--format=%s", commit) or "").strip()


def changes(folder: Path) -> str | None:
    """A commit of the tracked files as they lie there now; None where none differs from HEAD.

    As `git stash create`, it changes neither files nor index nor any branch. The same changes of the same
    commit make the same commit again.
    """
    root = root_of(folder)
    head = commit_of(folder, "HEAD")
    index = git(folder, "rev-parse", "--path-format=absolute", "--git-path", "index")
    if root is None or head is None or index is None:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        own = Path(scratch) / "index"
        if Path(index.strip()).is_file():
            shutil.copy2(index.strip(), own)  # with its time, by which git finds what has changed since
        variables = {"GIT_INDEX_FILE": str(own)}
        if git(root, "add", "--update", variables=variables) is None:
            raise InputError(f"{root}: git cannot read the changed files; commit them, or name --candidate")
        tree = (git(root, "write-tree", variables=variables) or "").strip()
    if not tree or tree == tree_of(root, head):
        return None
    date = (git(root, "log", "-1", "--format=%cI", head) or "").strip()
    variables = {**_ANONYMOUS, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    made = git(root, "commit-tree", tree, "-p", head, "-m", "uncommitted changes", variables=variables)
    return made.strip() if made else None


def worktree(folder: Path, commit: str, place: Path, *, without: Collection[Path] = ()) -> Path:
    """Checks out a commit to `place`, unless it is there; returns what is `folder` in it.

    Files that git does not track (data, environments) are links to those of the repository.

    Args:
        without: files and folders that are not linked.

    Raises:
        InputError: git cannot check it out.
    """
    root = root_of(folder)
    assert root is not None
    if not (place / ".git").exists():
        make_folder(place.parent)
        shutil.rmtree(place, ignore_errors=True)
        git(root, "worktree", "prune")
        if git(root, "worktree", "add", "--detach", str(place), commit) is None:
            raise InputError(f"{root}: git cannot check out {commit[:SHORT]} to {place}")
    left_out = {path.resolve() for path in without}
    for name in _untracked(root):
        source, target = root / name, place / name
        if source.resolve() in left_out or "__pycache__" in source.parts or os.path.lexists(target):
            continue
        make_folder(target.parent)
        with writing(target):
            target.symlink_to(source)
    return place / folder.resolve().relative_to(root.resolve())


def remove_worktree(folder: Path, place: Path) -> None:
    """Removes what `worktree` made; what its links lead to stays."""
    git(folder, "worktree", "remove", "--force", str(place))


def new_sources(folder: Path) -> list[str]:
    """Python files that git does not track and is not told to ignore."""
    found = git(folder, "ls-files", "--others", "--exclude-standard", "-z", "--", "*.py") or ""
    return [name for name in found.split("\0") if name]


def edited_evaluation(folder: Path, incumbent: str, candidate: str, files: Sequence[str] = ()) -> list[str]:
    """The files that measure and that differ between two arms: their metrics cannot be compared.

    Args:
        files: names or patterns of files that measure; empty: the usual names (`EVALUATION`).

    Returns:
        Paths from the repository's root. Empty also where an arm is no commit.
    """
    one, two = commit_of(folder, incumbent), commit_of(folder, candidate)
    if one is None or two is None:
        return []
    changed = git(folder, "diff", "--name-only", "--no-renames", "-z", one, two) or ""
    patterns = list(files) or EVALUATION
    return [name for name in changed.split("\0") if name and any(_fits(name, p) for p in patterns)]


def edited_words(files: Sequence[str]) -> str:
    """Why an arm that edited these files is not compared."""
    return f"it changes how it is measured: {', '.join(files)} (other files measure: --evaluation FILE)"


def _fits(name: str, pattern: str) -> bool:
    return fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(Path(name).name, pattern)


def _untracked(root: Path) -> list[str]:
    """What git does not track, ignored files included; a folder stands for all in it."""
    found = git(root, "ls-files", "--others", "--directory", "--no-empty-directory", "-z") or ""
    return [name.rstrip("/") for name in found.split("\0") if name and name != ".git/"]
