"""A function, or a `Workload` class, that was given in Python: its name, and how agents get it.

It is pickled by value, so it may come from a notebook, a script without `if __name__ == "__main__"`, or be
a closure. What it refers to in other modules is imported by the agents.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

from tuner.base.errors import InputError


def name_of(given: Callable[..., Any]) -> str:
    """Its own name; `function` for a lambda."""
    inner = getattr(given, "func", given)  # functools.partial
    found = str(getattr(inner, "__name__", type(inner).__name__))  # or an object with __call__
    return found if found.isidentifier() else "function"


def text_of(given: Callable[..., Any]) -> str:
    """`module:name`, for people: nothing is imported by it."""
    return f"{getattr(given, '__module__', None) or '__main__'}:{name_of(given)}"


def packed(given: Callable[..., Any]) -> bytes:
    """Pickles it by value, with what it refers to in its own module; by name where that cannot be done.

    Raises:
        InputError: it holds something that cannot be sent to another process.
    """
    import cloudpickle

    # by name, the agents would import its module; a script that calls `tuner.study` would start itself again
    name = getattr(given, "__module__", None) or "__main__"
    module = sys.modules.get(name)
    by_value = module is not None and name not in cloudpickle.list_registry_pickle_by_value()
    try:
        if by_value:
            cloudpickle.register_pickle_by_value(module)
        try:
            with contextlib.suppress(Exception):
                return bytes(cloudpickle.dumps(given))
        finally:
            if by_value:
                cloudpickle.unregister_pickle_by_value(module)
        return bytes(cloudpickle.dumps(given))  # something in its module cannot be pickled; its name may do
    except Exception as error:
        raise InputError(
            f"{name_of(given)} cannot be sent to the agents: {error}; create its objects inside the function"
        ) from None


def unpacked(content: bytes) -> Any:
    """What `packed` was given. Only for what this process, or the one that started it, has packed."""
    import cloudpickle

    return cloudpickle.loads(content)


def source_digest(given: Callable[..., Any]) -> str:
    """A hash of its source text; empty where Python cannot tell it, or tells more than the function."""
    if getattr(given, "__name__", "<lambda>") == "<lambda>":
        return ""
    try:
        return hashlib.sha256(inspect.getsource(inspect.unwrap(given)).encode()).hexdigest()
    except (OSError, TypeError):
        return ""
