"""The macros of `command:` against `wandb agent` itself, whose own code builds the expected arguments."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuner.workloads import macros

MACROS = (
    "${env}",
    "${interpreter}",
    "${program}",
    "${args}",
    "${args_no_equals}",
    "${args_no_hyphens}",
    "${args_no_boolean_flags}",
    "${args_append_hydra}",
    "${args_override_hydra}",
    "${args_json}",
    "${args_json_file}",
    "${args_dict}",
    "${envvar:MACRO_TEST_SET}",
    "${envvar:MACRO_TEST_UNSET}",
    "x-${envvar:MACRO_TEST_SET}-${envvar:MACRO_TEST_UNSET}",
    "--config=${args_json_file}",
    "${nobody}",
    "${",
    "plain word; $HOME",
)
NAMES = st.text("abcxyz_.-/", min_size=1, max_size=6)
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2)
)


class Agent:
    """`wandb agent` up to the moment when it would start a process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        from wandb import wandb_agent

        class Recorded:
            last_sigterm_time = None

            def __init__(self, *, command: list[str], env: dict[str, str], forward_signals: bool) -> None:
                recorded.append(command)

        recorded: list[list[str]] = []
        monkeypatch.setattr(wandb_agent, "AgentProcess", Recorded)
        monkeypatch.setenv("WANDB_DIR", str(folder))
        monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
        monkeypatch.setenv("MACRO_TEST_SET", "a b")
        for name in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
            monkeypatch.setenv(name, "restored afterwards")
        self.json_file = folder / "wandb" / "sweep-sweep" / "config-run.json"
        self._recorded = recorded
        self._agent = object.__new__(wandb_agent.Agent)
        self._agent._in_jupyter = self._agent._function = None
        self._agent._forward_signals = False
        self._agent._run_processes = {}

    def command(self, command: list[Any], program: str, config: dict[str, Any]) -> list[str]:
        self._agent._sweep_command = list(command)
        parameters = {name: {"value": value} for name, value in config.items()}
        self._agent._command_run({"run_id": "run", "program": program, "args": parameters})
        return self._recorded.pop()


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Agent:
    return Agent(monkeypatch, tmp_path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    command=st.lists(st.sampled_from(MACROS) | st.integers(0, 9), min_size=1, max_size=6),
    config=st.dictionaries(NAMES, VALUES, max_size=4),
)
def test_every_command_expands_as_wandb_agent_expands_it(
    agent: Agent, command: list[Any], config: dict[str, Any]
) -> None:
    expected = agent.command(command, "train.py", config)

    expanded = macros.expand(
        command,
        program="train.py",
        config=config,
        json_file=agent.json_file,
        environment=os.environ,
        interpreter="python",
    )

    assert expanded == expected
    if "${args_json_file}" in command:
        assert macros.as_json(config) == agent.json_file.read_text()


def test_without_a_command_the_program_gets_flags() -> None:
    expanded = macros.expand(
        None,
        program="train.py",
        config={"lr": 1e-5, "flag": False},
        json_file=Path("unused"),
        environment={},
        interpreter="python",
    )

    assert expanded == ["/usr/bin/env", "python", "train.py", "--lr=1e-05", "--flag=False"]


def test_a_value_with_shell_characters_stays_one_argument() -> None:
    expanded = macros.expand(
        ["${args_no_equals}", "${args_json}"],
        program=None,
        config={"text": "a; rm -rf $(x) 'y'"},
        json_file=Path("unused"),
        environment={},
    )

    assert expanded == ["--text", "a; rm -rf $(x) 'y'", json.dumps({"text": "a; rm -rf $(x) 'y'"})]


def test_it_is_known_which_commands_carry_a_variable() -> None:
    assert macros.variables(["python", "--key=${envvar:API_KEY}"]) == {"API_KEY"}
    assert not macros.variables(["python", "${args}"])
    assert not macros.variables(None)
