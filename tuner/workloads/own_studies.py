"""A script of Optuna's that optimises as soon as it is imported: its study is not run."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock


class _Reached(BaseException):
    """The script has come to its own `study.optimize`; no `except Exception` of its keeps it."""


@contextlib.contextmanager
def not_run(path: Path) -> Iterator[None]:
    """While the script at `path` is imported: `study.optimize` ends the import, studies are in memory alone.

    What stands behind that call is about the study's result. Without this, each process that looks at the
    objective would run the whole study first, and find the second time that its name is taken.
    """
    if b".optimize(" not in path.read_bytes():
        yield
        return
    import optuna  # half a second, which only such a script waits for

    create = optuna.create_study

    @functools.wraps(create)
    def in_memory(**told: Any) -> optuna.Study:
        return create(**{**told, "storage": None})

    def reached(*_: Any, **__: Any) -> None:
        raise _Reached

    with (
        mock.patch.object(optuna.Study, "optimize", reached),
        mock.patch.object(optuna, "create_study", in_memory),
        mock.patch.object(optuna.study, "create_study", in_memory),
        contextlib.suppress(_Reached),
    ):
        yield
