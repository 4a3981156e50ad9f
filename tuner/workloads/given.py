"""A function, or a `Workload` class, that was given in Python: its name, and how agents get it.

It is pickled by value, so it may come from a notebook, a script without `if __name__ == "__main__"`, or be
a closure. What it refers to in other modules is imported by the agents.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

from tuner.base.errors import InputError


def name_of(given: Callable[..., Any]) -> str:
    """Its own name; `function` for a lambda."""
    inner = _inner(given)
    found = str(getattr(inner, "__name__", type(inner).__name__))  # or an object with __call__
    return found if found.isidentifier() else "function"


def text_of(given: Callable[..., Any]) -> str:
    """`module:name`, for people: nothing is imported by it."""
    return f"{_module_of(given)}:{name_of(given)}"


def _module_of(given: Callable[..., Any]) -> str:
    return getattr(_inner(given), "__module__", None) or "__main__"


def _inner(given: Any) -> Any:
    """The function of a `functools.partial`."""
    return getattr(given, "func", given)


def packed(given: Callable[..., Any]) -> bytes:
    """Pickles it by value, with what it refers to in its own module; by name where that cannot be done.

    Raises:
        InputError: it holds something that cannot be sent to another process.
    """
    import cloudpickle

    # by name, the agents would import its module; a script that calls `tuner.study` would start itself again
    name = _module_of(given)
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


def code_digest(given: Callable[..., Any]) -> str:
    """A hash of what a function does: its code, its default values, what it encloses and what it uses of its
    module; of a `functools.partial` its arguments as well. Empty for other objects.
    """
    if not isinstance(given, FunctionType | functools.partial):
        return ""
    return hashlib.sha256("\n".join(_parts(given, set())).encode(errors="replace")).hexdigest()


def _parts(value: Any, seen: set[int]) -> Iterator[str]:
    if isinstance(value, functools.partial):
        for part in (value.func, *value.args, *sorted(value.keywords.items())):
            yield from _parts(part, seen)
    elif isinstance(value, FunctionType):
        if id(value) in seen:  # it calls itself, or both call each other
            return
        seen.add(id(value))
        yield from _parts(value.__code__, seen)
        names = [value.__globals__[name] for name in value.__code__.co_names if name in value.__globals__]
        used = [each for each in names if isinstance(each, FunctionType | int | float | str | None)]
        closed = [cell.cell_contents for cell in value.__closure__ or () if cell != type(cell)()]
        for part in (
            *(value.__defaults__ or ()),
            *sorted((value.__kwdefaults__ or {}).items()),
            *closed,
            *used,
        ):
            yield from _parts(part, seen)
    elif isinstance(value, CodeType):
        yield f"{value.co_code.hex()} {value.co_names} {value.co_varnames}"
        for part in value.co_consts:
            yield from _parts(part, seen)
    elif isinstance(value, set | frozenset):
        yield str(sorted(map(repr, value)))  # their order differs by process
    else:
        with contextlib.suppress(Exception):
            yield re.sub(r" at 0x[0-9a-f]+", "", repr(value))
