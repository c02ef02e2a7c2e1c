"""Values that somebody keeps who got them of a graph: to touch one when it is gone is a crash."""

from __future__ import annotations

import weakref

import paddle
from paddle.base.libpaddle import pir

_OF_VALUES: dict[int, tuple[weakref.ref[paddle.Tensor], paddle.static.Program]] = {}
"""Graphs that stay as long as a value of theirs does, by the reference to the value."""


_FOR_GOOD: list[paddle.static.Program] = []
"""Graphs that stay: there is no telling what was made of a value."""


def keep_graph_for(thing: object, program: paddle.static.Program) -> None:
    """Lets ``program`` stay as long as one of its values in the nested ``thing`` does."""
    for value in filter(_is_value, paddle.utils.flatten(thing)):
        reference = weakref.ref(value, _forget)
        # By number: to look a reference up would compare values, which appends an op.
        _OF_VALUES[id(reference)] = reference, program


def _is_value(thing: object) -> bool:
    return isinstance(thing, pir.Value)


def _forget(reference: weakref.ref[paddle.Tensor]) -> None:
    _OF_VALUES.pop(id(reference), None)


def keep_graph(program: paddle.static.Program) -> None:
    """Lets ``program`` stay for good. That costs the memory of its ops, not of weights."""
    _FOR_GOOD.append(program)
