"""Making programs out of programs: copying, cutting, appending, changing mode.

``Program.clone`` and ``Operation.clone`` drop what Python hung on a parameter (its
learning rate factor, its regularizer); everything here carries it over.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import attrs
import paddle
from paddle.base.libpaddle import pir

from purdist.pir.looking import (
    PARAMETER,
    Operation,
    dtype_name,
    identity,
    operations,
    overwritten,
    parameter_name,
    reads,
)

V = TypeVar("V")

_CLONE = pir.CloneOptions(True, True, True)  # noqa: FBT003 - regions, operands, successors
_SET_PARAMETER = "builtin.set_parameter"

_MARKERS = frozenset({"pd_op.fetch", "builtin.shadow_output"})
"""Ops that only say what a program puts out; no network is made of them."""

_INFERENCE = {"is_test": True, "use_global_stats": True, "trainable_statistics": False}


@attrs.frozen(eq=False)
class Graph:
    """A program and the values in it that have names.

    Attributes:
        program: The PIR program. It is never edited once a `Graph` holds it.
        values: Name -> value, in the order the values are computed.
    """

    program: paddle.static.Program
    values: Mapping[str, paddle.Tensor]


def copy(graph: Graph) -> Graph:
    """The whole of ``graph`` once more, in a program of its own."""
    mapping = pir.IrMapping()
    program = graph.program.clone(mapping)
    copied = Graph(program, {name: mapping.look_up(v) for name, v in graph.values.items()})
    _carry_parameter_attributes(graph.program.global_block().all_parameters(), mapping)
    return copied


def adopt(source: Graph, *, without_memory: Collection[str]) -> Graph:
    """A copy of somebody's graph, without what would only stand in the way.

    Left out are the ops that mark outputs, and parameters ``without_memory`` that
    no op reads: the executor would demand them all the same.
    """

    def wanted(op: Operation) -> bool:
        if op.name() == PARAMETER:
            return not (parameter_name(op) in without_memory and op.result(0).use_empty())
        return op.name() not in _MARKERS

    return _select(source, wanted)


def cut(graph: Graph, outputs: Iterable[str], inputs: Collection[str] = ()) -> Graph:
    """What of ``graph`` the ``outputs`` need once the ``inputs`` are fed, and nothing else.

    A backward slice. Ops keep their order, so what is left computes the same bits. An op
    without results (an assertion) stays if all that it reads is asked for. An op that
    overwrites what a later op reads (batch norm in training) counts as read.
    """
    needed = {graph.values[name].id for name in outputs}
    asked = frozenset(needed)
    fed = {graph.values[name].id for name in inputs}
    kept: set[int] = set()
    for op in reversed(list(operations(graph.program))):
        read = [v.id for v in reads(op) if identity(v)]
        if op.num_results():
            wanted = any(v.id in needed and v.id not in fed for v in op.results() if identity(v))
        else:
            wanted = bool(read) and asked.issuperset(read)
        if wanted or any(v.id in needed for v in overwritten(op)):
            kept.add(op.id())
            needed.update(read)
    return _select(
        graph, lambda op: op.id() in kept, [n for n in inputs if graph.values[n].id in needed]
    )


def append(
    target: Graph,
    source: Graph,
    feeds: Mapping[str, paddle.Tensor],
    *,
    own_names: Iterable[str],
    prefix: str,
) -> Graph:
    """Copies the whole of ``source`` behind the ops of ``target``.

    Paddle copies in one go, and a name becomes a value when it is asked for, so that
    the cost is that of the copy however many names there are.

    Args:
        target: The graph that grows. It must not be anybody's yet.
        source: What is copied.
        feeds: Input of ``source`` -> the value of ``target`` that stands in for it.
        own_names: The names of ``source`` that its feeds and weights bear.
        prefix: Put before every name.

    Returns:
        ``target`` with the new names, those that ``feeds`` stands in for included.
    """
    mapping = pir.IrMapping()
    source.program.copy_to_block(mapping, target.program.global_block())
    for name in own_names:
        old = source.values[name]
        op = mapping.look_up(old).get_defining_op()
        if name in feeds:
            op.result(0).replace_all_uses_with(feeds[name])
            mapping.add(old, feeds[name])  # before the old one is gone
            op.erase()
        else:
            attribute = "parameter_name" if op.name() == PARAMETER else "name"
            op.set_str_attr(attribute, prefix + name)
    added = Prefixed(source.values, prefix, lambda name: mapping.look_up(source.values[name]))
    return Graph(target.program, ChainMap(added, dict(target.values)))


class Prefixed(Mapping[str, V]):
    """A mapping under prefixed keys, whose values are made when they are asked for."""

    def __init__(self, names: Collection[str], prefix: str, make: Callable[[str], V]) -> None:
        self._names = names
        self._prefix = prefix
        self._make = make

    def __getitem__(self, key: str) -> V:
        name = key.removeprefix(self._prefix)
        if not key.startswith(self._prefix) or name not in self._names:
            raise KeyError(key)
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return (self._prefix + name for name in self._names)

    def __len__(self) -> int:
        return len(self._names)


def transplant(
    ops: Iterable[Operation], mapping: pir.IrMapping, program: paddle.static.Program
) -> list[Operation]:
    """Clones ``ops`` to the end of ``program``; ``mapping`` holds what they read, and grows."""
    ops = list(ops)
    with paddle.static.program_guard(program):
        clones = [op.clone(mapping, _CLONE) for op in ops]
    _carry_parameter_attributes((op.result(0) for op in ops if op.name() == PARAMETER), mapping)
    return clones


def mapping_between(source: Graph, target: Graph, names: Iterable[str]) -> pir.IrMapping:
    """The mapping from each of ``names`` in ``source`` to its value in ``target``."""
    mapping = pir.IrMapping()
    for name in names:
        mapping.add(source.values[name], target.values[name])
    return mapping


def _select(graph: Graph, keep: Callable[[Operation], bool], inputs: Iterable[str] = ()) -> Graph:
    mapping = pir.IrMapping()
    program = paddle.static.Program()
    with paddle.static.program_guard(program):
        feeds = {name: _feed_for(name, graph.values[name]) for name in inputs}
    for name, feed in feeds.items():
        mapping.add(graph.values[name], feed)
    transplant(filter(keep, operations(graph.program)), mapping, program)
    for name, feed in feeds.items():
        # The op that computes it is here all the same if another of its results is needed.
        computed = mapping.look_up(graph.values[name])
        if computed.id != feed.id:
            computed.replace_all_uses_with(feed)
            mapping.add(graph.values[name], feed)
    return Graph(
        program, {n: mapping.look_up(v) for n, v in graph.values.items() if mapping.has(v)}
    )


def _feed_for(name: str, value: paddle.Tensor) -> paddle.Tensor:
    return paddle.static.data(name, list(value.shape), dtype_name(value.dtype))


def _carry_parameter_attributes(
    parameters: Iterable[paddle.Tensor], mapping: pir.IrMapping
) -> None:
    """What optimizers ask of a parameter and cloning forgets, from the old to the new."""
    for old in parameters:
        new = mapping.look_up(old)
        new.optimize_attr = old.optimize_attr or {"learning_rate": 1.0}
        new.regularizer = old.regularizer


def set_inference(ops: Iterable[Operation]) -> None:
    """Turns ``ops`` to inference mode, while and if regions included.

    Dropout lets everything through, batch norm uses, and does not touch, the statistics
    it has gathered, no value takes a gradient and no parameter is trainable.
    """
    for op in ops:
        for attribute, value in _INFERENCE.items():
            if op.has_attr(attribute):
                op.set_bool_attr(attribute, value)
        for value in op.results():
            if identity(value):
                value.stop_gradient = True
        if op.name() == PARAMETER:
            op.result(0).trainable = False
        for block in op.blocks() if op.num_regions() else ():
            for argument in block.args():
                argument.stop_gradient = True
            set_inference(block.ops)


def rename_parameters(ops: Iterable[Operation], rename: Callable[[str], str]) -> None:
    """Gives the weights that ``ops`` declare, or set, other names."""
    for op in ops:
        if op.name() in (PARAMETER, _SET_PARAMETER):
            op.set_str_attr("parameter_name", rename(parameter_name(op)))


def erase(ops: Sequence[Operation]) -> None:
    """Takes ``ops`` out of their program, the last first.

    A program that holds operands of another crashes when the two are collected.
    """
    for op in reversed(ops):
        op.erase()


def translate(
    main: paddle.static.Program,
) -> tuple[paddle.static.Program, dict[str, list[paddle.Tensor]]]:
    """An old program as PIR, and the versions of each of its variables, the last one final."""
    return pir.translate_to_pir_with_param_map(main.desc)
