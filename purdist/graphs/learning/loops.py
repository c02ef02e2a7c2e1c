"""While loops: what Paddle 3.3.1 gets wrong about them without a word, mended or told.

Its executor writes over what a loop starts from, so that whatever reads that later, such as
a gradient, reads something else. That is mended here. And its gradient of a body is wrong,
mostly zero, as soon as two variables of a loop exchange values, or a region inside takes part:
that is told.
"""

from __future__ import annotations

from collections.abc import Iterator

import paddle
from paddle.base.libpaddle import pir

from purdist.graphs.drafts import Draft
from purdist.graphs.looking import WHILE, Operation, identity, layer_of, operations


def mend_loops(draft: Draft) -> None:
    """Lets loops leave alone what they start from: their variables are then nobody else's."""
    for op in list(operations(draft.program, regions=True)):
        if op.name() == WHILE:
            for operand in op.operands():
                with draft.appending():
                    pir.set_insertion_point(op)
                    start = paddle.assign(operand.source())
                start.stop_gradient = operand.source().stop_gradient
                operand.set_source(start)


def wrong_loops(program: paddle.static.Program) -> Iterator[tuple[str, str]]:
    """The (layer, what it does) of loops through which Paddle's gradient may be wrong."""
    for op in operations(program):
        if op.name() == WHILE:
            (body,) = op.blocks()
            carried = [value for value in body.args() if not value.stop_gradient]
            if len(carried) > 1:
                yield layer_of(op), f"carries {len(carried)} tensors that take gradients"
            elif any(_learns(inner) for inner in body.ops):
                yield layer_of(op), "has an if or a loop inside that takes gradients"


def _learns(op: Operation) -> bool:
    results = filter(identity, op.results())
    return bool(op.num_regions()) and any(not value.stop_gradient for value in results)
