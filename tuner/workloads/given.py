"""A function, or a `Workload` class, that was given in Python: its name, and how agents get it.

It is pickled by value, so it may come from a notebook, a script without `if __name__ == "__main__"`, or be
a closure. What it refers to in other modules is imported by the agents.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
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

    try:
        with contextlib.suppress(Exception), _by_value(given):
            return bytes(cloudpickle.dumps(given))
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


@contextlib.contextmanager
def _by_value(given: Callable[..., Any]) -> Iterator[None]:
    """What is defined in the module of `given` is pickled by value meanwhile.

    By name, the agents would import the module; a script that calls `tuner.study` would start itself again.
    """
    import cloudpickle

    name = getattr(given, "__module__", None) or "__main__"
    module = sys.modules.get(name)
    if module is None or name in cloudpickle.list_registry_pickle_by_value():
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)
