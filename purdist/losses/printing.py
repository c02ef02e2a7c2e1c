"""A loss as the call that makes it."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Iterator, Mapping
from enum import Enum

import attrs

_LAST = ("weight", "name")
"""What every loss has stands behind what this one has."""


def call_of(loss: attrs.AttrsInstance, **instead: object) -> str:
    """The call that makes ``loss``, what is as by default left out.

    Args:
        loss: What is made.
        instead: Field -> what is handed over for it, where it holds something else.
    """
    of_call = sorted(attrs.fields(type(loss)), key=lambda f: (f.kw_only, f.name in _LAST))
    arguments = []
    for field in filter(lambda f: f.init, of_call):
        value = getattr(loss, field.name)
        mandatory = field.default is attrs.NOTHING
        if mandatory or value != field.default:
            written = in_code(instead.get(field.name, value))
            by_position = mandatory and not field.kw_only
            arguments.append(written if by_position else f"{field.alias}={written}")
    return f"{type(loss).__name__}({', '.join(arguments)})"


def in_code(value: object) -> str:
    """``value`` as one writes it in Python, as far as it has a name there."""
    match value:
        case functools.partial():
            return f"functools.partial({', '.join(_bound(value))})"
        case Enum():
            return f"{type(value).__name__}.{value.name}"
        case float() if not math.isfinite(value):
            return f"float('{value}')"
        case list():
            return f"[{', '.join(map(in_code, value))}]"
        case tuple() if type(value) is tuple:
            return f"({', '.join(map(in_code, value))}{',' * (len(value) == 1)})"
        case Mapping():
            pairs = (f"{in_code(key)}: {in_code(held)}" for key, held in value.items())
            return f"{{{', '.join(pairs)}}}"
    if inspect.ismethod(value):
        return f"{in_code(value.__self__)}.{value.__name__}"
    if inspect.isroutine(value) or inspect.isclass(value):
        return str(value.__qualname__).rpartition("<locals>.")[2]
    return repr(value)


def _bound(function: functools.partial[object]) -> Iterator[str]:
    yield from map(in_code, (function.func, *function.args))
    yield from (f"{key}={in_code(value)}" for key, value in function.keywords.items())
