"""While loops: what Paddle 3.3.1 gets wrong about them without a word, mended or told.

Its executor writes over what a loop starts from, so that whatever reads that later, such as
a gradient, reads something else. It marks the variables of a loop by what they start from:
one that starts from a feed or from zeros stops gradients, whatever the body makes of it. Both
are mended here. And its gradient of a body is wrong, mostly zero, as soon as two variables of
a loop exchange values, or a region inside takes part: that is told.
"""

from __future__ import annotations

from collections.abc import Iterator

import paddle
from paddle.base.libpaddle import pir

from purdist.pir.looking import Operation, identity, layer_of, operations

_WHILE = "pd_op.while"
_DETACH = "pd_op.share_data_"


def mend_loops(program: paddle.static.Program) -> None:
    """Lets loops leave alone what they start from, and gradients through them."""
    mending = _Mending(program)
    mending.start_from_copies(program.global_block())
    mending.free(program.global_block())


class _Mending:
    def __init__(self, program: paddle.static.Program) -> None:
        self._program = program
        self._freed: set[str] = set()

    def start_from_copies(self, block: pir.Block) -> None:
        """The variables of a loop are then nobody else's."""
        for op in block.ops:
            if op.name() == _WHILE:
                for operand in op.operands():
                    with paddle.static.program_guard(self._program):
                        pir.set_insertion_point(op)
                        start = paddle.assign(operand.source())
                    start.stop_gradient = operand.source().stop_gradient
                    operand.set_source(start)
            for inner in op.blocks() if op.num_regions() else ():
                self.start_from_copies(inner)

    def free(self, block: pir.Block) -> None:
        """Takes the mark off what it should not be on, in the order of the ops."""
        for op in block.ops:
            if op.name() == _WHILE:
                self._free_loop(op)
            elif op.num_regions():
                for inner in op.blocks():
                    self.free(inner)
                for k, result in enumerate(op.results()):
                    if any(_yielded(inner)[k].id in self._freed for inner in op.blocks()):
                        self._free(result)
            elif op.name() != _DETACH and self._is_reached(op):
                for result in filter(identity, op.results()):
                    if "float" in str(result.dtype):
                        self._free(result)

    def _free_loop(self, op: Operation) -> None:
        (body,) = op.blocks()
        starts = op.operands_source()[1:]
        for argument, start in zip(body.args(), starts, strict=True):
            if start.id in self._freed:
                self._free(argument)
        found = True
        while found:
            self.free(body)
            found = False
            for argument, value in zip(body.args(), _yielded(body)[1:], strict=True):
                if argument.stop_gradient and not value.stop_gradient:
                    self._free(argument)
                    found = True
        for argument, start, result in zip(body.args(), starts, op.results(), strict=True):
            if argument.id in self._freed:
                self._free(start)
                self._free(result)

    def _is_reached(self, op: Operation) -> bool:
        """Whether all that gives ``op`` a gradient is what was freed here."""
        flowing = [v.id for v in filter(identity, op.operands_source()) if not v.stop_gradient]
        return bool(flowing) and self._freed.issuperset(flowing)

    def _free(self, value: paddle.Tensor) -> None:
        if value.stop_gradient:
            value.stop_gradient = False
            self._freed.add(value.id)


def _yielded(block: pir.Block) -> list[paddle.Tensor]:
    return block.ops[-1].operands_source()


def wrong_loops(program: paddle.static.Program) -> Iterator[tuple[str, str]]:
    """The (layer, what it does) of loops through which Paddle's gradient may be wrong."""
    for op in operations(program):
        if op.name() == _WHILE:
            (body,) = op.blocks()
            carried = [value for value in body.args() if not value.stop_gradient]
            if len(carried) > 1:
                yield layer_of(op), f"carries {len(carried)} tensors that take gradients"
            elif any(_learns(inner) for inner in body.ops):
                yield layer_of(op), "has an if or a loop inside that takes gradients"


def _learns(op: Operation) -> bool:
    results = filter(identity, op.results())
    return bool(op.num_regions()) and any(not value.stop_gradient for value in results)
