"""Lengths that kernels believe: what they read and write reaches as far as these say.

A length above the size that it is a length of has Paddle's recurrent layers and its losses over
sequences read and write beyond their tensors, which ends the process, hangs it or is a wrong
number. The same holds of a label that is no class, and of lengths of another number than the
rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import attrs
import paddle
from paddle.base.libpaddle import pir

from purdist.graphs.drafts import Draft
from purdist.graphs.failing import MARK
from purdist.graphs.looking import Operation, identity, op_of, operations, short_name

Axis = tuple[int, int]
"""An operand and its axis."""


@attrs.frozen
class Believed:
    """What an op believes of its operands.

    Attributes:
        lengths: The operand that holds lengths -> the axis of which they are.
        rows: The axes that are of one size, one for each sample.
        labels: The operand that holds labels, which has lengths too -> the axis of the classes.
    """

    lengths: Mapping[int, Axis]
    rows: tuple[Axis, ...]
    labels: Mapping[int, tuple[int, Axis]] = MappingProxyType({})


BELIEVING: Mapping[str, Believed] = MappingProxyType(
    {
        "rnn": Believed({3: (0, 0)}, ((0, 1), (3, 0))),
        "viterbi_decode": Believed({2: (0, 1)}, ((0, 0), (2, 0))),
        "warpctc": Believed(
            {2: (0, 0), 3: (1, 1)}, ((0, 1), (1, 0), (2, 0), (3, 0)), {1: (3, (0, 2))}
        ),
        "warprnnt": Believed(
            {2: (0, 1), 3: (1, 1)}, ((0, 0), (1, 0), (2, 0), (3, 0)), {1: (3, (0, 3))}
        ),
    }
)
"""Op -> what it believes."""


def lengths_of(op: Operation) -> Iterator[tuple[paddle.Tensor, paddle.Tensor, int]]:
    """The (lengths, what they are lengths of, along which axis) that ``op`` believes."""
    read = op.operands_source()
    known = BELIEVING.get(short_name(op))
    for position, (other, axis) in known.lengths.items() if known else ():
        if identity(read[position]):
            yield read[position], read[other], axis


def sample_axes(op: Operation) -> list[Axis]:
    """The axes that ``op`` believes to be of one size."""
    known = BELIEVING.get(short_name(op))
    return [axis for axis in known.rows if identity(op.operand_source(axis[0]))] if known else []


def check_lengths(draft: Draft) -> None:
    """Lets each op of ``draft`` that believes lengths fail, in words, where they are wrong."""
    for op in list(operations(draft.program, regions=True)):
        if any(True for _ in lengths_of(op)):
            with draft.appending():
                pir.set_insertion_point(op)
                _check(op, BELIEVING[short_name(op)])


def _check(op: Operation, known: Believed) -> None:
    """Has ``op`` read lengths that are there only if all is right."""
    first = next(k for k in known.lengths if identity(op.operand_source(k)))
    rows, *others = sample_axes(op)
    for one in others:
        _let_fail(op, first, _size(op, one) != _size(op, rows), _ROWS)
    for position, axis in known.lengths.items():
        if identity(op.operand_source(position)):
            lengths = op.operand_source(position).astype("int64")
            _let_fail(op, position, (lengths < 0) | (lengths > _size(op, axis)), _LENGTHS)
    for labels, (position, axis) in known.labels.items():
        if not identity(op.operand_source(position)):
            continue
        label, lengths = (op.operand_source(k).astype("int64") for k in (labels, position))
        places = paddle.ones_like(label).cumsum(1)  # counted from 1
        wrong = (label < 0) | (label >= _size(op, axis))
        _let_fail(op, position, wrong & (places <= lengths.unsqueeze(1)), _LABELS)


_ROWS = (
    "Expected lengths, and labels, of one number of rows with what they belong to, got others"
    " | Feed as many of each as there are samples."
)
_LENGTHS = (
    "Expected lengths from 0 to the size that they are lengths of, got others"
    " | Cut lengths to the size of what was padded: a length counts the steps of a sample, and "
    "no step is beyond the last."
)
_LABELS = (
    "Expected labels that are classes, from 0 to below their number, got others"
    " | Beyond the length of a sample labels may be anything, within it they are classes."
)


def _let_fail(op: Operation, position: int, wrong: paddle.Tensor, fault: str) -> None:
    """Lets an operand of ``op`` fail to compute where anything is ``wrong``."""
    source = op.operand_source(position)
    row = paddle.gather(source.unsqueeze(0), wrong.any().astype("int64").reshape([1]))
    op_of(row).callstack = [f"{MARK}{fault}"]
    op.operand(position).set_source(row.squeeze(0))


def _size(op: Operation, axis: Axis) -> paddle.Tensor:
    value = op.operand_source(axis[0])
    at = axis[1] % len(value.shape)
    size = paddle.slice(paddle.shape(value), [0], [at], [at + 1])
    return size.astype("int64")
