"""Secrets of the environment reach a script and nothing else: no file, no database, no terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuner.base.errors import TrainingFailed
from tuner.workloads.masking import Mask

pytestmark = pytest.mark.slow

SECRETS = {
    "SERVICE_TOKEN": "tok-5up3rs3cret",
    "DB_PASSWORD": "correct horse battery",
    "SHORT_PASSWORD": "hunt3r",
    "QUOTED_SECRET": 'a"quoted\\secret',
    "PRIVATE_KEY": "-----BEGIN KEY-----\nMIIEvQIBADANBgkqh\nkiG9w0BAQEFAASC\n-----END KEY-----",
    "TUNER_STORAGE": "postgresql://tuner:st0rage pass@db.example/tuner",
    "FEATURE_STORE": "redis://:r3dis-passw0rd@cache:6379/0",
    "LICENCE": "licence-0123456789",  # passed on by the study file
}
PARTS = [
    *("tok-5up3rs3cret", "correct horse", "hunt3r", 'a"quoted', "MIIEvQIBADANBgkqh", "kiG9w0BAQEFAASC"),
    *("st0rage pass", "r3dis-passw0rd", "licence-0123456789", urllib.parse.quote("correct horse battery")),
]

SCRIPT = """
    import json, os, sys, urllib.parse
    names = ["SERVICE_TOKEN", "DB_PASSWORD", "SHORT_PASSWORD", "QUOTED_SECRET", "PRIVATE_KEY"]
    secrets = {name: os.environ[name] for name in [*names, STORAGE, "FEATURE_STORE", "LICENCE"]}
    assert f"--licence={secrets['LICENCE']}" in sys.argv
    print(dict(os.environ), json.dumps(secrets), *secrets.values(), *sys.argv)
    print("https://me:inline-passw0rd@example.org/x", urllib.parse.quote(secrets["DB_PASSWORD"]))
    sys.stdout.write("progress " * 9000 + secrets["SERVICE_TOKEN"])
    print(json.dumps({"acc": 1, "why": secrets["DB_PASSWORD"], secrets["SERVICE_TOKEN"]: 2}))
    sys.exit(repr(secrets) + "\\n" + " ".join(secrets.values()))
"""


def leaks(*places: Path, texts: tuple[str, ...] = ()) -> list[str]:
    """Where a secret, or a part of one, is written."""
    found = [f"{part} in a text" for part in PARTS for text in texts if part in text]
    for place in places:
        for path in place.rglob("*"):
            content = path.read_bytes() if path.is_file() else b""
            found += [f"{part} in {path}" for part in (*PARTS, "inline-passw0rd") if part.encode() in content]
    return found


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


COMMAND = ("${interpreter}", "${program}", "--licence=${envvar:LICENCE}", "${args}")


@pytest.mark.usefixtures("planted")
def test_what_a_failing_script_prints_leaves_without_secrets(sandbox: Any) -> None:
    sandbox.script(SCRIPT.replace("STORAGE", "'TUNER_STORAGE'"))

    with pytest.raises(TrainingFailed) as raised:
        sandbox.run(command=COMMAND)

    assert "***" in str(raised.value) and "SERVICE_TOKEN" in str(raised.value)
    assert "https://me:***@example.org/x" in sandbox.output
    assert leaks(sandbox.results, texts=(str(raised.value), repr(sandbox.reported))) == []


@pytest.mark.usefixtures("planted")
def test_texts_that_a_script_logs_leave_without_secrets(sandbox: Any) -> None:
    sandbox.script("""
        import json, os
        print(json.dumps({"acc": 1, "why": os.environ["DB_PASSWORD"], os.environ["SERVICE_TOKEN"]: 2}))
    """)

    assert sandbox.run() == {"acc": 1, "***": 2}
    assert sandbox.result["summary"]["why"] == "***"
    assert leaks(sandbox.results) == []


@pytest.mark.usefixtures("planted")
def test_a_killed_agent_leaves_no_secrets(sandbox: Any, wait_until: Callable[..., bool]) -> None:
    sandbox.script("""
        import os, time, wandb
        run = wandb.init(mode="disabled")
        run.log({"acc": 1, "why": os.environ["DB_PASSWORD"]})
        print(os.environ["SERVICE_TOKEN"])
        open("ready", "w").close()
        time.sleep(60)
    """)
    agent = f"""
from pathlib import Path
from tuner.definition.metric import Metric
from tuner.workloads.script_trial import Script
folder = Path({str(sandbox.folder)!r})
run = Script(study="s", program="train.py", command=None, folder=folder, metric=Metric("acc"))
run({{}}, lambda *_: None, run_folder=Path({str(sandbox.run_folder)!r}))
"""
    scratch = sandbox.folder / "scratch"
    scratch.mkdir()
    process = subprocess.Popen([sys.executable, "-c", agent], env={**os.environ, "TMPDIR": str(scratch)})
    assert wait_until((sandbox.folder / "ready").exists, 30)
    process.kill()
    process.wait()

    assert wait_until(lambda: not list(scratch.glob("tuner-trial-*")))
    assert leaks(sandbox.results) == []


def test_a_whole_study_leaves_no_secrets(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        textwrap.dedent(SCRIPT.replace("STORAGE", "'OPTUNA_DB'")), encoding="utf-8"
    )
    (tmp_path / "sweep.yaml").write_text(
        textwrap.dedent("""
            program: train.py
            method: random
            metric: {name: acc, goal: maximize}
            parameters: {x: {min: 0.0, max: 1.0}}
            command: ["${interpreter}", "${program}", "--licence=${envvar:LICENCE}", "${args}"]
        """)
    )
    results = tmp_path / "results"
    command = [sys.executable, "-m", "tuner", "study", "sweep.yaml", "--trials", "1", "--agents", "1"]
    secrets = {**SECRETS, "OPTUNA_DB": SECRETS["TUNER_STORAGE"]}
    del secrets["TUNER_STORAGE"]  # it would be the study's own
    done = subprocess.run(
        [*command, "--results", str(results)],
        cwd=tmp_path,
        env={**os.environ, **secrets},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    report = subprocess.run(
        [sys.executable, "-m", "tuner", "report", "sweep", "--results", str(results)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    texts = (done.stdout, done.stderr, report.stdout, report.stderr)
    assert "trial 0 failed" in done.stderr
    assert report.returncode == 0, report.stderr
    assert list(results.rglob("*.db"))
    assert leaks(results, texts=texts) == []


# -- the mask alone


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "false"),
        ("API_KEY", "1234"),
        ("DATA_URL", "https://example.org/data"),
        ("KEYBOARD", "de"),
        ("OMP_NUM_THREADS", "1"),
    ],
)
def test_ordinary_values_are_left_alone(name: str, value: str) -> None:
    assert Mask({name: value}).text(f"here {value} there") == f"here {value} there"


def test_a_short_password_is_blanked_as_a_word_only() -> None:
    mask = Mask({"DB_PASSWORD": "train"})

    assert mask.text("train training 'train'") == "*** training '***'"


def test_a_password_in_a_url_is_blanked_with_whatever_it_contains() -> None:
    mask = Mask({"DSN": "postgresql://me:p@ss w/ord%21@db/x"})

    assert (
        mask.text("p@ss w/ord%21 and p@ss w/ord! at postgresql://me:p@ss w/ord%21@db/x")
        == "*** and *** at ***"
    )
    assert mask.text("https://u:other@host/a?b=c@d") == "https://u:***@host/a?b=c@d"
    assert mask.text("http://host:80/a b@c") == "http://host:80/a b@c"


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("DATABASE_URL", "postgresql://me:p4ss w0rd@db/x", "p4ss w0rd"),
        ("SENTRY_DSN", "https://0f3c9d@sentry.example/7", "0f3c9d@sentry"),
        ("PG_DSN", "host=db user=me password='p4ss w0rd' dbname=x", "p4ss w0rd"),
        ("ODBC", "Driver=x;Server=db;Pwd=p4ssw0rd;Uid=me", "p4ssw0rd"),
        ("MYSQL_DSN", "me:p4ssw0rd@tcp(db:3306)/x", "p4ssw0rd"),
        ("SLACK_WEBHOOK_URL", "https://hooks.example/services/T0/B0/xyz0", "services/T0/B0/xyz0"),
        ("BLOB_URL", "https://blob.example/data?sv=1&sig=a1b2c3d4", "a1b2c3d4"),
        ("AZURE_CONNECTION_STRING", "AccountName=x;AccountKey=a1b2c3d4==", "a1b2c3d4"),
    ],
)
def test_addresses_with_a_key_in_them_are_secrets(name: str, value: str, part: str) -> None:
    mask = Mask({name: value})

    assert part not in mask.text(f"{name}={value} and {value!r}")


def test_keys_in_urls_are_blanked_in_any_text() -> None:
    text = "GET https://api.example/x?page=2&api_key=a1b2c3d4&n=1"

    assert Mask({}).text(text) == "GET https://api.example/x?page=2&api_key=***&n=1"


FUNCTION = """
    import os
    def train(config, report):
        print("the token:", os.environ["SERVICE_TOKEN"], flush=True)
        os.system("echo $DB_PASSWORD")
        report(0, {"acc": 0.5})
        raise ValueError(f"refused: {os.environ['SERVICE_TOKEN']} at {os.environ['FEATURE_STORE']}")
"""


def test_a_function_leaves_no_secrets(tmp_path: Path) -> None:
    (tmp_path / "objective.py").write_text(textwrap.dedent(FUNCTION))
    (tmp_path / "sweep.yaml").write_text(
        textwrap.dedent("""
            method: random
            metric: {name: acc, goal: maximize}
            parameters: {x: {min: 0.0, max: 1.0}}
            tuner: {objective: "objective.py:train"}
        """)
    )
    command = [sys.executable, "-m", "tuner", "study", "sweep.yaml", "--trials", "1", "--agents", "1"]
    secrets = {name: value for name, value in SECRETS.items() if name != "TUNER_STORAGE"}
    done = subprocess.run(
        [*command, "--wandb", "off"],
        cwd=tmp_path,
        env={**os.environ, **secrets},
        capture_output=True,
        text=True,
        check=False,
    )

    (log,) = (tmp_path / "results" / "logs").glob("*.log")
    assert "the token: ***" in log.read_text()
    assert "refused: *** at ***" in done.stderr
    assert leaks(tmp_path / "results", texts=(done.stdout, done.stderr)) == []
