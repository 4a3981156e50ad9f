"""What the referee asks git: which commit an arm is, a folder with its files, what it changed."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tuner.base.errors import InputError
from tuner.base.files import make_folder, writing

EVALUATION = tuple(
    name + ending
    for name in ("eval*", "metric*", "score*", "prepare", "benchmark*")
    for ending in (".py", ".ipynb")
)
SHORT = 7  # characters of a commit, as loops write it
_COMMIT = re.compile(r"[0-9a-f]{4,40}")
_ANONYMOUS = {f"GIT_{who}_{what}": "tuner" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(folder: Path, *words: str, variables: Mapping[str, str] | None = None, told: str = "") -> str | None:
    """What a command of git prints when it is told `told`; None where it fails, or where there is no git."""
    printed = _git(folder, *words, variables=variables, told=told)
    return None if printed is None else printed.decode(errors="replace")


def _git(
    folder: Path, *words: str, variables: Mapping[str, str] | None = None, told: str = ""
) -> bytes | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            input=told.encode(),
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
    make_folder(place.parent)
    with held(place.parent / "git.lock"):
        if not (place / ".git").exists():
            half = place.with_name(f".{place.name}.partial")  # what a killed process has left is no worktree
            for path in (place, half):
                shutil.rmtree(path, ignore_errors=True)
            git(root, "worktree", "prune")
            made = git(root, "worktree", "add", "--detach", str(half), commit)
            if made is None or git(root, "worktree", "move", str(half), str(place)) is None:
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


def in_use(place: Path) -> AbstractContextManager[bool]:
    """As long as the block runs, no process removes the worktree at `place`."""
    make_folder(place.parent)
    return held(_users(place), shared=True)


def remove_worktree(folder: Path, place: Path) -> None:
    """Removes what `worktree` made, unless it is in use; what its links lead to stays."""
    with held(_users(place), wait=False) as alone:
        if alone:
            with held(place.parent / "git.lock"):
                git(folder, "worktree", "remove", "--force", str(place))


def _users(place: Path) -> Path:
    return place.with_name(f".{place.name}.users")


@contextmanager
def held(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Holds the lock of a file, which the kernel drops when the process ends; tells whether it got it.

    `tuner.storage.locks` has one with a time limit, and imports for it what costs an answer most of a second.
    """
    import fcntl

    with writing(path), path.open("ab") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def new_sources(folder: Path) -> list[str]:
    """Python files that git does not track and is not told to ignore."""
    found = git(folder, "ls-files", "--others", "--exclude-standard", "-z", "--", "*.py") or ""
    return [name for name in found.split("\0") if name]


def contents(folder: Path, name: str, commits: Sequence[str]) -> dict[str, str]:
    """What a file of the folder holds in each of these commits; without those that lack it."""
    found: dict[str, str] = {}
    if not commits:
        return found
    wanted = "".join(f"{commit}:./{name}\n" for commit in commits)
    answer = _git(folder, "cat-file", "--batch", told=wanted) or b""
    for commit in commits:
        heading, _, answer = answer.partition(b"\n")
        *_, kind, size = [b"", *heading.split()]
        if size.isdigit() and kind == b"blob":
            found[commit], answer = answer[: int(size)].decode(errors="replace"), answer[int(size) + 1 :]
    return found


def edited_since_first(folder: Path, arms: Sequence[str], files: Sequence[str] = ()) -> dict[str, list[str]]:
    """The files that measure and that differ from those of the first arm that is a commit, by arm.

    The metrics of such an arm cannot be compared. Arms that are no commits, or edit none, are left out.

    Args:
        files: names or patterns of files that measure; empty: the usual names (`EVALUATION`).

    Returns:
        Paths from the repository's root. A file that was renamed differs under both names.
    """
    able = [name for name in arms if name and not set(name) & set("\n\0") and not name.startswith("-")]
    wanted = "".join(f"{name}^{{tree}}\n" for name in able)
    answer = git(folder, "cat-file", "--batch-check", told=wanted) if able else None
    trees: dict[str, str] = {}
    for name, line in zip(able, (answer or "").splitlines(), strict=False):
        tree, _, rest = line.partition(" ")
        if rest.startswith("tree "):
            trees[name] = tree
    if len(set(trees.values())) < 2:
        return {}
    first, *others = dict.fromkeys(trees.values())
    words = ("-c", "core.quotePath=false", "diff-tree", "--stdin", "-r", "--no-renames", "--name-only")
    changed: dict[str, list[str]] = {}
    patterns = list(files) or EVALUATION
    for line in (git(folder, *words, told="".join(f"{first} {o}\n" for o in others)) or "").splitlines():
        if line.startswith(f"{first} "):
            now = changed.setdefault(line.partition(" ")[2], [])
        elif any(_fits(line, pattern) for pattern in patterns):
            now.append(line)
    return {name: changed[tree] for name, tree in trees.items() if changed.get(tree)}


def evaluation_in(folder: Path, files: Sequence[str] = ()) -> dict[str, bytes]:
    """The files that measure in a folder that is no commit: paths and contents."""
    found = {}
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        if any(part == "site-packages" or part.startswith(".") for part in inside.parts):
            continue  # an environment, or a program's own files
        if path.is_file() and any(_fits(inside.as_posix(), p) for p in list(files) or EVALUATION):
            found[inside.as_posix()] = path.read_bytes()
    return found


def edited_words(files: Sequence[str]) -> str:
    """Why an arm that edited these files is not compared."""
    return f"it changes how it is measured: {', '.join(files)} (other files measure: --evaluation FILE)"


def _fits(name: str, pattern: str) -> bool:
    """Whether a path, or the end of it from any of its folders, is as the pattern says."""
    parts = name.lower().split("/")
    return any(fnmatch.fnmatchcase("/".join(parts[i:]), pattern.lower()) for i in range(len(parts)))


def _untracked(root: Path) -> list[str]:
    """What git does not track, ignored files included; a folder stands for all in it."""
    found = git(root, "ls-files", "--others", "--directory", "--no-empty-directory", "-z") or ""
    return [name.rstrip("/") for name in found.split("\0") if name and name != ".git/"]
