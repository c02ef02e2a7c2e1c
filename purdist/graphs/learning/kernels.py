"""Convolutions and linear layers of a training program on oneDNN's kernels.

On the CPU they are several times as fast as Paddle's own. Paddle can put a whole program
on oneDNN (``FLAGS_use_onednn``), and trains it wrongly:

- The pass marks each convolution ``is_test``, by which the kernel keeps a reordered copy of
  the filter and goes on with it after the optimizer has written the filter anew, and which
  its gradient refuses.
- A matrix product of other than two matrices, or of a transposed one, is wrong, and the
  gradient of one crashes where its first operand takes none.
- ReLU behind a batch norm of Paddle's own is wrong.
- The gradient of a convolution in NHWC has its axes in another order.
- What an op computes is handed over without a copy where its layout is Paddle's own, and the
  executor does not know: an op that works in place writes over what others have yet to read.

So what is moved stands in a table, `SHOWN`, with each attribute that an op has and the values
of it for which ``tests/unit/test_kernels.py`` holds value and gradients against Paddle's own.
An op with anything else stays where it is. Convolutions are moved without the mark, and
linear layers over sequences are brought to products of two matrices first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import attrs
import paddle
from paddle.base import core
from paddle.base.libpaddle import pir

from purdist.graphs.drafts import Draft, Graph
from purdist.graphs.dtypes import dtype_name
from purdist.graphs.looking import Operation, identity, layouts, operations
from purdist.graphs.making import CLONE
from purdist.graphs.state import Place

_PRODUCTS = frozenset({"pd_op.matmul", "pd_op.matmul_grad"})

_REMARKS = frozenset({"op_callstack", "struct_name", "stop_gradient", "persistable"})
"""Attributes of an op that change nothing of what its kernel computes."""

_LARGE = 1 << 14
"""The size of a weight from which a product gains on oneDNN. Measured: 128 x 128, batch 64."""


@attrs.frozen
class Each:
    """Lists of one of some lengths, of numbers in a range."""

    lengths: frozenset[int]
    numbers: range

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, list)
            and len(value) in self.lengths
            and all(number in self.numbers for number in value)
        )


Allowed: TypeAlias = "frozenset[object] | range | Each"

_PAIR = frozenset({2})
_CONVOLUTION: Mapping[str, Allowed] = MappingProxyType(
    {
        "data_format": frozenset({"NCHW"}),
        "padding_algorithm": frozenset({"EXPLICIT", "SAME", "VALID"}),
        "paddings": Each(frozenset({2, 4}), range(65)),
        "strides": Each(_PAIR, range(1, 33)),
        "dilations": Each(_PAIR, range(1, 37)),
        "groups": range(1, 4097),
    }
)
_PRODUCT: Mapping[str, Allowed] = MappingProxyType(
    {"transpose_x": frozenset({False}), "transpose_y": frozenset({False})}
)

SHOWN: Mapping[str, Mapping[str, Allowed]] = MappingProxyType(
    {
        "pd_op.conv2d": _CONVOLUTION,
        "pd_op.conv2d_grad": _CONVOLUTION,
        "pd_op.depthwise_conv2d": _CONVOLUTION,
        "pd_op.depthwise_conv2d_grad": _CONVOLUTION,
        **dict.fromkeys(_PRODUCTS, _PRODUCT),
    }
)
"""Op -> each attribute that it has -> the values with which it computes what Paddle's own does.

What it reads is float32: four axes, channels and filters known, for a convolution; two for a
product, by a large matrix. An attribute that Paddle adds one day is not here: its op stays.
"""


def has_fast_kernels(place: Place) -> bool:
    """Whether ``place`` is a CPU that has oneDNN."""
    return isinstance(place, paddle.CPUPlace) and core.is_compiled_with_onednn()


def flatten_linear_layers(draft: Draft) -> None:
    """Turns linear layers over more than two axes into products of two matrices.

    Args:
        draft: A forward graph. Its names go where the results are then.
    """
    names = [(name, value.id, value) for name, value in draft.values.items()]
    results: dict[str, paddle.Tensor] = {}
    for op in draft.operations():
        if _is_flattened(op):
            old = op.result(0)
            with draft.appending():
                pir.set_insertion_point(op)
                results[old.id] = _product_of_rows(op)
            old.replace_all_uses_with(results[old.id])
            op.erase()
    draft.values = {name: results.get(key, value) for name, key, value in names}


def _product_of_rows(op: Operation) -> paddle.Tensor:
    value, weight = op.operands_source()
    rows = paddle.reshape(value, [-1, weight.shape[0]])
    return paddle.reshape(paddle.matmul(rows, weight), list(op.result(0).shape))


def with_fast_kernels(graph: Graph) -> Graph:
    """``graph`` with its float32 convolutions and products of two large matrices on oneDNN.

    None of them in a program where an op says another layout than NCHW: what oneDNN computes
    would be read in it. Only in a process that has made an executor: before that Paddle knows
    of no oneDNN ops. A training has, to initialise its optimizer.
    """
    if not layouts(graph.program) <= {"NCHW"} or not any(map(_is_moved, operations(graph.program))):
        return graph
    # The pass moves every op it knows. Its result lies beside the original, op by op, and
    # what is to be moved is taken from it alone.
    moved = graph.program.clone(pir.IrMapping())
    passes = pir.PassManager()
    passes.add_pass("onednn_placement_pass", {})
    passes.run(moved)
    mapping, draft = pir.IrMapping(), Draft()
    with draft.appending():
        for own, fast in zip(operations(graph.program), operations(moved), strict=True):
            if _is_moved(own):
                _clone_in_place_of(own, fast, mapping)
            else:
                own.clone(mapping, CLONE)
    draft.values = {name: mapping.look_up(v) for name, v in graph.values.items()}
    return draft.finish()


def _is_moved(op: Operation) -> bool:
    """Whether ``op`` was shown to compute on oneDNN what it computes on Paddle's kernel."""
    return (
        _is_shown(op)
        and all(dtype_name(value.dtype) == "float32" for value in op.operands_source())
        and (_is_plain_product(op) if op.name() in _PRODUCTS else _is_plain_convolution(op))
    )


def _is_shown(op: Operation) -> bool:
    shown = SHOWN.get(op.name())
    if shown is None or not all(map(identity, op.operands_source())):
        return False
    attributes = {name: value for name, value in op.attrs().items() if name not in _REMARKS}
    return attributes.keys() == shown.keys() and all(
        attributes[name] in allowed for name, allowed in shown.items()
    )


def _is_plain_convolution(op: Operation) -> bool:
    value, filters, *gradients = _shapes(op)
    return (
        all(len(shape) == 4 and 0 not in shape for shape in (value, filters, *gradients))
        and value[1] > 0
        and min(filters) > 0
    )


def _is_plain_product(op: Operation) -> bool:
    """Whether ``op`` is of two matrices, the second a large one, or its whole gradient."""
    value, weight, *_ = _shapes(op)
    whole = all(map(identity, op.results()))  # without, the kernel crashes
    return len(value) == 2 and 0 not in value and _is_large(weight) and whole


def _is_flattened(op: Operation) -> bool:
    """Whether ``op`` is a linear layer over more than two axes, at most one of them unknown."""
    if op.name() != "pd_op.matmul" or not _is_shown(op):
        return False
    value, weight = _shapes(op)
    sizes = list(op.result(0).shape)
    return len(value) > 2 and _is_large(weight) and sizes.count(-1) <= 1 and 0 not in sizes


def _is_large(weight: Sequence[int]) -> bool:
    # oneDNN writes nothing where it sums over an axis of one.
    return len(weight) == 2 and min(weight) > 1 and math.prod(weight) >= _LARGE


def _shapes(op: Operation) -> list[list[int]]:
    return [list(value.shape) for value in op.operands_source()]


def _clone_in_place_of(own: Operation, fast: Operation, mapping: pir.IrMapping) -> None:
    """Clones ``fast``, which computes what ``own`` does in another program.

    What it hands over without a copy must have one reader alone, which may write over it: an
    `assign`, that the executor does in place.
    """
    operands = pir.IrMapping()
    for ours, theirs in zip(own.operands_source(), fast.operands_source(), strict=True):
        operands.add(theirs, mapping.look_up(ours))
    clone = fast.clone(operands, CLONE)
    if clone.has_attr("is_test"):
        clone.set_bool_attr("is_test", False)  # noqa: FBT003
    for ours, new in zip(own.results(), clone.results(), strict=True):
        if identity(ours):
            mapping.add(ours, paddle.assign(new))
