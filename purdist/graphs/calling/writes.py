"""Weights that a network writes as it computes: a count, a mean that moves, a normed weight.

A graph writes to memory, through which no gradient flows and which an export drops. Here what is
read after a write is the written value itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import paddle
from paddle import _C_ops
from paddle.base import core

from purdist.graphs.drafts import Draft
from purdist.graphs.looking import (
    PARAMETER,
    Operation,
    is_parameter,
    op_of,
    operations,
    overwritten,
    parameter_name,
)


@contextmanager
def writes_as_in_dygraph() -> Iterator[None]:
    """Inside, a traced layer's writes take part in gradients as they do in dynamic mode.

    A tensor that is assigned to in a ``no_grad`` part stops them. An attribute that is set there
    is a new name, and stops nothing.
    """
    assign, name = _C_ops.assign_out_, paddle.nn.Layer.__setattr__

    def assign_stopping(value: paddle.Tensor, output: paddle.Tensor) -> paddle.Tensor:
        return assign(value if core._has_grad() else _C_ops.assign(value), output)

    def name_flowing(layer: paddle.nn.Layer, key: str, value: object) -> None:
        with paddle.enable_grad():
            name(layer, key, value)

    _C_ops.assign_out_ = assign_stopping
    setattr(paddle.nn.Layer, "__setattr__", name_flowing)  # noqa: B010 - no assigning to a method
    try:
        yield
    finally:
        _C_ops.assign_out_ = assign
        setattr(paddle.nn.Layer, "__setattr__", name)  # noqa: B010


def unreadable_writes(program: paddle.static.Program) -> Iterator[tuple[str, str]]:
    """The (weight, what it is) of writes that cannot be read through."""
    for op in operations(program):
        for inner in _inner(op):
            for value in _written(inner):
                if is_parameter(value):
                    yield parameter_name(op_of(value)), "inside a while or if region"
        for value in _written(op):
            if is_parameter(value) and value.trainable:
                yield parameter_name(op_of(value)), "which learns"


def read_through_writes(draft: Draft, *, keep: bool) -> None:
    """Lets what reads a weight after a write read what was written.

    With ``keep`` each weight is written once more, at the end; else it stays as it is.
    """
    reading = _Reading(draft)
    for op in draft.operations():
        if op.name() != PARAMETER:
            reading.read(op)
    if keep:
        reading.write()
    draft.values = {name: reading.replaced.get(v.id, v) for name, v in draft.values.items()}
    for op in reversed(reading.done):
        op.erase()


class _Reading:
    """Goes through a program in order, and knows what each weight holds by now.

    Attributes:
        replaced: Id of a value that goes -> what stands in for it.
        done: The ops that go.
    """

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._held: dict[str, paddle.Tensor] = {}  # by the id of a weight
        self._aliases: dict[str, paddle.Tensor] = {}
        self.replaced: dict[str, paddle.Tensor] = {}
        self.done: list[Operation] = []

    def read(self, op: Operation) -> None:
        """Lets ``op`` read what the weights hold when it comes."""
        target = next(iter(_written(op)), None)
        weight = None if target is None else self._weight(target)
        for one in (op, *_inner(op)):
            for operand in one.operands():
                source = operand.source()
                if source.initialized() and (root := self._weight(source)) is not None:
                    operand.set_source(self._held.get(root.id, root))
        if weight is None:
            return
        if op.name() == "pd_op.assign_out_":
            value = op.operand_source(0)
            # What another weight holds by now, and not what it will.
            self._held[weight.id] = self._copy(op, value) if is_parameter(value) else value
            self.replaced[op.result(0).id] = self._held[weight.id]
            op.replace_all_uses_with([self._held[weight.id]])
            self.done.append(op)
        else:
            held = self._held.get(weight.id, weight)
            copied = self._copy(op, held)
            for operand in op.operands():
                if operand.source().initialized() and operand.source().id == held.id:
                    operand.set_source(copied)
            self._held[weight.id] = op.result(0)
            self._aliases[op.result(0).id] = weight

    def write(self) -> None:
        """Writes each weight. Whatever reads it reads a copy, in the backward pass too."""
        for op, following in itertools.pairwise(self._draft.operations()):
            weight = op.result(0) if op.name() == PARAMETER else None
            if weight is None or weight.id not in self._held:
                continue
            if not weight.use_empty():
                copied = self._copy(following, weight)
                weight.replace_all_uses_with(copied)
                op_of(copied).operand(0).set_source(weight)
            with self._draft.appending():
                paddle.assign(self._held[weight.id], output=weight)

    def _weight(self, value: paddle.Tensor) -> paddle.Tensor | None:
        """The weight whose memory ``value`` was."""
        return value if is_parameter(value) else self._aliases.get(value.id)

    def _copy(self, op: Operation, value: paddle.Tensor) -> paddle.Tensor:
        with self._draft.appending():
            copied = paddle.assign(value)
        op_of(copied).move_before(op)
        return copied


def _written(op: Operation) -> Iterable[paddle.Tensor]:
    """What ``op`` is there to write: a normalisation, which gathers as it computes, is not."""
    return overwritten(op) if op.num_results() == 1 and not op.num_regions() else ()


def _inner(op: Operation) -> Iterator[Operation]:
    for block in op.blocks() if op.num_regions() else ():
        for inner in block.ops:
            yield inner
            yield from _inner(inner)
