"""Convolutions of a training program on oneDNN's kernels.

On the CPU they are several times as fast as Paddle's own. Paddle can put a whole program
on oneDNN (``FLAGS_use_onednn``), and trains it wrongly: the pass marks each convolution
``is_test``, by which the kernel keeps a reordered copy of the filter and goes on with it
after the optimizer has written the filter anew, and which its gradient refuses. Here the
mark is taken off and convolutions alone are moved; ``tests/unit/test_kernels.py`` holds
each op, value and gradient, against Paddle's own.
"""

from __future__ import annotations

import paddle
from paddle.base import core
from paddle.base.libpaddle import pir

from purdist.pir.looking import Operation, dtype_name, identity, is_tensor, operations
from purdist.pir.making import CLONE, Graph
from purdist.pir.state import Place

_MOVED = frozenset(
    f"pd_op.{name}{gradient}"
    for name in ("conv2d", "depthwise_conv2d")
    for gradient in ("", "_grad")
)


def with_fast_convolutions(graph: Graph, place: Place) -> Graph:
    """``graph`` with its float32 convolutions on oneDNN, where ``place`` is a CPU that has it."""
    if not isinstance(place, paddle.CPUPlace) or not core.is_compiled_with_onednn():
        return graph
    # The pass moves every op it knows. Its result lies beside the original, op by op, and
    # the moved convolutions alone are taken from it.
    moved = graph.program.clone(pir.IrMapping())
    passes = pir.PassManager()
    passes.add_pass("onednn_placement_pass", {})
    passes.run(moved)
    mapping = pir.IrMapping()
    program = paddle.static.Program()
    with paddle.static.program_guard(program):
        for own, fast in zip(operations(graph.program), operations(moved), strict=True):
            if _is_float32_convolution(own):
                _clone_in_place_of(own, fast, mapping)
            else:
                own.clone(mapping, CLONE)
    return Graph(program, {name: mapping.look_up(v) for name, v in graph.values.items()})


def _is_float32_convolution(op: Operation) -> bool:
    return op.name() in _MOVED and all(
        dtype_name(value.dtype) == "float32" for value in op.operands_source() if is_tensor(value)
    )


def _clone_in_place_of(own: Operation, fast: Operation, mapping: pir.IrMapping) -> None:
    """Clones ``fast``, which computes what ``own`` does in another program."""
    operands = pir.IrMapping()
    for ours, theirs in zip(own.operands_source(), fast.operands_source(), strict=True):
        if identity(ours):
            operands.add(theirs, mapping.look_up(ours))
    clone = fast.clone(operands, CLONE)
    clone.set_bool_attr("is_test", False)  # noqa: FBT003
    for ours, new in zip(own.results(), clone.results(), strict=True):
        if identity(ours):
            mapping.add(ours, new)
