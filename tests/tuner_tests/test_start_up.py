"""Starting is quick because nothing heavy is imported before a command needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tuner

pytestmark = pytest.mark.usefixtures("unmeasured")

HEAVY = (
    "optuna",
    "numpy",
    "scipy",
    "wandb",
    "rich",
    "yaml",
    "ruamel",
    "joblib",
    "sqlalchemy",
    "torch",
    "matplotlib",
)
COMMANDS = ("tuner -h", "tuner study -h", "tuner --version", "tuner completion bash")


def imported(code: str) -> set[str]:
    """The heavy packages that a process has imported after `code`."""
    code = (
        f"{code}\nimport sys; sys.stderr.write(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_importing_the_tuner_imports_nothing_heavy() -> None:
    assert imported("import tuner") == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_page_of_help_imports_nothing_heavy(command: str) -> None:
    code = (
        "import sys\n"
        "from tuner.__main__ import main\n"
        f"try: main({command.split()[1:]!r})\n"
        "except SystemExit: pass"
    )
    assert imported(code) == set()


def test_a_package_that_is_imported_would_be_seen() -> None:
    assert imported("import numpy") == {"numpy"}


def test_the_names_of_the_package_are_those_for_users() -> None:
    names = [name for name in dir(tuner) if not name.startswith("__")]
    assert names == sorted(tuner.__all__)
