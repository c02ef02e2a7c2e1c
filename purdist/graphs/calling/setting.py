"""Items that a static program sets, ``h[:, 0] = 1``: in a copy, which leaves ``h`` as it was.

Paddle sets them in the memory of ``h``, which the gradient of whatever made or read ``h`` before
then takes for its values; and where the items are numbers its gradient is a mistake.
"""

from __future__ import annotations

import numpy as np
import paddle
from paddle import _C_ops
from paddle.base.libpaddle import pir

from purdist.graphs.changing import erase
from purdist.graphs.drafts import Draft
from purdist.graphs.dtypes import array_dtype, dtype_name
from purdist.graphs.looking import Operation, identity, is_parameter, numbers_of, value_ids

_OF_NUMBERS = ("pd_op.set_value", "pd_op.set_value_")
_SETTING = (*_OF_NUMBERS, "pd_op.set_value_with_tensor_")


def set_in_copies(draft: Draft) -> None:
    """Sets items in copies, which are what is read of the tensor from then on.

    Those of a weight stay, and those that a region sets of what was made outside of it.
    """
    setting = _Setting(draft)
    setting.settle(draft.program.global_block())
    draft.values = {name: setting.last(value) for name, value in draft.values.items()}
    erase(draft, setting.done)


class _Setting:
    """Goes through a program in order.

    Attributes:
        done: The ops that go.
    """

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._newest: dict[str, paddle.Tensor] = {}
        self.done: list[Operation] = []

    def last(self, value: paddle.Tensor) -> paddle.Tensor:
        """What ``value`` is in the end."""
        while value.id in self._newest:
            value = self._newest[value.id]
        return value

    def settle(self, block: pir.Block) -> None:
        """Sets what an op of ``block`` sets in a copy, and lets all ops after it read that."""
        own = value_ids(block.ops)
        for op in list(block.ops):
            for operand in op.operands():
                if identity(operand.source()):
                    operand.set_source(self.last(operand.source()))
            for inner in op.blocks() if op.num_regions() else ():
                self.settle(inner)
            if op.name() in _SETTING and op.operand_source(0).id in own:
                self._set(op, own)

    def _set(self, op: Operation, own: set[str]) -> None:
        target = op.operand_source(0)
        if is_parameter(target):
            return
        with self._draft.appending():
            pir.set_insertion_point(op)
            result = _in_a_copy(op)
        own.add(result.id)
        self._newest[op.result(0).id] = result
        if op.name().endswith("_"):
            self._newest[target.id] = result
        self.done.append(op)


def _in_a_copy(op: Operation) -> paddle.Tensor:
    target, *others = op.operands_source()
    if op.name() in _OF_NUMBERS:
        kept = op.attrs()["values"]
        dtype = array_dtype(dtype_name(target.dtype))
        array = np.array(kept, dtype).reshape(numbers_of(op, "shape"))
        values, where = paddle.assign(array), others
    else:
        values, *where = others
    axes = (numbers_of(op, name) for name in ("axes", "decrease_axes", "none_axes"))
    result: paddle.Tensor = _C_ops.set_value_with_tensor(target, values, *where, *axes)
    return result
