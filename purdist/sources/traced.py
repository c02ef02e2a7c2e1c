"""A layer traced in one of its modes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import paddle

from purdist import graphs
from purdist.sources.names import Paths, free, leaves, numbered, same
from purdist.sources.refusals import check_outputs, lost_write, untraceable
from purdist.sources.weights import Weights


@attrs.frozen(eq=False)
class Record:
    """What a layer did in one of its modes, before it is named.

    Attributes:
        trace: What it did.
        declared: Its feeds and weights by name.
        outputs: What the layer itself returned, by name.
    """

    trace: graphs.Trace
    declared: Mapping[str, paddle.Tensor]
    outputs: Mapping[str, paddle.Tensor]

    @classmethod
    def of(
        cls,
        layer: paddle.nn.Layer,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        weights: Weights,
        paths: Paths,
        *,
        unknown_as_paddle: bool = False,
    ) -> Record:
        """The layer in the mode it is in."""
        try:
            trace = graphs.trace(layer, args, kwargs, unknown_as_paddle=unknown_as_paddle)
        except graphs.UntraceableError as error:
            raise untraceable(layer, error, paths) from error.__cause__
        except graphs.StaleReadError as error:
            raise lost_write(layer, error) from None
        declared = weights.place_in(trace)
        declared.update(graphs.own_names(graphs.operations(trace.draft.program)))
        record = cls(trace, declared, {})
        outputs = dict(record.values("", trace.calls[-1]))
        check_outputs(layer, trace.calls[-1].output, outputs, declared)
        return attrs.evolve(record, outputs=outputs)

    def values(self, name: str, call: graphs.Call) -> Iterator[tuple[str, paddle.Tensor]]:
        """The tensors that a call under ``name`` put out, by their names."""
        memory = {id(tensor): value for tensor, value in self.trace.weights}
        for full_name, leaf in leaves(name, call.output):
            value = memory.get(id(leaf), leaf)
            if graphs.is_value(value) and graphs.is_tensor(value):
                try:
                    yield full_name, call.newest(value)
                except graphs.StaleReadError as error:
                    raise lost_write(call.layer, error) from None


@attrs.frozen(eq=False)
class Traced:
    """A layer traced in one of its modes.

    Attributes:
        trace: What it did.
        given: The names of what has better ones than those that are made.
        inner: The names of what lies inside while and if regions.
        calls: The calls by path and count.
        named: The id of a layer and the number of its call -> the names of what it put out.
    """

    trace: graphs.Trace
    given: Mapping[str, paddle.Tensor]
    inner: frozenset[str]
    calls: Mapping[str, graphs.Call]
    named: Mapping[tuple[int, int], Sequence[str]]

    @classmethod
    def of(cls, record: Record, paths: Paths, outputs: Iterable[str]) -> Traced:
        """What was recorded, by name.

        Args:
            record: What.
            paths: The paths of the sublayers.
            outputs: What the layer returns in either mode: no sublayer may be called so.
        """
        given = dict(record.declared)
        reserved = set(outputs)
        reachable = graphs.reachable_ids(record.trace.draft.program)
        inner: set[str] = set()
        calls: dict[str, graphs.Call] = {}
        named: dict[tuple[int, int], list[str]] = {}
        for number, names, call in numbered(record.trace.calls, paths):
            graphs.set_layer(record.trace.draft, call.operations, paths[id(call.layer)][0])
            calls[names[0]] = call
            for name in reversed(names):
                put_out = named[id(call.layer), number] = []
                for full_name, value in record.values(name, call):
                    own = full_name
                    if graphs.value_id(value) not in reachable:
                        inner.add(own)
                    else:
                        if not same(record.outputs.get(own), value):
                            own = free(own, given, value, reserved)
                        given[own] = value
                    put_out.append(own)
        return cls(record.trace, given, frozenset(inner), calls, named)

    def finish(self, made: Mapping[str, paddle.Tensor], taken: Iterable[str]) -> graphs.Graph:
        """The graph, with names for what has none, those in ``made`` first."""
        draft = self.trace.draft
        draft.values = graphs.made_names(draft.operations(), {**self.given, **made}, taken=taken)
        return draft.finish()


def made_in_both(
    training: Traced, graph: graphs.Graph, inference: Traced
) -> dict[str, paddle.Tensor]:
    """The made names of the graph that trains -> their values in the one that infers.

    Two values are one variable if they are what the same op computes in the same call. That
    can be told for calls that do the same in both modes; where a layer does one thing in
    training and another in eval mode, nothing says which of its values are meant to be one.
    """
    made = {
        graphs.value_id(value): name
        for name, value in graph.values.items()
        if name not in training.given
    }
    named = set(map(graphs.value_id, inference.given.values()))
    both: dict[str, paddle.Tensor] = {}
    for name, call in training.calls.items():
        other = inference.calls.get(name)
        theirs = other.operations if other else []
        for value, twin in graphs.computed_alike(call.operations, theirs):
            known = made.get(graphs.value_id(value))
            if known is not None and graphs.value_id(twin) not in named:
                both[known] = twin
    return both
