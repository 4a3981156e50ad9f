"""Runs the command of an arm once, as a trial's script: `run_once.py SETTINGS PARAMETERS` (both JSON).

The command gets the seed as it takes it. With a time limit it is ended after so many seconds, which is no
failure: what it reported last is its result.

Only the standard library: the command may need the environment of another Python.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

GRACE_SECONDS = 10.0  # between SIGTERM and SIGKILL, after the time limit


def seeded(settings: dict[str, Any], seed: int) -> tuple[list[str], dict[str, str]]:
    """The command with a seed, and the variables that it gets."""
    words, variables = [str(word) for word in settings["words"]], {}
    flag, variable = settings.get("flag"), settings.get("variable")
    if flag:
        short = re.fullmatch(r"-\w", flag)
        words += [flag, str(seed)] if short else [f"{flag}={seed}"]
    if variable:
        variables[variable] = str(seed)
    return words, variables


def module_path(folder: Path, root: Path, before: Path) -> str:
    """$PYTHONPATH: where it leads into the repository `before`, it leads into the arm's files in `root`.

    A package that is installed in editable mode is found where it was installed. The arm's own goes before.
    """
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    found = []
    for path in paths:
        inside = Path(path).is_absolute() and Path(path).is_relative_to(before)
        found.append(str(root / Path(path).relative_to(before)) if inside else path)
    if any((root / name).is_file() for name in ("pyproject.toml", "setup.py")):
        found += [str(path) for path in (folder, root, root / "src") if path.is_dir()]
    return os.pathsep.join(found)


def main(settings: dict[str, Any], parameters: dict[str, Any]) -> int:
    """Runs the command; returns its exit status, 0 also where its time was up."""
    words, variables = seeded(settings, int(parameters["seed"]))
    if settings.get("root"):
        variables["PYTHONPATH"] = module_path(Path.cwd(), Path(settings["root"]), Path(settings["before"]))
    for number in (signal.SIGINT, signal.SIGTERM):  # the command gets them as well; its end is ours
        signal.signal(number, lambda *_: None)
    try:
        child = subprocess.Popen(words, env={**os.environ, **variables})
    except OSError as error:
        sys.stderr.write(f"{words[0]}: {error.strerror}\n")
        return 127
    try:
        status = child.wait(settings.get("seconds"))
        return status if status >= 0 else 128 - status
    except subprocess.TimeoutExpired:
        os.killpg(os.getpgrp(), signal.SIGTERM)  # with all that it has started
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1]), json.loads(sys.argv[2])))
