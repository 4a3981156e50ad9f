"""Safe expressions over a configuration, for `requires`, `when` and hypotheses.

They have Python's comparison, arithmetic and boolean operators, and lists. true, false and null are spelled
as in YAML or Python. Names are keys of the configuration, with dots for nested keys. Examples:
`d_model % heads == 0`, `loss_type in ['focal']`.
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

LONGEST = 500  # characters; this also limits the nesting
MISSING: Any = object()  # in place of the value of a name that a configuration does not have
_WORDS = {"true": True, "false": False, "null": None}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {"min": min, "max": max, "abs": abs}
_BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: lambda a, b: _number(a) * _number(b),
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: lambda a, b: _number(a) % b,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
    ast.Is: lambda a, b: a is b,
    ast.IsNot: lambda a, b: a is not b,
}


def _number(value: Any) -> int | float:
    """`value`, if it is one: Python repeats texts (`'a' * 10000000000`) and fills them in (`'%9d' % 1`)."""
    if not isinstance(value, int | float):
        raise TypeError(f"expected a number, got {type(value).__name__}")
    return value


class Unknown(KeyError):
    """A name in the expression has no value in the configuration (an inactive parameter, for example)."""


@functools.lru_cache(maxsize=512)
def parse(text: str) -> ast.expr:
    """Parses the expression into a syntax tree.

    Raises:
        ValueError: the text is not an expression, or uses something that is not allowed here.
    """
    if len(text) > LONGEST:
        raise ValueError(f"expected at most {LONGEST} characters, got {len(text)}: {text[:20]!r}…")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"not an expression: {text!r} ({getattr(error, 'msg', error)})") from None
    _check(tree, text)
    return tree


def names(text: str) -> frozenset[str]:
    """The names that the expression reads from the configuration."""
    return frozenset(_names(parse(text)))


def evaluate(text: str, config: Mapping[str, Any]) -> Any:
    """The expression's value for a (nested) configuration.

    Raises:
        Unknown: a name has no value in `config`.
        ValueError: the operands have incompatible types (a number is compared with a word).
    """
    try:
        return _value(parse(text), config)
    except (TypeError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"{text!r} cannot be evaluated: {error}") from None


def lookup(name: str, config: Mapping[str, Any]) -> Any:
    """The value of a dotted name in a nested configuration, or MISSING. A key with dots takes precedence."""
    if name in config:
        return config[name]
    head, _, rest = name.partition(".")
    inner = config.get(head)
    return lookup(rest, inner) if rest and isinstance(inner, Mapping) else MISSING


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (head := _dotted(node.value)):
        return f"{head}.{node.attr}"
    return None


def _check(node: ast.expr, text: str) -> None:
    match node:
        case ast.Constant(value=value) if value is None or isinstance(value, bool | int | float | str):
            return
        case ast.Name() | ast.Attribute() if _dotted(node):
            return
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.BoolOp(values=parts):
            pass
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=operand):
            parts = [operand]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            parts = [left, right]
        case ast.Compare(left=left, comparators=rest):
            parts = [left, *rest]
        case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]) if name in _FUNCTIONS:
            pass
        case _:
            raise ValueError(
                f"{ast.unparse(node)!r} is not allowed in {text!r}; use only comparisons and arithmetic"
            )
    for part in parts:
        _check(part, text)


def _names(node: ast.expr) -> set[str]:
    dotted = _dotted(node)
    if dotted is not None:
        return set() if dotted in _WORDS else {dotted}
    children = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
    if isinstance(node, ast.Call):
        children = list(node.args)
    return set().union(*(_names(child) for child in children)) if children else set()


def _value(node: ast.expr, config: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            name = _dotted(node) or ""
            if (found := _WORDS[name] if name in _WORDS else lookup(name, config)) is MISSING:
                raise Unknown(name)
            return found
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_value(part, config) for part in parts]
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_value(part, config) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_value(part, config) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, config)
        case ast.UnaryOp(op=op, operand=operand):
            value = _value(operand, config)
            return -value if isinstance(op, ast.USub) else value
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, config), _value(right, config))
        case ast.Compare(left=left, ops=ops, comparators=rest):
            values = [_value(part, config) for part in (left, *rest)]
            return all(_BINARY[type(op)](*values[i : i + 2]) for i, op in enumerate(ops))
        case ast.Call(func=ast.Name(id=name), args=parts):
            return _FUNCTIONS[name](*(_value(part, config) for part in parts))
    raise AssertionError(f"parse did not reject {ast.dump(node)}")
