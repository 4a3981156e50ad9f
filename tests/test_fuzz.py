"""Whatever stands in a file or a message, each parser reads it or refuses it in one line. By hypothesis.

`PARSERS` has them all: what reads, what it is given, and how it may refuse. Most are given a right input that
was damaged (bits turned, cut off, parts doubled, hostile values put in), which comes further than noise.
`make test` tries a few fixed examples of each, `make test-all` many and new ones. Where `CI` is set the many
are fixed, too: a new one says something about the project, but nothing about the change at hand.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp.server.mcpserver.exceptions import ToolError
from optuna.trial import create_trial

from ensemble.bundle import WEIGHTED, Bundle, Member
from inference.live import RowStream
from inference.watch import rows_of_messages
from model.recording_files import read_recording
from model.tokens import canonical, tokenize
from tuner.artifacts.checkpoints import Checkpoint
from tuner.base.archives import pack, unpack
from tuner.base.command_line import settings as key_values
from tuner.base.errors import InputError
from tuner.base.run_folder import RunFolder
from tuner.base.sqlite_url import sqlite_url
from tuner.claims import judge
from tuner.claims import material as materials
from tuner.definition import expressions
from tuner.definition.campaign_file import read_campaign
from tuner.definition.loading import FOLDER, load_study_file
from tuner.definition.metric import Metric
from tuner.definition.study_file import StudyFile
from tuner.plugins.imports import sources
from tuner.plugins.mcp.tools import server as mcp_server
from tuner.plugins.server.serve import QueueService
from tuner.show.report.live import LivePage
from tuner.storage import study_store
from tuner.storage.access import default_url, open_database, open_records
from tuner.storage.records import Records
from tuner.storage.sql_queue import SqlQueue
from tuner.workloads.history import History
from tuner.workloads.stream import Stream

STUDY = """\
name: small
method: bayes
run_cap: 6
metric: {name: score, goal: maximize}
parameters:
  x: {min: 0.0, max: 1.0}
  y: {values: [1, 2, 4], probabilities: [0.5, 0.25, 0.25]}
  z: {distribution: q_log_uniform_values, min: 0.1, max: 10, q: 0.1}
early_terminate: {type: hyperband, min_iter: 1, eta: 3}
tuner:
  objective: "objective.py:train"
  max_epochs: 4
  requires: ["x * y <= 4"]
  when: {z: "y == 2"}
  hypotheses: [{claim: more is better, where: "x > 0.5", against: "x <= 0.5", gain: [0.01, 0.1]}]
"""
EVENTS = b"\n".join(
    json.dumps(event).encode()
    for event in (
        {"kind": "init", "run": "a", "rank": 0, "folder": "wandb/a", "time": 1.0},
        {"kind": "define", "run": "a", "name": "score", "summary": "max,last"},
        {"kind": "log", "run": "a", "data": {"score": 0.5, "b": {"c": 1}}, "step": None, "commit": None},
        {"kind": "summary", "run": "a", "data": {"score": 0.75}},
        {"kind": "returned", "data": {"score": 0.5}},
        {"kind": "problem", "message": "none"},
    )
)
REPORTS = b"\n".join(json.dumps({"epoch": n, "metrics": {"score": n / 4}}).encode() for n in range(4))
ROWS = b"\n".join(json.dumps({"epoch": n, "_step": n, "score": n / 4}).encode() for n in range(4))
TABLE = b'Name,x,y,score\nfirst,0.5,2,0.25\nsecond,"{""value"": 0.75}",4,nan\n'
RUN = {"name": "a", "config": {"x": {"value": 0.5}}, "summary": {"score": 0.5}, "history": []}
RECORDING = b"frame_r2.Ax,frame_r2.Ay,gcode_line,mpox,gcode_string\n" + b"".join(
    f"{n / 8},{-n},{n},{n}.5,G1 X{n}.25 F{100 + n}\n".encode() for n in range(24)
)
MESSAGE = json.dumps({"method": "claim", "arguments": {"study_id": 1, "user_attrs": {"a": 1}}}).encode()
CAMPAIGN = (FOLDER / "campaign.yaml").read_bytes()
A_BUNDLE = json.dumps(
    Bundle(
        name="mine", track="t", data_hash="", split_hash="", vocabulary_digits=4,
        members=(Member("members/0", "a", 0, "runs/a/0", {}, True, 100, None, 0),),
        weights=dict.fromkeys(WEIGHTED, (1.0,)),
    ).to_json()
).encode()  # fmt: skip
CALLS: dict[str, dict[str, Any]] = {
    "status": {"study": "small"}, "best": {"study": "small", "top": 2},
    "report": {"study": "small"}, "verdict": {"what": "small", "against": "small/0"},
    "enqueue": {"study": "small", "values": {"x": 0.5}},
}  # fmt: skip
EXAMPLES = int(os.environ.get("FUZZ", 200))  # of each parser, in `make test-all`

# -- what they are given

HOSTILE = [
    b"\0", b"\xff\xfe", b"\xed\xa0\x80", "\u2028".encode(), "²".encode(), b"\r", b"\n", b"\t", b'"', b"'",
    b"{", b"}", b"[", b"]", b":", b",", b"&a ", b"*a", b"!!python/name:os.system ", b"<<: ", b"#", b"%s",
    b"../..", b"/", b"|", b"nan", b".nan", b"Infinity", b"-.inf", b"1e999", b"-0", b"9" * 400, b"9" * 5000,
    b"0x" + b"f" * 300, b"1:0" * 60, b"[" * 3000, b"{a: " * 1500, b'{"a":' * 3000, b"null", b"true", b"~",
    b"", b'"\\ud800"', b"G91 ", b"X" * 2000,
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, right: bytes) -> bytes:
    """A right input with one to four damages."""
    content = bytearray(right)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        to = min(len(content), at + draw(st.integers(0, 40)))
        match draw(st.sampled_from(["bit", "hostile", "cut", "doubled", "lost", "bytes"])):
            case "bit" if at < len(content):
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "hostile":
                content[at:to] = draw(one(HOSTILE))
            case "cut":
                del content[at:]
            case "doubled":
                content[at:at] = content[at:to] * draw(st.integers(1, 40))
            case "lost":
                del content[at:to]
            case _:
                content[at:to] = draw(st.binary(max_size=8))
    return bytes(content)


WORDS: list[Any] = [
    "small",
    "small/0",
    "small/1",
    "x=0.5",
    "../x",
    "nan",
    "9" * 5000,
    "small/²",
    "x" * 20_000,
]
NUMBERS: list[Any] = [10**400, -(10**19), 0.5, 0, -1, 1e308]


def one(found: list[Any]) -> st.SearchStrategy[Any]:
    """One of them. Hypothesis writes down a strategy's values, which takes longer than the tests."""
    return st.integers(0, len(found) - 1).map(lambda place: found[place])


TEXTS = st.deferred(lambda: st.text(max_size=20) | one(WORDS))
JSON: st.SearchStrategy[Any] = st.deferred(
    lambda: st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | one(NUMBERS),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
        max_leaves=8,
    )
)


def structured(right: Any) -> st.SearchStrategy[Any]:
    """JSON of the form of `right` in which any part may be another value, or away."""
    if isinstance(right, Mapping):
        parts = {key: structured(value) for key, value in right.items()}
        return st.one_of(st.fixed_dictionaries({}, optional=parts), st.fixed_dictionaries(parts), JSON)
    if isinstance(right, list) and right:
        return st.one_of(st.lists(st.one_of([structured(value) for value in right]), max_size=4), JSON)
    return st.one_of(st.just(right), st.just(right), JSON)


def as_bytes(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return strategy.map(lambda content: json.dumps(content).encode())


def either(right: bytes) -> st.SearchStrategy[bytes]:
    """A right JSON text damaged, or with other values in it."""
    return damaged(right) | as_bytes(structured(json.loads(right)))


def lines_of(right: bytes) -> st.SearchStrategy[bytes]:
    """The same of lines of JSON."""
    line = st.one_of([structured(json.loads(line)) for line in right.splitlines()])
    return damaged(right) | st.lists(as_bytes(line), max_size=6).map(b"\n".join)


def of_yaml(right: bytes) -> st.SearchStrategy[bytes]:
    """The values of a YAML text with others among them, written as JSON, which is YAML."""
    return as_bytes(structured(yaml.safe_load(right)))


def expression(right: bytes) -> st.SearchStrategy[bytes]:
    """A right expression damaged, or operands and operators in any order."""
    words = st.lists(st.sampled_from(OPERANDS.split()), max_size=14)
    return damaged(right) | words.map(lambda found: " ".join(found).encode())


def asked(right: bytes) -> st.SearchStrategy[bytes]:
    """What a page asks for: a verb, and JSON."""
    verbs = st.sampled_from([b"stop ", b"pause ", b"enqueue ", b"delete ", b""])
    return st.tuples(verbs, either(right.partition(b" ")[2])).map(b"".join)


def called(right: tuple[str, dict[str, Any]]) -> st.SearchStrategy[tuple[str, Any]]:
    """Calls of a tool; the protocol lets only objects through."""
    return st.tuples(st.just(right[0]), structured(right[1]).filter(lambda given: isinstance(given, dict)))


OPERANDS = "x y kind nope a.b ( ) [ ] , + - * / // % ** == < in not and or is max( abs( 'a' 0 1e308 9"
# -- what reads


@dataclass
class Place:
    """What the parsers work in: a folder of their own, and one with a study `small` of two trials."""

    folder: Path
    results: Path
    study: StudyFile

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    @property
    def url(self) -> str:
        return default_url(self.results)

    @cached_property
    def storage(self) -> tuple[Any, SqlQueue]:
        return open_database(self.url, create=False)

    @cached_property
    def records(self) -> Records:
        return open_records(self.url)


def study_file(place: Place, content: bytes) -> object:
    return load_study_file(place.write("study.yaml", content))


def campaign(place: Place, content: bytes) -> object:
    return read_campaign(place.write("campaign.yaml", content))


def recording(place: Place, content: bytes) -> object:
    return read_recording(place.write("a.csv", content))


def pairs(place: Place, content: bytes) -> object:
    return key_values(content.decode(errors="replace").split())


def imported(name: str) -> Callable[[Place, bytes], object]:
    return lambda place, content: sources.read(str(place.write(name, content)), place.study)


def ray(place: Place, content: bytes) -> object:
    run = place.folder / "ray" / "run"
    run.mkdir(parents=True, exist_ok=True)
    (run / "params.json").write_text('{"x": 0.5}')
    (run / "result.json").write_bytes(content)
    return sources.read(str(run.parent), place.study)


def reports(place: Place, content: bytes) -> object:
    checkpoint = Checkpoint(place.folder / "checkpoint", None, lambda said: None)
    checkpoint.begin()
    place.write("checkpoint/reports.jsonl", content)
    return checkpoint.reports_before(2)


def rows(place: Place, content: bytes) -> object:
    files = place.folder / "rows" / "files"
    files.mkdir(parents=True, exist_ok=True)
    place.write("rows/metrics.jsonl", content)
    with RunFolder(place.folder / "runs" / "0", checkpoint=files) as folder:
        before = folder.before
        history = History(Metric("score"))
        history.log("", {"epoch": 2, "score": 1.0}, None, None)
        history.go_on(before)
        folder.log(2, {"score": 1.0})
        return folder.finish({})


def stream(which: str) -> Callable[[Place, bytes], object]:
    def read(place: Place, content: bytes) -> object:
        other = {"events": "output", "output": "events"}[which]
        place.write(other, b"")
        files = {which: place.write(which, content), other: place.folder / other}
        made = Stream(files["events"], files["output"], Metric("score"))
        for _ in made.read(all_of_it=True):
            pass
        made.settle()
        return made.history.score, made.history.take_complete(all_of_it=True), made.problems

    return read


def evaluated(place: Place, content: bytes) -> object:
    text = content.decode(errors="replace")
    expressions.names(text)
    return expressions.evaluate(text, {"x": 3, "y": 2.5, "kind": "a", "a": {"b": [1]}})


def verdict(place: Place, content: bytes) -> object:
    material = materials.load(place.records, (), place.results, made=None)  # type: ignore[arg-type]
    what, _, against = content.decode(errors="replace").partition(" ")
    return judge.between(material, what, against or None)


def page(place: Place, content: bytes) -> object:
    """The live page answers itself: 200, or 400 with one line."""
    said: list[str] = []
    live = LivePage(place.records, ["small"], place.results, token="t", cookie="c")
    verb, _, body = content.partition(b" ")
    environ = {
        "PATH_INFO": "/" + verb.decode(errors="replace"), "REQUEST_METHOD": "POST", "HTTP_HOST": "127.0.0.1",
        "HTTP_COOKIE": "c=t", "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body),
    }  # fmt: skip
    text = b"".join(live.app(environ, lambda status, _: said.append(status))).decode()
    if not said[0].startswith("200"):
        raise InputError(text)
    return text


def served(place: Place, content: bytes) -> object:
    """The server of `tuner serve` answers itself, with the error in the message."""
    nobody = SimpleNamespace(invocation_metadata=lambda: [])
    return json.loads(QueueService(*reversed(place.storage)).call(content, nobody))  # type: ignore[arg-type]


def tool(place: Place, content: tuple[str, Any]) -> object:
    """As the MCP server calls it; it tells the agent of an error."""
    name, arguments = content
    return asyncio.run(mcp_server(place.url, place.results).call_tool(name, arguments))


def watched(place: Place, content: bytes) -> object:
    cells = rows_of_messages(content.split(b"\n"), ["frame_r2.Ax", "b"])
    made = RowStream(next(cells), ("frame_r2.Ax", "b"), prefixes=(2,))
    for row in cells:
        made.add(row)
    assert all(np.isfinite(found.signals).all() for found in (made.recording(), made.moments(None)))
    return made


def tokens(place: Place, content: bytes) -> object:
    """The line as a recording has it: what no controller would take is refused there."""
    line = content.decode(errors="replace").replace('"', '""')
    read = read_recording(place.write("a.csv", f'frame_r2.Ax,gcode_string\n1,"{line}"\n'.encode()))
    return [tokenize(canonical(line), 4) for line in read.lines]


def bundle(place: Place, content: bytes) -> object:
    (place.folder / "bundle" / "members" / "0").mkdir(parents=True, exist_ok=True)
    place.write("bundle/bundle.json", content)
    return Bundle.load(place.folder / "bundle")


def archive(place: Place, content: bytes) -> object:
    return unpack(place.write("a.tar", content), place.folder / "unpacked")


def a_tar(folder: Path) -> bytes:
    (folder / "in").mkdir()
    (folder / "in" / "a.txt").write_text("text")
    pack(folder / "in", folder / "a.tar")
    return (folder / "a.tar").read_bytes()


def a_database(folder: Path) -> bytes:
    study = optuna.create_study(
        storage=sqlite_url(folder / "o.db"), study_name="theirs", direction="maximize"
    )
    distributions = {"x": optuna.distributions.FloatDistribution(0, 1)}
    study.add_trial(create_trial(params={"x": 0.5}, distributions=distributions, value=0.7))
    study._storage.remove_session()
    return (folder / "o.db").read_bytes()


def a_parquet(folder: Path) -> bytes:
    import polars

    polars.DataFrame({"x": [0.5, 0.25], "y": ["a", None], "score": [1.0, 2.0]}).write_parquet(folder / "p")
    return (folder / "p").read_bytes()


@dataclass(frozen=True)
class Parser:
    """What reads, a right input (or what makes it, in a folder), what becomes of it, how it is refused.

    `share`: of the examples; few where each starts a process.
    """

    read: Callable[[Place, Any], object]
    right: Any
    wrong: Callable[[Any], st.SearchStrategy[Any]] = damaged
    refuses: tuple[type[Exception], ...] = (InputError,)
    share: float = 1.0


PARSERS: dict[str, Parser] = {
    "study file": Parser(study_file, STUDY.encode()),
    "values of a study file": Parser(study_file, STUDY.encode(), of_yaml),
    "campaign": Parser(campaign, CAMPAIGN),
    "import of CSV": Parser(imported("runs.csv"), TABLE),
    "import of JSON": Parser(imported("runs.json"), json.dumps([RUN]).encode(), either),
    "import of JSON lines": Parser(imported("runs.jsonl"), json.dumps(RUN).encode(), lines_of),
    "import of parquet": Parser(imported("runs.parquet"), a_parquet, share=0.1),
    "import of Optuna": Parser(imported("runs.db"), a_database),
    "import of Ray": Parser(ray, b'{"score": 0.5, "trial_id": "a", "training_iteration": 1}', lines_of),
    "reports.jsonl": Parser(reports, REPORTS, lines_of),
    "metrics.jsonl": Parser(rows, ROWS, lines_of),
    "events of the W&B hook": Parser(stream("events"), EVENTS, lines_of, ()),
    "output of a script": Parser(stream("output"), ROWS, lines_of, ()),
    "expression": Parser(
        evaluated,
        b"x % y == 0 and not max(x, 3) > 2 or kind in ['a', 1e3, null]",
        expression,
        (ValueError, expressions.Unknown),
    ),
    "verdict": Parser(verdict, b"small/0 small/1"),
    "KEY=VALUE": Parser(pairs, b"x=0.5 y.z=[1,2] a='b' c={d:1}"),
    "live page": Parser(page, b'stop {"study": "small", "values": "x=0.5"}', asked),
    "message to the server": Parser(served, MESSAGE, either, ()),
    "archive": Parser(archive, a_tar),
    "recording": Parser(recording, RECORDING),
    "rows of MQTT": Parser(watched, b'{"frame_r2.Ax": 1.5, "b": "2"}', lines_of),
    "line of G-code": Parser(tokens, b"N10 G1 X1.25 Y-.5 Z+3 F200 (to the left) M3 S1000"),
    "bundle": Parser(bundle, A_BUNDLE, either),
} | {f"MCP: {name}": Parser(tool, (name, given), called, (ToolError,)) for name, given in CALLS.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "work").mkdir()
    (folder / "objective.py").write_text("def train(config, report): return {'score': config['x']}\n")
    (folder / "small.yaml").write_text(STUDY)
    file = load_study_file(folder / "small.yaml")
    records = open_records(default_url(folder / "results"), create=True)
    study = study_store.open_study(records, file, study_store.Origin({}))
    fitting = {name: file.space.distributions()[name] for name in ("x", "y")}
    for x in (0.25, 0.5):
        study.add_trial(create_trial(value=x, params={"x": x, "y": 1}, distributions=fitting))
    return Place(folder / "work", folder / "results", file)


def right_of(name: str, folder: Path) -> Any:
    right = PARSERS[name].right
    return right(folder) if callable(right) else right


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_reads_what_is_right(name: str, place: Place, tmp_path: Path) -> None:
    PARSERS[name].read(place, right_of(name, tmp_path))


def attack(name: str, place: Place, right: Any, *, examples: int, fixed: bool) -> None:
    """Gives a parser so many wrong inputs."""
    parser, slow = PARSERS[name], list(HealthCheck)

    @settings(
        max_examples=examples, derandomize=fixed, database=None, deadline=None, suppress_health_check=slow
    )
    @given(parser.wrong(right))
    def reads_or_refuses(content: Any) -> None:
        beside = set(place.folder.parent.iterdir())
        try:
            parser.read(place, content)
        except parser.refuses as error:
            assert "\n" not in str(error) or name.startswith("MCP"), error  # pydantic says several things
        assert set(place.folder.parent.iterdir()) == beside

    reads_or_refuses()


@pytest.mark.hostile("damaged input of each parser")
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_reads_or_refuses(
    name: str, place: Place, tmp_path: Path, record_property: Callable[..., None]
) -> None:
    record_property("inputs", 8)
    attack(name, place, right_of(name, tmp_path), examples=8, fixed=True)


@pytest.mark.hostile("damaged input of each parser")
@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_reads_or_refuses_for_long(
    name: str, place: Place, tmp_path: Path, record_property: Callable[..., None]
) -> None:
    examples = round(EXAMPLES * PARSERS[name].share)
    record_property("inputs", examples)
    attack(name, place, right_of(name, tmp_path), examples=examples, fixed="CI" in os.environ)
