"""What a layer writes over while it is traced: later reads get what was written.

In dynamic mode ``F.relu_(h)`` and ``h[0] = 0`` change the tensor ``h``. In a graph they compute
a new value, and whoever still holds the old one, a variable, a list, a hook, reads that. Here
the values that are one tensor are found, and every read gets the newest of them.
"""

from __future__ import annotations

import builtins
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np
import paddle
from paddle import _C_ops
from paddle.base.framework import stride_ops
from paddle.base.libpaddle import pir
from paddle.jit.dy2static import parameter_recorder, program_translator
from paddle.utils import inplace_utils

from purdist.graphs.drafts import Draft
from purdist.graphs.dtypes import array_dtype, dtype_name
from purdist.graphs.looking import (
    Operation,
    identity,
    is_parameter,
    is_tensor,
    op_of,
    overwritten,
    value_ids,
)
from purdist.graphs.statements import statement_of

_VIEWS = frozenset(stride_ops) | {
    "pd_op.as_complex",
    "pd_op.as_strided",
    "pd_op.share_data_",
    "pd_op.split_with_num",
    "pd_op.tensor_unfold",
    "pd_op.view_dtype",
    "pd_op.view_shape",
    "pd_op.view_slice",
}
"""Ops whose results share the memory of what they read, in dynamic mode."""


class StaleReadError(Exception):
    """Something reads a tensor that was written over, and the graph has no value for it.

    Attributes:
        statement: What wrote, with its place in the source.
        why: Why the graph cannot follow it.
    """

    def __init__(self, statement: str, why: str) -> None:
        self.statement = statement
        self.why = why
        super().__init__(f"{statement}: {why}")


@attrs.frozen(eq=False)
class _Tensor:
    """The values that are one tensor in dynamic mode.

    Attributes:
        versions: The newest last.
        memory: What shares its memory: itself, and views of it.
    """

    versions: list[paddle.Tensor]
    memory: list[_Tensor]


@attrs.frozen(eq=False)
class _Region:
    """A while or if op that is being walked.

    Attributes:
        op: The op.
        lost: The tensors outside that its regions write over, each with the first that does.
    """

    op: Operation
    lost: dict[_Tensor, Operation]


@attrs.frozen(eq=False)
class _Stale:
    """Why a value is not to be read any more.

    Attributes:
        writer: The op that wrote over the tensor.
        why: Why no other value stands for it.
    """

    writer: Operation
    why: str

    def error(self) -> StaleReadError:
        return StaleReadError(statement_of(self.writer), self.why)


class Overwriting:
    """What was written over in one trace."""

    def __init__(self) -> None:
        self._targets: dict[str, paddle.Tensor] = {}
        self._tensors: dict[str, _Tensor] = {}
        self._stale: dict[str, _Stale] = {}
        self._depth: dict[str, int] = {}
        self._around: list[_Region] = []

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Takes down what the functions write that Paddle replaces by ones that do not."""
        found = inplace_utils.in_pir_mode, program_translator.check_view_api_used_by_inplace
        setters = _C_ops.set_value_, _C_ops.set_value_with_tensor_
        _C_ops.set_value_, _C_ops.set_value_with_tensor_ = map(self._setting, setters)
        # Where they write, these functions find their like by its name.
        inplace_utils.eval = self._recording
        # Views are told apart here, by who reads them later, and not there by who has read.
        inplace_utils.in_pir_mode = lambda: False
        program_translator.check_view_api_used_by_inplace = lambda _: None
        try:
            with warnings.catch_warnings():
                # Which is as it should be: the values of a graph do not change.
                warnings.filterwarnings("ignore", "In static graph mode, .* inplace operation")
                yield
        finally:
            del inplace_utils.eval
            _C_ops.set_value_, _C_ops.set_value_with_tensor_ = setters
            (
                inplace_utils.in_pir_mode,
                program_translator.check_view_api_used_by_inplace,
            ) = found

    def _recording(self, name: str) -> Callable[..., Any]:
        function: Callable[..., Any] = builtins.eval(name, {"paddle": paddle})

        def write(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            short = name.rpartition(".")[2]
            if short == "where":  # the condition comes first
                target = inspect.signature(function).bind(*args, **kwargs).arguments["x"]
            else:
                target = args[0] if args else next(iter(kwargs.values()))
            if isinstance(target, pir.Value) and not is_parameter(target):
                self._add(target, result)
            else:
                paddle.assign(result, target)  # a weight of the layer, which outlives the run
            return result

        return write

    def _setting(self, setter: Callable[..., paddle.Tensor]) -> Callable[..., paddle.Tensor]:
        """Sets items in a copy, from a tensor: the gradient of numbers set is Paddle's mistake."""

        def assign(target: Any, *args: Any) -> paddle.Tensor:
            if not isinstance(target, pir.Value) or is_parameter(target):
                return setter(target, *args)
            if setter.__name__ == "set_value_":
                *where, shape, numbers = args
                array = np.array(numbers, array_dtype(dtype_name(target.dtype))).reshape(shape)
                args = (paddle.assign(array), *where)
            result = _C_ops.set_value_with_tensor(target, *args)
            self._add(target, result)
            return result

        return assign

    def _add(self, target: paddle.Tensor, result: paddle.Tensor) -> None:
        if result.id == target.id:
            return
        self._targets[result.id] = target
        if _kind(result) != _kind(target):
            # Ops are built for shapes: who reads it by name must get the new one at once.
            program = paddle.static.default_main_program()
            if result.id in value_ids(program.global_block().ops[-1:]):
                parameter_recorder._global_inplace_map.add(program, target, result)

    def settle(self, draft: Draft) -> None:
        """Lets every op read the newest of the values that are one tensor.

        Raises:
            StaleReadError: There is none: it was written in a loop or branch, or through memory
                that several tensors share.
        """
        with draft.appending():
            self._walk(draft.program.global_block())

    def newest(self, value: paddle.Tensor, until: int) -> paddle.Tensor:
        """What the tensor ``value`` was when the op number ``until`` was the last.

        Raises:
            StaleReadError: It had been written over, and there is no value for it.
        """
        stale = self._stale.get(value.id)
        if stale and stale.writer.id() <= until:
            raise stale.error()
        tensor = self._tensors.get(value.id)
        written = tensor.versions[:0:-1] if tensor else []
        return next((v for v in written if op_of(v).id() <= until), value)

    def _walk(self, block: pir.Block) -> None:
        for value in block.args():
            self._depth[value.id] = len(self._around)
        for op in block.ops:
            self._read(op)
            if op.num_regions():
                self._walk_regions(op)
            self._depth.update((value.id, len(self._around)) for value in op.results())
            writes = list(self._writes_of(op))
            if op.name() in _VIEWS and not writes and identity(op.operand_source(0)):
                self._share(op)
            for target, result in writes:
                self._write(op, target, result)
            self._read_copies(op)

    def _walk_regions(self, op: Operation) -> None:
        """What the regions of an op write outside themselves is lost when they end."""
        self._around.append(_Region(op, {}))
        for block in op.blocks():
            self._walk(block)
            for tensor in self._around[-1].lost:
                while self._depth[tensor.versions[-1].id] >= len(self._around):
                    tensor.versions.pop()
        for tensor, writer in self._around.pop().lost.items():
            self._make_stale(tensor, writer, "it writes in a branch to what was made outside")

    def _read(self, op: Operation) -> None:
        for operand in op.operands():
            value = operand.source()
            if not identity(value):
                continue
            if value.id in self._stale:
                raise self._stale[value.id].error()
            tensor = self._tensors.get(value.id)
            newest = tensor.versions[-1] if tensor else value
            if newest.id == value.id:
                continue
            if _kind(newest) != _kind(value):
                raise _Stale(op_of(newest), "it changes the shape or dtype of a tensor").error()
            operand.set_source(newest)

    def _tensor(self, value: paddle.Tensor) -> _Tensor:
        tensor = self._tensors.get(value.id)
        if tensor is None:
            tensor = self._tensors[value.id] = _Tensor([value], [])
            tensor.memory.append(tensor)
        return tensor

    def _share(self, op: Operation) -> None:
        memory = self._tensor(op.operand_source(0)).memory
        for result in filter(is_tensor, op.results()):
            self._tensors[result.id] = _Tensor([result], memory)
            memory.append(self._tensors[result.id])

    def _writes_of(self, op: Operation) -> Iterator[tuple[paddle.Tensor, paddle.Tensor]]:
        """What ``op`` writes over, and with what."""
        for result in op.results():
            if identity(result) and result.id in self._targets:
                yield self._targets[result.id], result
        for index, result in self._in_place(op):
            yield op.operand_source(index), result

    def _in_place(self, op: Operation) -> Iterator[tuple[int, paddle.Tensor]]:
        """The operands that ``op`` itself writes to, save weights, each with what it becomes.

        A loop that does so to what was made outside counts its rounds, and is Paddle's own.
        """
        if op.num_regions() or not overwritten(op):
            return
        for position, index in pir.get_op_inplace_info(op).items():
            value = op.operand_source(index)
            known = identity(value) and is_tensor(value) and not is_parameter(value)
            if known and not self._loops_between(value):
                yield index, op.result(position)

    def _loops_between(self, value: paddle.Tensor) -> bool:
        """Whether ``value`` was made outside a loop that is being walked."""
        around = self._around[self._depth[value.id] :]
        return any(region.op.name() == "pd_op.while" for region in around)

    def _write(self, op: Operation, target: paddle.Tensor, result: paddle.Tensor) -> None:
        tensor = self._tensor(target)
        regions = self._around[self._depth[tensor.versions[0].id] :]
        if self._loops_between(tensor.versions[0]):
            raise _Stale(op, "it writes in a loop to what was made outside").error()
        if regions:
            regions[0].lost.setdefault(tensor, op)
        tensor.versions.append(result)
        self._tensors[result.id] = tensor
        if op.name() not in _VIEWS:
            for other in tensor.memory:
                if other is not tensor:
                    self._make_stale(other, op, "it writes to memory that another tensor shares")

    def _read_copies(self, op: Operation) -> None:
        """Lets ``op`` write to copies: what it writes to has a name, and gradients to give."""
        for index, _ in list(self._in_place(op)):
            value = op.operand_source(index)
            pir.set_insertion_point(op)
            copied = paddle.assign(value)
            copied.stop_gradient = value.stop_gradient
            self._depth[copied.id] = len(self._around)
            op.operand(index).set_source(copied)

    def _make_stale(self, tensor: _Tensor, writer: Operation, why: str) -> None:
        for value in tensor.versions:
            self._stale.setdefault(value.id, _Stale(writer, why))


def _kind(value: paddle.Tensor) -> tuple[list[int], object]:
    return list(value.shape), value.dtype
