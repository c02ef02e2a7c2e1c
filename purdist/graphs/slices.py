"""Which part of a program something depends on."""

from __future__ import annotations

from collections.abc import Iterable

import paddle

from purdist.graphs.looking import (
    Operation,
    data_name,
    identity,
    is_feed,
    is_tensor,
    operations,
    read_ids,
    value_ids,
)


def upstream(ops: Iterable[Operation], value: paddle.Tensor) -> list[Operation]:
    """Those of ``ops``, in order, that ``value`` is computed from."""
    needed, found = {value.id}, []
    for op in reversed(list(ops)):
        if not needed.isdisjoint(value_ids([op])):
            needed |= read_ids([op])
            found.append(op)
    return found[::-1]


def feeds_of(program: paddle.static.Program, value: paddle.Tensor) -> set[str]:
    """The names of the feeds that ``value`` is computed from."""
    return {data_name(op) for op in upstream(operations(program), value) if is_feed(op)}


def fed_ids(program: paddle.static.Program) -> set[str]:
    """The ids of the values of ``program`` that depend on a feed."""
    results = [v for op in operations(program) for v in op.results() if identity(v)]
    lists = {v.id for v in results if not is_tensor(v)}
    fed: set[str] = set()
    for op in operations(program):
        read = read_ids([op])
        if is_feed(op) or not fed.isdisjoint(read):
            fed |= value_ids([op]) | (read & lists)  # which it may have filled
    return fed
