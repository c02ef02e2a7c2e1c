"""How a network trains of which a file holds no more than how it infers: as it did, or otherwise.

What is computed in training alone is in no file, and what a file does not hold cannot be told
from it. Whoever writes one can tell, and notes it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import paddle
from paddle.base.libpaddle import pir

from purdist.graphs.changing import set_layer
from purdist.graphs.drafts import Draft, Graph
from purdist.graphs.learning.gradients import derive_gradients
from purdist.graphs.learning.trainable import set_trainable
from purdist.graphs.looking import (
    COPY,
    DATA,
    FETCH,
    OTHERWISE,
    PARAMETER,
    Operation,
    attributes,
    declared_name,
    identity,
    is_declared,
    is_parameter,
    layer_of,
    op_of,
    operations,
    overwritten,
    parameter_name,
    parameter_names,
    reads,
    short_name,
)
from purdist.graphs.making import cut
from purdist.graphs.running.files import read_own_program, write_program

_SPLIT = "builtin.split"
"""Takes apart what may be there for a gradient alone: counts where something reads it."""


_MARKS = frozenset({"persistable", "stop_gradient"})
"""What Paddle keeps of results on some ops: what counts of it is asked of the results."""

_NOTE = "trains otherwise: "
"""What the note in a file begins with: on what fetches, as the layer it is of, for a file keeps no
attributes but Paddle's own."""


def note_in_file(path: Path, what: str) -> None:
    """Notes in a ``.json`` that ``what`` of its network trained otherwise."""
    draft = Draft(read_own_program(path))
    fetches = [op for op in draft.operations() if op.name() == FETCH]
    set_layer(draft, fetches, _NOTE + what)
    write_program(draft.program, path)


def noted_in_file(program: paddle.static.Program) -> str:
    """What of the network trained otherwise, '' if nothing did, as the file of it says."""
    notes = (layer_of(op) for op in operations(program) if op.name() == FETCH)
    return next((note.removeprefix(_NOTE) for note in notes if note.startswith(_NOTE)), "")


def note_otherwise(draft: Draft, what: str) -> None:
    """Notes it on each op that computes something, for it to stay with each part.

    A weight is written with Paddle's own attributes, or not at all.
    """
    for op in draft.operations():
        if op.name() not in (PARAMETER, DATA, FETCH):
            op.set_str_attr(OTHERWISE, what)


def noted_otherwise(program: paddle.static.Program) -> list[str]:
    """What is noted on ops of ``program``, each note once."""
    found = (op.attrs()[OTHERWISE] for op in operations(program) if op.has_attr(OTHERWISE))
    return list(dict.fromkeys(map(str, found)))


def trained_otherwise(own: Graph, read: Graph, outputs: Sequence[str]) -> list[str]:
    """What of ``own``, which trains, is not in ``read``, made of a file with these ``outputs``.

    Layers by their paths where they are known, and ops; nothing if both compute the same.
    """
    known = list(own.known(outputs))
    alone = [f"the output {name!r}" for name in outputs if name not in known]
    numbers = _Numbers()
    one, other = (_Computed.by(graph, known, numbers) for graph in (own, read))
    found = one.more_than(other) or other.more_than(one)
    if not found:
        differ = (name for name in known if one.outputs[name] != other.outputs[name])
        found = [f"the output {name!r}" for name in differ]
    return alone + found


@attrs.frozen(eq=False)
class _Computed:
    """What a program computes.

    Attributes:
        program: The program, which its values need.
        ops: The number of a computation -> the first op that does it.
        read: And the numbers of those that it reads.
        outputs: Name -> which result of which number.
    """

    program: paddle.static.Program
    ops: dict[int, Operation]
    read: dict[int, set[int]]
    outputs: dict[str, object]

    @classmethod
    def by(cls, graph: Graph, outputs: Sequence[str], numbers: _Numbers) -> _Computed:
        """What of ``graph`` the ``outputs`` need, and what it writes to the weights they need."""
        draft = cut(graph, outputs)
        weights = parameter_names(draft.operations())
        draft = cut(graph, [*outputs, *graph.known(weights)])
        set_trainable(draft, parameter_names(draft.operations()))  # which learn is another matter
        derive_gradients(draft)
        graph = draft.finish()
        computed = cls(graph.program, {}, {}, {})
        for op in operations(graph.program):
            read = {source for source, _ in map(numbers.result, numbers.read_by(op))}
            number = numbers.enter(op)
            if op.name() != _SPLIT or any(not v.use_empty() for v in op.results()):
                computed.ops.setdefault(number, op)
                computed.read.setdefault(number, read)
        for name in outputs:
            computed.outputs[name] = numbers.result(graph.values[name])
        return computed

    def more_than(self, other: _Computed) -> list[str]:
        """What does, or writes, what ``other`` does not compute, as far back as it begins."""
        missing = {n: op for n, op in self.ops.items() if n not in other.ops}
        constants = {n for n, op in missing.items() if not self.read[n]}  # which tell little
        begun = other.ops.keys() | constants
        first = [op for n, op in missing.items() if n not in constants and self.read[n] <= begun]
        layers = [f"the layer {layer!r}" for layer in map(layer_of, first) if layer]
        weights = [f"the weight {name!r}" for op in missing.values() for name in _weights_of(op)]
        ops = [f"the op {short_name(op)!r}" for op in first or missing.values()]
        return list(dict.fromkeys(layers or weights or ops))


def _weights_of(op: Operation) -> list[str]:
    """The weights that ``op`` declares or writes."""
    if op.name() == PARAMETER:
        return [parameter_name(op)]
    return [parameter_name(op_of(value)) for value in overwritten(op) if is_parameter(value)]


class _Numbers:
    """Gives ops numbers, the same to those that compute the same from the same."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[object, ...], int] = {}
        self._results: dict[str, tuple[int, int]] = {}

    def result(self, value: paddle.Tensor) -> tuple[int, int]:
        """The number of the op that computes ``value``, and which of its results it is."""
        return self._results[value.id]

    def read_by(self, op: Operation) -> list[paddle.Tensor]:
        """What ``op`` reads, as far as it is there."""
        return [value for value in reads(op) if identity(value)]

    def enter(self, op: Operation) -> int:
        """The number of ``op``, which comes after all that it reads: a copy has the original's."""
        if op.name() == COPY and op.result(0).stop_gradient == op.operand_source(0).stop_gradient:
            self._results[op.result(0).id] = copied = self.result(op.operand_source(0))
            return copied[0]
        operands = [identity(v) and self.result(v) for v in op.operands_source()]
        kept = {} if is_declared(op) else attributes(op)
        says = tuple((key, text) for key, text in kept.items() if key not in _MARKS)
        stops = tuple(v.stop_gradient for v in op.results() if identity(v))
        name = declared_name(op) if is_declared(op) else ""
        regions = tuple(map(self._region, op.blocks())) if op.num_regions() else ()
        return self._give(
            (op.name(), name, says, stops, tuple(operands), tuple(_weights_of(op)), regions),
            op.results(),
        )

    def _region(self, block: pir.Block) -> frozenset[int]:
        for k, argument in enumerate(block.args()):
            self._give(("argument", k), [argument])
        return frozenset(map(self.enter, block.ops))

    def _give(self, key: tuple[object, ...], results: Sequence[paddle.Tensor]) -> int:
        number = self._numbers.setdefault(key, len(self._numbers))
        for k, value in enumerate(results):
            if identity(value):
                self._results[value.id] = number, k
        return number
