"""Variables of this process that hold for a while."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping


@contextlib.contextmanager
def in_environment(values: Mapping[str, str], *, without: Collection[str] = ()) -> Iterator[None]:
    """Sets variables of this process, which those started meanwhile inherit, and puts them back.

    Args:
        without: variables that are not set meanwhile.
    """
    before = {name: os.environ.get(name) for name in (*values, *without)}
    try:
        for name in without:
            os.environ.pop(name, None)
        os.environ.update(values)
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
