"""Making programs out of programs: copying, cutting, appending.

``Program.clone`` and ``Operation.clone`` drop what Python hung on a parameter (its
learning rate factor, its regularizer); everything here carries it over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import paddle
from paddle.base.libpaddle import pir

from purdist.graphs.drafts import Draft, Graph, carry_parameter_attributes
from purdist.graphs.dtypes import dtype_name
from purdist.graphs.looking import (
    DATA,
    FETCH,
    PARAMETER,
    Operation,
    data_name,
    identity,
    is_list,
    op_of,
    operations,
    overwritten,
    parameter_name,
    reads,
)

CLONE = pir.CloneOptions(True, True, True)  # noqa: FBT003 - regions, operands, successors

_MARKERS = frozenset({FETCH, "builtin.shadow_output"})
"""Ops that only say what a program puts out; no network is made of them."""


def adopt(source: Graph, *, without_memory: Collection[str]) -> Draft:
    """A copy of somebody's graph, without what would only stand in the way.

    Left out are the ops that mark outputs, and parameters ``without_memory`` that
    no op reads: the executor would demand them all the same.
    """

    def wanted(op: Operation) -> bool:
        if op.name() == PARAMETER:
            return not (parameter_name(op) in without_memory and op.result(0).use_empty())
        return op.name() not in _MARKERS

    return _select(source, wanted)


def cut(graph: Graph, outputs: Iterable[str], inputs: Collection[str] = ()) -> Draft:
    """What of ``graph`` the ``outputs`` need once the ``inputs`` are fed, and nothing else.

    A backward slice. Ops keep their order, so what is left computes the same bits. An op
    without results (an assertion) stays if all that it reads is asked for. An op that
    overwrites what a later op reads (batch norm in training) counts as read, unless it
    leads to an input: then it is for whoever computes that. What takes apart a list stays with
    the list, for by it alone Paddle makes the gradient of what nobody reads of it.
    """
    needed = {graph.values[name].id for name in outputs}
    asked = frozenset(needed)
    fed = {graph.values[name].id for name in inputs}
    upstream = set(fed)
    kept: set[int] = set()
    for op in reversed(list(operations(graph.program))):
        read = [v.id for v in reads(op) if identity(v)]
        results = {v.id for v in op.results() if identity(v)}
        leads_to_input = not upstream.isdisjoint(results)
        if leads_to_input:
            upstream.update(read)
        if results:
            wanted = not needed.isdisjoint(results - fed)
        else:
            wanted = bool(read) and asked.issuperset(read)
        if wanted or (not leads_to_input and any(v.id in needed for v in overwritten(op))):
            kept.add(op.id())
            needed.update(read)
    for op in operations(graph.program):
        if op.name() == "builtin.split":
            (tensors,) = op.operands_source()
            if not tensors.stop_gradient and op_of(tensors).id() in kept:
                kept.add(op.id())
    return _select(
        graph, lambda op: op.id() in kept, [n for n in inputs if graph.values[n].id in needed]
    )


def append(
    target: Draft,
    source: Graph,
    feeds: Mapping[str, paddle.Tensor],
    *,
    own_names: Iterable[str],
    prefix: str,
) -> None:
    """Copies the whole of ``source`` behind the ops of ``target``, with all its names.

    Paddle copies in one go, and a name becomes a value when it is asked for, so that
    the cost is that of the copy however many names there are.

    Args:
        target: The graph that grows. It has names for what ``feeds`` stands in for, too.
        source: What is copied.
        feeds: Input of ``source`` -> the value of ``target`` that stands in for it.
        own_names: The names of ``source`` that its feeds and weights bear.
        prefix: Put before every name.
    """
    mapping = pir.IrMapping()
    source.program.copy_to_block(mapping, target.program.global_block())
    carry_parameter_attributes(source.program.global_block().all_parameters(), mapping)
    for name in own_names:
        old = source.values[name]
        op = op_of(mapping.look_up(old))
        if name in feeds:
            op.result(0).replace_all_uses_with(feeds[name])
            mapping.add(old, feeds[name])  # before the old one is gone
            op.erase()
        else:
            attribute = "parameter_name" if op.name() == PARAMETER else "name"
            op.set_str_attr(attribute, prefix + name)
    target.values = _Prefixed(
        target.values, source.values, prefix, lambda name: mapping.look_up(source.values[name])
    )


def renamed(graph: Graph, rename: Callable[[str], str]) -> Draft:
    """``graph`` once more, under other names, those of its feeds and weights included."""
    draft = graph.copy()
    for op in draft.operations():
        if op.name() == PARAMETER:
            op.set_str_attr("parameter_name", rename(parameter_name(op)))
        elif op.name() == DATA:
            op.set_str_attr("name", rename(data_name(op)))
    draft.values = {rename(name): value for name, value in draft.values.items()}
    return draft


class _Prefixed(Mapping[str, paddle.Tensor]):
    """What ``first`` has, then ``names`` under a prefix, looked up when they are asked for.

    No prefixed name is one of ``first``.
    """

    def __init__(
        self,
        first: Mapping[str, paddle.Tensor],
        names: Collection[str],
        prefix: str,
        look_up: Callable[[str], paddle.Tensor],
    ) -> None:
        self._first = first
        self._names = names
        self._prefix = prefix
        self._look_up = look_up

    def __getitem__(self, key: str) -> paddle.Tensor:
        name = key.removeprefix(self._prefix)
        if key.startswith(self._prefix) and name in self._names:
            return self._look_up(name)
        return self._first[key]

    def __contains__(self, key: object) -> bool:
        name = key.removeprefix(self._prefix) if isinstance(key, str) else ""
        return key in self._first or (key == self._prefix + name and name in self._names)

    def __iter__(self) -> Iterator[str]:
        yield from self._first
        for name in self._names:
            yield self._prefix + name

    def __len__(self) -> int:
        return len(self._first) + len(self._names)


def transplant(ops: Iterable[Operation], mapping: pir.IrMapping, draft: Draft) -> list[Operation]:
    """Clones ``ops`` to the end of ``draft``; ``mapping`` holds what they read, and grows."""
    ops = list(ops)
    with draft.appending():
        clones = [op.clone(mapping, CLONE) for op in ops]
    carry_parameter_attributes((op.result(0) for op in ops if op.name() == PARAMETER), mapping)
    return clones


def mapping_between(source: Graph | Draft, target: Draft, names: Iterable[str]) -> pir.IrMapping:
    """The mapping from each of ``names`` in ``source`` to its value in ``target``."""
    return mapping_of((source.values[name], target.values[name]) for name in names)


def mapping_of(pairs: Iterable[tuple[paddle.Tensor, paddle.Tensor]]) -> pir.IrMapping:
    """The mapping from the first of each pair to the second."""
    mapping = pir.IrMapping()
    for source, target in pairs:
        mapping.add(source, target)
    return mapping


def _select(graph: Graph, keep: Callable[[Operation], bool], inputs: Iterable[str] = ()) -> Draft:
    mapping, draft = pir.IrMapping(), Draft()
    with draft.appending():
        feeds = {name: _feed_for(name, graph.values[name]) for name in inputs}
    for name, feed in feeds.items():
        mapping.add(graph.values[name], feed)
    transplant(filter(keep, operations(graph.program)), mapping, draft)
    for name, feed in feeds.items():
        # The op that computes it is here all the same if another of its results is needed.
        computed = mapping.look_up(graph.values[name])
        if computed.id != feed.id:
            computed.replace_all_uses_with(feed)
            mapping.add(graph.values[name], feed)
    draft.values = {n: mapping.look_up(v) for n, v in graph.values.items() if mapping.has(v)}
    return draft


def _feed_for(name: str, value: paddle.Tensor) -> paddle.Tensor:
    return paddle.static.data(name, list(value.shape), dtype_name(value.dtype))


def without_unset(values: Mapping[str, paddle.Tensor]) -> dict[str, paddle.Tensor]:
    """``values`` without those that inference mode leaves as they were in memory.

    Batch norm and dropout have results that only their gradients read (the statistics of
    the batch, the mask). In inference mode the kernels do not write them.
    """
    return {name: value for name, value in values.items() if not _is_unset(value)}


def _is_unset(value: paddle.Tensor) -> bool:
    op = op_of(value)
    return (
        value.id != op.result(0).id
        and op.has_attr("is_test")
        and any(op.attrs().get(attribute) for attribute in ("is_test", "use_global_stats"))
    )


_TAKEN = "builtin.slice"
"""One out of a list of tensors, as the translator takes it: an op without a gradient."""


def translate(
    main: paddle.static.Program,
) -> tuple[Draft, dict[str, list[paddle.Tensor]]]:
    """An old program as PIR, and the versions of each of its variables, the last one final.

    Lists of tensors are split, as in programs that are built in PIR, so that each part is there
    whether anything reads it or not, and has a gradient.
    """
    program, versions = pir.translate_to_pir_with_param_map(main.desc)
    lists, taken = _split_lists(program)
    places = {
        name: place
        for block in main.blocks
        for op in block.ops
        for kind in op.output_names
        for place, name in enumerate(op.output(kind))
    }
    for name, written in versions.items():
        # Of a part Paddle tells the list, then, if anything reads it, what was taken.
        versions[name] = [
            lists[value.id][places[name]] if value.id in lists else value
            for value in written
            if value.id not in taken
        ]
    for op in taken.values():
        op.erase()
    return Draft(program), versions


def names_in_regions(main: paddle.static.Program) -> set[str]:
    """The names of variables of an old program inside while and if regions."""
    return {name for block in main.blocks[1:] for name in block.vars}


def _split_lists(
    program: paddle.static.Program,
) -> tuple[dict[str, list[paddle.Tensor]], dict[str, Operation]]:
    """The id of each list of ``program`` -> its parts, and of what is read no longer -> its op."""
    lists: dict[str, list[paddle.Tensor]] = {}
    taken: dict[str, Operation] = {}
    with paddle.static.program_guard(program):
        for op in list(operations(program, regions=True)):
            for value in filter(is_list, op.results()):
                takers = [user for user in value.all_used_ops() if user.name() == _TAKEN]
                if takers or op.name() != "builtin.combine":
                    pir.set_insertion_point_after(op)
                    lists[value.id] = parts = paddle._pir_ops.builtin_split(value)
                    for taker in takers:
                        taken[taker.result(0).id] = taker
                        part = parts[int(str(taker.attrs()["index"]))]
                        taker.replace_all_uses_with([part])
    return lists, taken
