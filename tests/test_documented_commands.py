"""Every command of the README and the pages that one follows, in order, as somebody would type it.

All run in one folder on a small simulated data set, in this process (a study's agents too), with a few
options of this test's that make them short. What cannot run here stands in `NOT_RUN`, with the reason.
The commands of all other pages are read by the programs' parsers. What they have beyond the commands that run
here stands in `RUN_BY`, with the test that runs it.
"""

from __future__ import annotations

import gzip
import importlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from tuner.commands.verdict import NOT_BETTER, OPEN
from tuner.run.probe import timed
from tuner.workloads.registry import workload_of

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/recordings.md", "docs/ten_minutes.md", "docs/programs.md")
ROOMS = ("model", "tuner", "ensemble", "inference")

# a part of a command → what is done in its place, and why
NOT_RUN = {
    "tuner study all": ("-h", "five studies and their confirmations take hours; one page has --dry-run"),
    "--program": ("-h", "needs a file of a known program; test_check.py has one"),
    "watch mqtt:": ("-h", "needs a broker; test_watch.py has a stand-in"),
    "tuner dashboard": ("-h", "never ends; started and stopped in test_dashboard.py"),
    "tuner sync": ("-h", "needs W&B's server; test_sync.py has one"),
}
# of other pages: a command, or an option of one that runs here → the test that runs it, or why none does
_TUNER = "tuner_tests/"
RUN_BY = {
    "tuner sweep": _TUNER + "commands/test_json.py",
    "tuner agent": _TUNER + "commands/test_verbs.py",
    "tuner stop": _TUNER + "commands/test_json.py",
    "tuner pause": _TUNER + "commands/test_verbs.py",
    "tuner run": _TUNER + "commands/test_run.py",
    "tuner enqueue": _TUNER + "run/test_enqueue.py",
    "tuner import": _TUNER + "plugins/test_import.py",
    "tuner dashboard": _TUNER + "plugins/test_dashboard.py",
    "tuner serve": _TUNER + "plugins/test_serve.py",
    "tuner mcp": _TUNER + "plugins/test_mcp.py",
    "tuner referee": _TUNER + "plugins/test_referee.py",
    "tuner sync": _TUNER + "commands/test_json.py",
    "tuner tour": "commands/test_tour.py looks at its commands; CI runs it as `make run`",
    "tuner study --trials": _TUNER + "commands/test_commands.py",
    "tuner study --storage": _TUNER + "campaign/test_campaign.py",
    "tuner study --timeout": _TUNER + "run/test_time_limits.py",
    "tuner study --notify": _TUNER + "show/test_notify.py",
    "tuner study --artifacts": _TUNER + "artifacts/test_artifacts.py",
    "tuner fetch": _TUNER + "commands/test_json.py",
    "tuner report --live": _TUNER + "show/test_live.py",
    "tuner best --format": _TUNER + "commands/test_json.py",
    "tuner verdict --json": _TUNER + "commands/test_json.py",
    "model synthesize": "model_tests/test_commands.py",
    "model baseline --track": "the other split; test_baselines.py scores both, not by a command",
    "ensemble build --study": "ensemble_tests/test_command.py",
    "ensemble build --weights": "ensemble_tests/test_fetch.py",
    "ensemble build --json": "ensemble_tests/test_command.py",
    "ensemble show": "ensemble_tests/test_command.py",
    "ensemble compare": "ensemble_tests/test_command.py",
    "ensemble distill": "ensemble_tests/test_command.py",
    "ensemble library": "ensemble_tests/test_refit.py",
    "ensemble refit --but-test": "trains again; test_refit.py refits so, not by a command",
    "inference check --program": "needs a file of a known program; test_check.py has one, not by a command",
    "inference check --alarm": "inference_tests/test_check.py",
    "inference check --known": "inference_tests/test_check.py",
    "inference watch --format": "inference_tests/test_watch.py",
    "inference watch --known": "inference_tests/test_watch.py",
    "inference evaluate --json": "inference_tests/test_pipeline.py",
    "inference calibrate --json": "inference_tests/test_pipeline.py",
    "inference tune --study": "another study of the same search; test_pipeline.py runs one",
}
# words of the pages that stand for something of the reader's
STANDS_FOR = {
    "DIR": "csv",
    "NEW.csv": "csv/face_001_aligned.csv.gz",
    "NAME": "digits",
    "15": "1",  # the trial that won where ten_minutes.md was written
    "face_012": "face_002",
}
SMALL = ("d_model=16", "heads=2", "window=16", "context_after=16", "stride=8", "epochs=1", "device=cpu")
# options put behind a command's own, which they overrule
SHORT = {
    "tuner study": ("--trials", "4", "--agents", "1", "--wandb", "off"),
    "tuner verify": ("--top", "1", "--seeds", "1", "--agents", "1", "--wandb", "off"),
    "inference tune": ("--trials", "2"),
    "ensemble refit": ("--agents", "1", "--set", "epochs=1"),
    "inference watch": ("--idle", "0.1"),
}
# what a command must have said, where its exit status alone says little
SAYS = {
    "tuner study hypotheses": "claims are decided",
    "tuner verify": "winner's curse",
    "inference decode": "G",
}
# commands whose exit status is an answer
ANSWERS = {"tuner verdict": (0, NOT_BETTER, OPEN), "inference check": (0, 1), "inference watch": (0, 1)}
TRAINS_OUR_MODEL = re.compile(r"model train|tuner study (?!\S+\.yaml)")
SCRIPT = """\
import json, sys
x = float(sys.argv[1].partition("=")[2])
for epoch in range(2):
    print(json.dumps({"loss": x / (epoch + 1)}))
"""
SWEEP = """\
program: train.py
method: random
run_cap: 2
metric: {name: loss, goal: minimize}
parameters:
  x: {min: 0.0, max: 1.0}
"""


class Command(NamedTuple):
    """A command of a page; `line` counts from 1."""

    page: str
    line: int
    text: str

    @property
    def words(self) -> list[str]:
        """Its words up to a redirection, without its comment."""
        words = shlex.split(self.text, comments=True)
        ends = [i for i, word in enumerate(words) if word in (">", "|", "&", "&&", "2>&1")]
        return words[: ends[0]] if ends else words

    @property
    def ours(self) -> list[str]:
        """Program and arguments: `tuner best …`, `model train …` of `tuner model train …`; else empty."""
        first, *rest = self.words
        if first != "tuner":
            return []
        return rest if rest[0] in ROOMS else ["tuner", *rest]


def code_lines(page: str) -> Iterator[tuple[int, str]]:
    """Lines of the shell blocks, of the indented ones outside of any, and after `$ ` of a console."""
    language: str | None = None
    for number, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            language = line[3:] if language is None else None
        elif language in ("sh", "bash") or (language is None and line.startswith("    ")):
            yield number, line.strip()
        elif language == "console" and line.startswith("$ "):
            yield number, line[2:].strip()


def commands(page: str) -> list[Command]:
    """The commands of a page; output and other programs are left out."""
    found: list[Command] = []
    going_on = False
    for number, line in code_lines(page):
        if going_on:
            found[-1] = found[-1]._replace(text=found[-1].text.removesuffix("\\") + line)
        elif line.startswith(("tuner ", "make ")):
            found.append(Command(page, number, line))
        else:
            continue
        going_on = line.endswith("\\")
    return found


def files_of(page: str) -> dict[str, str]:
    """Fenced files: blocks whose first line is a comment with their path."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w+\n# (\S+/\S+\.(?:py|yaml))\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return dict(blocks)


COMMANDS = [command for page in PAGES for command in commands(page)]


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, tiny_csv: Path, no_processes: dict[str, Any]
) -> Iterator[Path]:
    """The reader's folder: recordings, a sweep of their own, the examples, and the files of the pages."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(tiny_csv, folder / "csv")
    shutil.copytree(ROOT / "examples", folder / "examples")
    written = {"path/to/train.py": SCRIPT, "path/to/sweep.yaml": SWEEP}
    for page in PAGES:
        written |= files_of(page)
    written["live.csv"] = gzip.decompress((tiny_csv / "face_002_aligned.csv.gz").read_bytes()).decode()
    for name, text in written.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(**no_processes)
        for name in ("TUNER_RESULTS", "TUNER_STORAGE", "TUNER_ARTIFACTS", "WANDB_API_KEY"):
            patch.delenv(name, raising=False)
        patch.setenv("WANDB_MODE", "offline")
        patch.setattr(
            "tuner.run.probe.measure",
            lambda file, config, *, inputs=None, threads=1: timed(workload_of(file), config, inputs=inputs),
        )
        # networks this small meet no constraint, and then a study has no winner
        patch.setattr("tuner.definition.constraints.Constraint.violation", lambda self, metrics: 0.0)
        torch.set_num_threads(1)  # on networks this small, threads only wait for each other
        patch.setattr(torch, "set_num_threads", lambda threads: None)
        yield folder


def shortened(command: Command, place: Path) -> list[str]:
    """A command's arguments as they are run here: those of the page with this test's around them."""
    words = [STANDS_FOR.get(word, word).replace("///mnt", f"//{place}") for word in command.ours]
    text = " ".join(words)
    instead = next((what for part, (what, _) in NOT_RUN.items() if part in text), None)
    if instead == "-h" and "--dry-run" not in words:
        return [*words[:2], "-h"]
    first, second = words[:2]
    theirs = {word.partition("=")[0] for word in words}
    small = [part for value in SMALL if value.partition("=")[0] not in theirs for part in ("--set", value)]
    small = small if TRAINS_OUR_MODEL.match(text) else []
    short = list(SHORT.get(f"{first} {second}", ()))
    if text.startswith("tuner study my_script/"):
        short[1] = "8"  # so that several are complete
    if text.startswith("tuner study all"):
        short = ["--wandb", "off"]
    if text.startswith("tuner study hypotheses --budget"):
        short[1] = "10"  # five pairs; a verdict needs three
    if "wandb_sklearn" in text:
        short += ["--trials", "1"]
    return [first, second, *small, *words[2:], *short]


def says(command: Command) -> str:
    """What its output must hold."""
    text = " ".join(command.ours)
    return next((what for part, what in SAYS.items() if part in text and "--dry-run" not in text), "")


def run(room: str, arguments: list[str]) -> Any:
    """`tuner room arguments` in this process; returns its exit status."""
    main = importlib.import_module(f"{room}.__main__").main
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{room}/__main__.py", *arguments])
        try:
            return main()
        except SystemExit as left:
            return left.code


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: f"{Path(c.page).stem}:{c.line} {c.text[:60]}")
def test_a_command_of_the_pages_runs(
    command: Command, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if command.words[0] == "make":
        subprocess.run(["make", "--dry-run", *command.words[1:]], cwd=ROOT, check=True, capture_output=True)
        return
    room, *arguments = shortened(command, place)
    assert room in ROOMS, f"{command.page}:{command.line}: no room '{room}'"
    status = run(room, arguments)
    said = capsys.readouterr()
    shown = f"$ {command.text}\n$ {room} {shlex.join(arguments)}\n{said.out}{said.err}"
    allowed = ANSWERS.get(f"{room} {arguments[0]}", (0, None))
    assert status in allowed, f"{command.page}:{command.line} ended with {status}\n{shown}"
    assert says(command) in said.out, shown
    print(shown)


def mentioned() -> list[Command]:
    """Commands within sentences."""
    found = []
    for page in PAGES:
        for number, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1):
            found += [Command(page, number, text) for text in re.findall(r"`(tuner [a-z][^`]+)`", line)]
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_option_of_the_pages_is_on_its_help_page(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    helps: dict[tuple[str, ...], str] = {}
    unknown = []
    for command in [c for c in COMMANDS + mentioned() if c.page == page and c.ours]:
        room, *rest = command.ours
        sub = tuple(rest[:1])
        if (room, *sub) not in helps:
            assert run(room, [*sub, "-h"]) == 0, f"{page}:{command.line}: {command.text}"
            helps[room, *sub] = capsys.readouterr().out
        options = {word.partition("=")[0] for word in rest if word.startswith("--")}
        unknown += [
            f"{page}:{command.line}: {option}"
            for option in sorted(options)
            if not re.search(rf"{option}\b(?!-)", helps[room, *sub])
        ]
    assert not unknown


OTHERS = sorted(
    {f"docs/{path.name}" for path in ROOT.glob("docs/*.md")} - {*PAGES, "docs/results_template.md"}
)
STARTS = re.compile(r"\$? ?tuner ")


def arguments_of(line: str) -> tuple[str, list[str]] | None:
    """The program and the arguments of a line; None: another program, or a form with gaps (…)."""
    start = STARTS.match(line)
    if start is None or "…" in line:
        return None
    room, *words = Command("", 0, line[start.start() :].lstrip("$ ")).ours
    return room, words


def of_other_pages() -> Iterator[tuple[str, list[str]]]:
    """Program and arguments of their commands."""
    for page in OTHERS:
        lines = "\n".join(line for _, line in code_lines(page)).replace("\\\n", " ").split("\n")
        for line in (part.strip() for whole in lines for part in whole.split("&&")):
            if found := arguments_of(line):
                yield found


def parts_of(room: str, words: list[str]) -> set[str]:
    """`tuner best`, `tuner best --top`: a command, and it with each of its options."""
    command = f"{room} {words[0] if words else ''}".strip()
    options = {word.partition("=")[0] for word in words if word.startswith("--") and word != "--"}
    return {command, *(f"{command} {option}" for option in options)}


def test_each_command_of_the_other_pages_is_run_by_a_test() -> None:
    here: set[str] = set()
    for command in (c for c in COMMANDS if c.ours):
        text = " ".join(command.ours)
        if "--dry-run" in text or not any(part in text for part in NOT_RUN):
            here |= parts_of(command.ours[0], command.ours[1:])
    wanted: set[str] = set()
    for room, words in of_other_pages():
        command, *_ = sorted(parts_of(room, words), key=len)
        wanted |= parts_of(room, words) - here if command in here else {command}
    assert sorted(wanted) == sorted(RUN_BY), "a command without a test, or an entry without a command"
    for part, file in RUN_BY.items():
        if file.endswith(".py"):
            name = part.split()[-1]
            assert re.search(rf"['\" ]{name}\b", (ROOT / "tests" / file).read_text()), f"{file}: no {part}"


def test_scripts_that_pages_name_have_the_options_that_they_are_given() -> None:
    wrong = []
    for page in (*PAGES, *OTHERS, "CONTRIBUTING.md"):
        found = re.findall(r"python ((?:benchmarks|docs)/\w+\.py)([^`\n]*)", (ROOT / page).read_text())
        for file, rest in found:
            text = (ROOT / file).read_text()
            wrong += [
                f"{page}: {file} {o}" for o in re.findall(r" (--[a-z-]+)", rest) if f'"{o}"' not in text
            ]
    assert not wrong


@pytest.mark.parametrize("page", OTHERS)
def test_the_parsers_take_every_command_of_the_other_pages(page: str) -> None:
    wrong = []
    lines = "\n".join(line for _, line in code_lines(page)).replace("\\\n", " ").split("\n")
    for line in (part.strip() for whole in lines for part in whole.split("&&")):
        found = arguments_of(line)
        if found is None:
            continue
        room, words = found
        try:
            importlib.import_module(f"{room}.__main__").build_parser().parse_args(words)
        except SystemExit as left:
            wrong += [f"{page}: {line}"] if left.code else []
    assert not wrong


def test_what_is_not_run_is_on_the_pages() -> None:
    texts = [" ".join(command.ours) for command in COMMANDS]
    assert [part for part in NOT_RUN if not any(part in text for text in texts)] == []


def test_the_pages_have_the_commands_that_this_test_looks_for() -> None:
    assert {page: len(commands(page)) > 20 for page in PAGES[:2]} == dict.fromkeys(PAGES[:2], True)
    assert {page: len(commands(page)) > 3 for page in PAGES[2:]} == dict.fromkeys(PAGES[2:], True)
    assert set(files_of("docs/ten_minutes.md")) == {"my_script/train.py", "my_script/sweep.yaml"}
