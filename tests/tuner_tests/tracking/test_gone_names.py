"""Names that W&B no longer has: the installed client raises the errors that are recognised."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import wandb

from tuner.tracking.gone_names import instead


def message_of(call: Callable[[], Any]) -> str:
    with pytest.raises(Exception, match=r"\w") as caught:
        call()
    return f"trial 0 failed: {type(caught.value).__name__}: {caught.value}"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda: object.__new__(wandb.Run).get_sweep_url(),
            "no run.get_sweep_url(): use run.sweep_url",
        ),
        (lambda: object.__new__(wandb.Run).get_url(), "no run.get_url(): use run.url"),
        (lambda: wandb.init(magic=True), "no wandb.init(magic=…): leave it out"),
        (
            lambda: importlib.import_module("wandb.lightgbm"),
            "no wandb.lightgbm: use wandb.integration.lightgbm",
        ),
        (lambda: wandb.init(mode="disabled").log(commit=False), "use wandb.log({})"),  # type: ignore[call-arg]
    ],
)
def test_a_name_that_is_gone_is_told_with_what_took_its_place(call: Callable[[], Any], told: str) -> None:
    assert told in instead(message_of(call))


def test_other_errors_are_left_alone() -> None:
    assert instead("AttributeError: 'Net' object has no attribute 'get_url'") == ""


@pytest.mark.parametrize("name", ["sweep_url", "project_url", "url", "project", "finish"])
def test_what_took_the_place_is_there(name: str) -> None:
    assert hasattr(wandb.Run, name)
