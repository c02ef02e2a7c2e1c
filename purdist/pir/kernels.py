"""Convolutions and linear layers of a training program on oneDNN's kernels.

On the CPU they are several times as fast as Paddle's own. Paddle can put a whole program
on oneDNN (``FLAGS_use_onednn``), and trains it wrongly:

- The pass marks each convolution ``is_test``, by which the kernel keeps a reordered copy of
  the filter and goes on with it after the optimizer has written the filter anew, and which
  its gradient refuses.
- A matrix product of other than two matrices, or of a transposed one, is wrong, and the
  gradient of one crashes where its first operand takes none.
- ReLU behind a batch norm of Paddle's own is wrong.

So convolutions are moved without the mark, and products of two plain matrices, to which
linear layers over sequences are brought first. ``tests/unit/test_kernels.py`` holds each
op, value and gradient, against Paddle's own.
"""

from __future__ import annotations

import math

import paddle
from paddle.base import core
from paddle.base.libpaddle import pir

from purdist.pir.looking import Operation, dtype_name, identity, is_tensor, operations
from purdist.pir.making import CLONE, Graph
from purdist.pir.state import Place

_CONVOLUTIONS = frozenset(
    f"pd_op.{name}{gradient}"
    for name in ("conv2d", "depthwise_conv2d")
    for gradient in ("", "_grad")
)
_PRODUCTS = frozenset({"pd_op.matmul", "pd_op.matmul_grad"})

_LARGE = 1 << 14
"""The size of a weight from which a product gains on oneDNN. Measured: 128 x 128, batch 64."""


def has_fast_kernels(place: Place) -> bool:
    """Whether ``place`` is a CPU that has oneDNN."""
    return isinstance(place, paddle.CPUPlace) and core.is_compiled_with_onednn()


def flatten_linear_layers(graph: Graph) -> Graph:
    """Turns linear layers over more than two axes into products of two matrices.

    Args:
        graph: A forward graph. It must not be anybody's yet.

    Returns:
        The same graph, with the names where the results now are.
    """
    names = [(name, value.id, value) for name, value in graph.values.items()]
    results: dict[str, paddle.Tensor] = {}
    for op in list(operations(graph.program)):
        if op.name() == "pd_op.matmul" and _is_linear(op) and len(op.operand_source(0).shape) > 2:
            old = op.result(0)
            if list(old.shape).count(-1) <= 1:
                with paddle.static.program_guard(graph.program):
                    pir.set_insertion_point(op)
                    results[old.id] = _product_of_rows(op)
                old.replace_all_uses_with(results[old.id])
                op.erase()
    return Graph(graph.program, {name: results.get(key, value) for name, key, value in names})


def _product_of_rows(op: Operation) -> paddle.Tensor:
    value, weight = op.operands_source()
    rows = paddle.reshape(value, [-1, weight.shape[0]])
    return paddle.reshape(paddle.matmul(rows, weight), list(op.result(0).shape))


def with_fast_kernels(graph: Graph) -> Graph:
    """``graph`` with its float32 convolutions and products of two large matrices on oneDNN.

    Only in a process that has made an executor: before that Paddle knows of no oneDNN ops. A
    training has, to initialise its optimizer.
    """
    if not any(_is_moved(op) for op in operations(graph.program)):
        return graph
    # The pass moves every op it knows. Its result lies beside the original, op by op, and
    # what is to be moved is taken from it alone.
    moved = graph.program.clone(pir.IrMapping())
    passes = pir.PassManager()
    passes.add_pass("onednn_placement_pass", {})
    passes.run(moved)
    mapping = pir.IrMapping()
    program = paddle.static.Program()
    with paddle.static.program_guard(program):
        for own, fast in zip(operations(graph.program), operations(moved), strict=True):
            if _is_moved(own):
                _clone_in_place_of(own, fast, mapping)
            else:
                own.clone(mapping, CLONE)
    return Graph(program, {name: mapping.look_up(v) for name, v in graph.values.items()})


def _is_moved(op: Operation) -> bool:
    if op.name() in _PRODUCTS:
        plain = _is_linear(op) and len(op.operand_source(0).shape) == 2
        wanted = plain and all(identity(result) for result in op.results())
    else:
        wanted = op.name() in _CONVOLUTIONS
    return wanted and all(
        dtype_name(value.dtype) == "float32" for value in op.operands_source() if is_tensor(value)
    )


def _is_linear(op: Operation) -> bool:
    """Whether a product, or its gradient, is one with a large matrix, nothing transposed."""
    attributes, weight = op.attrs(), op.operand_source(1)
    turned = attributes["transpose_x"] or attributes["transpose_y"]
    return not turned and len(weight.shape) == 2 and math.prod(weight.shape) >= _LARGE


def _clone_in_place_of(own: Operation, fast: Operation, mapping: pir.IrMapping) -> None:
    """Clones ``fast``, which computes what ``own`` does in another program."""
    operands = pir.IrMapping()
    for ours, theirs in zip(own.operands_source(), fast.operands_source(), strict=True):
        if identity(ours):
            operands.add(theirs, mapping.look_up(ours))
    clone = fast.clone(operands, CLONE)
    if clone.has_attr("is_test"):
        clone.set_bool_attr("is_test", False)  # noqa: FBT003
    for ours, new in zip(own.results(), clone.results(), strict=True):
        if identity(ours):
            mapping.add(ours, new)
