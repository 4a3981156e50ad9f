"""Runs public scripts as their authors wrote them, and compares what the tuner stored with what they logged.

    python benchmarks/bench_real_scripts.py                       all, fetched from github.com
    python benchmarks/bench_real_scripts.py nanogpt cleanrl-ppo   some
    python benchmarks/bench_real_scripts.py --clones DIR          repositories that lie in DIR/OWNER+NAME
    python benchmarks/bench_real_scripts.py --tables --write      the page again, from the stored results

real_scripts/scripts.yaml has the scripts: repository, commit, license, command, what stands in for downloads
(real_scripts/stand_ins.py) and what is compared. Each runs in a fresh copy of its folder, without a W&B key.
The results are kept in data/real_scripts.json, `--write` stores the tables for the docs.
Needs the packages of the scripts: lightgbm xgboost catboost keras torch torchvision lightning hydra-core
optuna-integration ray syne-tune accelerate transformers evaluate datasets jax flax optax tensorboard tyro
gymnasium==0.29.1 stable_baselines3, and tensorflow-cpu for wandb-sweeps-python.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import figures
import yaml
from real_scripts.compare import LIMIT, WAYS, compared
from real_scripts.stand_ins import HOOKS

FOLDER = Path(__file__).resolve().parent / "real_scripts"
RESULTS = figures.ROOT / "benchmarks" / "data" / "real_scripts.json"
Entry = dict[str, Any]
LICENSES = {
    "Apache License": "Apache-2.0",
    "Permission is hereby granted": "MIT",
    "Redistribution and use": "BSD-3-Clause",
}
NOISE = re.compile(r"^\s*$|^Next:|^  tuner |^wandb: |There are too few runs|To decide|^\s+trial |^\s*\d+\. ")


def entries() -> list[Entry]:
    """The scripts, in the order of the page."""
    return list(yaml.safe_load((FOLDER / "scripts.yaml").read_text(encoding="utf-8")))


def repository(entry: Entry, clones: Path) -> Path:
    """The repository at its commit: one that lies there, that of an installed wheel, or a new clone.

    Raises:
        RuntimeError: the commit cannot be fetched, or the license is another than the entry says.
    """
    if "wheel" in entry:
        spec = importlib.util.find_spec(entry["wheel"])
        if spec is None or spec.origin is None:
            raise RuntimeError(f"the package {entry['wheel']} is not installed")
        return Path(spec.origin).parent
    folder = clones / entry["repository"].replace("/", "+")
    if not folder.exists() or (folder / ".git").exists():
        fetch(f"https://github.com/{entry['repository']}", entry["commit"], folder)
    if (found := license_of(folder)) != entry.get("license"):
        raise RuntimeError(f"{entry['repository']}: license {found}, in scripts.yaml {entry.get('license')}")
    return folder


def fetch(url: str, commit: str, folder: Path) -> None:
    """Brings one commit of a repository into a folder; one that is there already is not fetched again.

    Raises:
        RuntimeError: the repository is gone, or has no such commit.
    """

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        quiet = os.environ | {"GIT_TERMINAL_PROMPT": "0"}  # GitHub asks for a name where a repository is gone
        return subprocess.run(["git", "-C", str(folder), *words], env=quiet, capture_output=True, text=True)

    folder.mkdir(parents=True, exist_ok=True)
    if git("rev-parse", "--git-dir", "HEAD").stdout.split() == [".git", commit]:
        return
    fetching = ["fetch", "-q", "--depth", "1", url, commit]
    for words in (["init", "-q"], fetching, ["checkout", "-q", "-f", commit]):
        if (done := git(*words)).returncode:
            said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise RuntimeError(f"git {words[0]} of {url} at {commit[:10]}: {said}")


def license_of(folder: Path) -> str | None:
    """The SPDX name of the license that a repository's file names first; None where it names none."""
    files = [path for path in sorted(folder.glob("LICEN*")) if path.is_file()]
    text = "".join(path.read_text(encoding="utf-8", errors="replace") for path in files)
    told = {text.find(words): name for words, name in LICENSES.items() if words in text}
    return told[min(told)] if told else None


def prepared(entry: Entry, clones: Path, work: Path) -> Path:
    """A fresh copy of what the script needs; returns the folder in which the command runs."""
    source, root = repository(entry, clones), work / entry["name"]
    shutil.rmtree(root, ignore_errors=True)
    for path in (entry["folder"], *entry.get("copy", ())):
        if path == "." and "copy" in entry:
            (root / "repository").mkdir(parents=True, exist_ok=True)
            continue
        inside = path.removeprefix(f"python/{entry.get('wheel')}/")
        ignored = shutil.ignore_patterns(".git", "__pycache__", "wandb", "*.ipynb")
        shutil.copytree(source / inside, root / "repository" / path, ignore=ignored, dirs_exist_ok=True)
    folder = (root / "repository" / entry["folder"]).resolve()
    for name, text in entry.get("files", {}).items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "home").mkdir(exist_ok=True)
    if "make" in entry:
        stand_ins = [sys.executable, FOLDER / "stand_ins.py", folder, json.dumps(entry["make"])]
        subprocess.run(stand_ins, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder


def environment(entry: Entry, folder: Path, root: Path) -> dict[str, str]:
    """The variables of a user without a key of W&B and without network."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "TUNER_", "MPL"))
    }
    path = [str(figures.ROOT)]
    if "hook" in entry:
        (root / "hook").mkdir()
        (root / "hook" / "sitecustomize.py").write_text(HOOKS[entry["hook"]], encoding="utf-8")
        path.insert(0, str(root / "hook"))
    binaries = str(Path(sys.executable).parent)
    added = {
        "PYTHONPATH": os.pathsep.join([*path, *filter(None, [kept.get("PYTHONPATH")])]),
        "PATH": os.pathsep.join([binaries, kept.get("PATH", "")]),
        "HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    return kept | added | {name: str(value) for name, value in entry.get("env", {}).items()}


def run(entry: Entry, clones: Path, work: Path) -> dict[str, Any]:
    """Runs a script under the tuner and says how it went."""
    root = work / entry["name"]
    folder = prepared(entry, clones, work)
    variables = environment(entry, folder, root)
    verb, *words = shlex.split(entry["command"])
    options = ["--results", str(root / "results"), *(["--agents", "1"] if "--dry-run" not in words else [])]
    command = [sys.executable, "-m", "tuner", verb, *options, *words]
    started = time.monotonic()
    with (root / "screen.log").open("wb") as screen:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=screen,
            stderr=subprocess.STDOUT,
        )
        status = watched(process, root / "screen.log", entry["expect"].get("says"))
    seconds = time.monotonic() - started
    trials = list(finished(root / "results"))
    screen_text = (root / "screen.log").read_text(encoding="utf-8", errors="replace")
    result: dict[str, Any] = {
        "status": status,
        "seconds": round(seconds),
        "trials": sum(trial["state"] in ("complete", "pruned") for _, trial in trials),
        "line": line_of(screen_text, entry).replace(f"{root}/", "").replace(f"{sys.prefix}/", ""),
    }
    if status is None:
        result["line"] = f"not finished after {LIMIT} s"
    if result["trials"] and "compare" in entry:
        result |= compared(entry, folder, root, trials, variables)
    return result | {"ok": as_expected(entry, result, screen_text, folder)}


def watched(process: subprocess.Popen[bytes], screen: Path, says: str | None) -> int | None:
    """Waits for the end, or until the expected words are printed; the exit status, None at the limit."""
    until = time.monotonic() + LIMIT
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.5)
        if says and says in screen.read_text(encoding="utf-8", errors="replace"):
            break
    early = process.poll() is None
    if early:
        process.terminate()
    status = process.wait(90)
    return None if early and time.monotonic() >= until else status


def finished(results: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The run folders of all trials, with their `trial.json`."""
    for path in sorted(results.glob("runs/*/*/trial.json")):
        yield path.parent, json.loads(path.read_text(encoding="utf-8"))


def line_of(screen: str, entry: Entry) -> str:
    """The line that says how it went: the one that is expected, or the last that says something."""
    lines = [line.strip() for line in screen.splitlines() if not NOISE.search(line)]
    if says := entry["expect"].get("says"):
        lines = [line for line in lines if says in line] or lines[-1:]
        lines = sorted(lines, key=lambda line: not re.search(r"^error|fail|\berror\b", line, re.IGNORECASE))[
            :1
        ]
    return re.sub(r" \(see [^)]*\)|( · \d+/\d+ trials.*)?$", "", (lines or ["(nothing)"])[-1])[:300]


def as_expected(entry: Entry, result: Mapping[str, Any], screen: str, folder: Path) -> bool:
    """Whether all of what `expect` says is so, and all that was compared agreed."""
    wanted = entry["expect"]
    if "says" in wanted:
        trace = "Traceback (most recent call last)" in screen.split("output.log")[0]
        return wanted["says"] in screen and not trace
    if "compare" in entry and not (result.get("values") and result["difference"] <= result["tolerance"]):
        return False
    more = result["trials"] - wanted["trials"]
    files = all((folder / name).exists() for name in wanted.get("files", ()))
    return files and (more == 0 or (more > 0 and bool(wanted.get("at_least"))))


def tables(scripts: list[Entry], results: Mapping[str, Any]) -> dict[str, figures.Value]:
    """The page's table and its sums."""
    page = figures.Lines()
    heads = ("script", "uses", "command: `tuner …`", "stands in", "result", "compared", "s")
    page.head(*heads, words=range(6))
    shown = [entry for entry in scripts if entry["name"] in results]
    for entry in shown:
        found = results[entry["name"]]
        page.row(
            f"[{entry['name']}](https://github.com/{entry['repository']}/tree/{entry['commit']}/{entry['folder']})"
            f" ({entry.get('license') or 'no license'})",
            entry["uses"],
            f"`{entry['command']}`",
            entry.get("stand_in", "–").replace("|", "\\|"),
            outcome(entry, found),
            comparison(found),
            found["seconds"],
        )
    ok = [entry["name"] for entry in shown if results[entry["name"]]["ok"]]
    values = sum(found.get("values", 0) for found in results.values() if found["ok"])
    return {
        "real_scripts.table": list(page),
        "real_scripts.scripts": str(len(shown)),
        "real_scripts.repositories": str(len({entry["repository"] for entry in shown})),
        "real_scripts.as_expected": str(len(ok)),
        "real_scripts.finished": str(
            sum("trials" in entry["expect"] for entry in shown if entry["name"] in ok)
        ),
        "real_scripts.values": f"{values:,}",
    }


def outcome(entry: Entry, found: Mapping[str, Any]) -> str:
    """What came out, in a cell of the table."""
    if "says" in entry["expect"] or not found["ok"]:
        text = found["line"].replace("|", "\\|").replace("`", "'")
        return ("" if found["ok"] else "**not as expected**: ") + f"`{text}`"
    return f"{found['trials']} trial" + "s" * (found["trials"] > 1)


def comparison(found: Mapping[str, Any]) -> str:
    """What was compared, in a cell of the table."""
    if not found.get("values"):
        return "–"
    exact = found["difference"] <= 1e-6
    size = "all equal" if exact else f"largest difference {found['difference']:.2g}"
    return f"{found['values']:,} values with {WAYS[found['compared']]}: {size}"


def main() -> None:
    parser = figures.parser(__doc__)
    parser.add_argument("names", nargs="*", help="scripts to run; default: all")
    parser.add_argument(
        "--clones", type=Path, help="a folder with repositories as OWNER+NAME; others are fetched to it"
    )
    parser.add_argument("--work", type=Path, help="where the scripts run, to look at afterwards")
    parser.add_argument("--tables", action="store_true", help="run nothing: the tables of the stored results")
    arguments = parser.parse_args()
    scripts = entries()
    if unknown := set(arguments.names) - {entry["name"] for entry in scripts}:
        sys.exit(f"{', '.join(sorted(unknown))}: not in {FOLDER / 'scripts.yaml'}")
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    work = arguments.work or Path(tempfile.mkdtemp(prefix="real_scripts_"))
    by_name = {entry["name"]: entry for entry in scripts}
    for name in () if arguments.tables else arguments.names or by_name:
        try:
            results[name] = run(by_name[name], arguments.clones or work / "clones", work)
        except Exception as error:
            results[name] = {"ok": False, "seconds": 0, "trials": 0, "line": f"harness: {error}"[:300]}
        print(name, json.dumps(results[name]), flush=True)
        results = {key: results[key] for key in by_name if key in results}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if arguments.write:
        figures.record(tables(scripts, results), command="python benchmarks/bench_real_scripts.py")


if __name__ == "__main__":
    main()
