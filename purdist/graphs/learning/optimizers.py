"""Paddle's optimizers: what they were made with, and what of it graphs need changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import paddle
from paddle.autograd import ir_backward
from paddle.base.libpaddle import pir
from paddle.nn import ClipGradByGlobalNorm, ClipGradByValue
from paddle.optimizer import Optimizer
from paddle.optimizer.lr import LRScheduler

from purdist.graphs.dtypes import dtype_name
from purdist.graphs.learning.keeping import added_by
from purdist.graphs.looking import Operation, is_tensor, is_value, op_of
from purdist.graphs.state import replaced

Gradient: TypeAlias = tuple[paddle.Tensor, paddle.Tensor]
"""A parameter, and its gradient."""


def has_parameters_of_its_own(optimizer: Optimizer) -> bool:
    """Whether ``optimizer`` was made with ``parameters=``."""
    return optimizer._parameter_list is not None


def has_groups(optimizer: Optimizer) -> bool:
    """Whether ``optimizer`` was made with groups of parameters, of options of their own."""
    return bool(optimizer._param_groups) and isinstance(optimizer._param_groups[0], dict)


def is_used(optimizer: Optimizer) -> bool:
    """Whether ``optimizer`` has taken steps in a program."""
    return bool(optimizer._learning_rate_map)


def scheduler_of(optimizer: Optimizer) -> LRScheduler | None:
    """What sets the learning rate of ``optimizer``, None where it is constant."""
    rate = optimizer._learning_rate
    return rate if isinstance(rate, LRScheduler) else None


def option(optimizer: Optimizer, name: str) -> Any:
    """What ``optimizer`` was made with as ``name``, None where its kind takes no such thing."""
    return getattr(optimizer, f"_{name}", None)


def set_option(optimizer: Optimizer, name: str, value: object) -> None:
    """Makes ``optimizer`` as if it had been made with ``value`` as ``name``."""
    setattr(optimizer, f"_{name}", value)


def parts_of(optimizer: Optimizer) -> tuple[object, ...]:
    """It, its clip and its regularizer, None for one that it has not."""
    return optimizer, optimizer._grad_clip, optimizer.regularization


def tensors_in(parts: Iterable[object]) -> Iterator[tuple[str, str, object]]:
    """The tensors that parts of an optimizer were made with.

    Yields:
        The kind of a part, the name of its option, and the tensor.
    """
    for part in parts:
        for name, value in getattr(part, "__dict__", {}).items():
            if isinstance(value, paddle.Tensor) or is_value(value):
                yield type(part).__name__, name.strip("_"), value


def regularizer_of(optimizer: Optimizer) -> object:
    """What adds to the gradients of ``optimizer``: a function, or what it takes for one."""
    return optimizer.regularization


def gradients(optimizer: Optimizer, loss: paddle.Tensor) -> list[Gradient]:
    """Adds the gradients of ``loss`` to the current program, as ``optimizer.backward``.

    Paddle lists all ops of the program three times for each of which it takes the gradient, to
    count them and to see the newest.
    """
    append = ir_backward.append_backward_ops

    def appending(base: object, *arguments: Any, **options: Any) -> None:
        if base is None:  # no region
            inputs, outputs, forward, backward, *others = arguments
            assert forward == backward, "gradients stand behind what they are of"
            block = _Counted(backward)
            arguments = (inputs, outputs, block, block, *others)
        append(base, *arguments, **options)

    with replaced(ir_backward, {"append_backward_ops": appending}):
        return optimizer.backward(loss)


class _Counted:
    """A block whose ops can be counted without a list of them."""

    def __init__(self, block: pir.Block) -> None:
        self._block = block
        self.ops = _Operations(block)

    def __enter__(self) -> object:
        return self._block.__enter__()

    def __exit__(self, *raised: object) -> None:
        self._block.__exit__(*raised)


class _Operations:
    """The ops of a block, as many as there are when they are asked for."""

    def __init__(self, block: pir.Block) -> None:
        self._block = block

    def __len__(self) -> int:
        return len(self._block)

    def __getitem__(self, index: int) -> Operation:
        return self._block.back() if index in (-1, len(self) - 1) else self._block.ops[index]


def follow(optimizer: Optimizer, loss: paddle.Tensor, gradients: list[Gradient]) -> None:
    """Adds the ops by which ``optimizer`` follows the gradients of ``loss``, as its ``minimize``.

    ``apply_gradients`` sorts them first: a norm over all would be rounded otherwise.
    """
    added = added_by(lambda: optimizer._apply_optimize(loss, None, gradients))
    for op in added:
        _take_numbers_exactly(op)
    if added:
        pir.set_insertion_point_after(added[-1])


def _take_numbers_exactly(op: Operation) -> None:
    """Lets ``op`` take its numbers beside float64 in float64, as in dynamic mode.

    Paddle makes float32 of them in a graph: 0.89999998 of 0.9. What was written is the shortest
    number that it makes the same of, save of numbers with more than seven digits.
    """
    if "float64" not in _dtypes_of(op.operands_source()):
        return
    pir.set_insertion_point(op)
    for operand in op.operands():
        source = operand.source()
        if _dtypes_of([source]) == {"float32"} and op_of(source).name() == "pd_op.full":
            written = float(str(np.float32(str(op_of(source).attrs()["value"]))))
            operand.set_source(paddle.full(source.shape, written, "float64"))


def _dtypes_of(values: Iterable[paddle.Tensor]) -> set[str]:
    return {dtype_name(value.dtype) for value in values if is_tensor(value)}


def count_of_batches(optimizer: paddle.optimizer.ASGD) -> int:
    """Over how many batches it averages gradients: its ``batch_num``."""
    return optimizer._n


def decay_all_but(optimizer: Optimizer, names: Collection[str]) -> None:
    """Lets an ``optimizer`` that has ``exclude_from_weight_decay`` exclude these, by whole names.

    It looks for each of its list in a name, which may be part of another name.
    """
    step = optimizer._append_optimize_op

    def append(block: object, parameter_and_gradient: Sequence[paddle.Tensor]) -> object:
        name = parameter_and_gradient[0].name
        optimizer._exclude_from_weight_decay = [name] if name in names else []
        return step(block, parameter_and_gradient)

    optimizer._append_optimize_op = append


def clip_in_graphs(optimizer: Optimizer) -> None:
    """Lets ``optimizer`` clip as in dynamic mode: some of Paddle's own do not know PIR graphs."""
    clip = optimizer._grad_clip
    if isinstance(clip, ClipGradByValue):
        optimizer._grad_clip = _ClipByValue(clip.max, clip.min)
    elif isinstance(clip, ClipGradByGlobalNorm):
        # It asks a graph value for its truth. A factor of 1 is no clip either.
        clip.auto_skip_clip = False


class _ClipByValue(ClipGradByValue):
    def _pir_clip(
        self, params_grads: Sequence[tuple[paddle.Tensor, paddle.Tensor | None]]
    ) -> list[tuple[paddle.Tensor, paddle.Tensor | None]]:
        return [
            (parameter, gradient)
            if gradient is None or not parameter.need_clip
            else (parameter, paddle.clip(gradient, self.min, self.max))
            for parameter, gradient in params_grads
        ]
