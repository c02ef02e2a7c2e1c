"""The memory behind the names of scopes, and behind the tensors of dynamic mode."""

from __future__ import annotations

from typing import Any, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt
import paddle
from paddle.base.core import DenseTensor

from purdist.graphs.dtypes import Kind, dtype_name
from purdist.graphs.state import Place, Scope

Memory: TypeAlias = DenseTensor

_CPU = 1, 0
"""Where memory is that numpy can look at, as DLPack says it."""


def has_memory(tensor: Memory | paddle.Tensor) -> bool:
    """Whether there is memory behind ``tensor``: Paddle makes some before they have any."""
    return tensor._is_initialized()


def has_numbers(tensor: paddle.Tensor) -> bool:
    """Whether numpy can be asked for what ``tensor`` holds: of a sparse one it would crash."""
    return tensor.is_dense() and (has_memory(tensor) or 0 in tensor.shape)


def is_scratch(tensor: paddle.Tensor) -> bool:
    """Whether ``tensor`` is no weight: an LSTM's that it writes before it reads, or an empty one.

    Paddle marks the first by its name.
    """
    return "__non_persistable" in tensor.name or not has_memory(tensor)


def kind_of(memory: Memory) -> Kind:
    """The shape and dtype of what lies there."""
    return tuple(memory.shape()), dtype_name(memory._dtype())


def share_memory(source: Memory, target: Memory) -> None:
    """Makes ``target`` another name for the memory of ``source``."""
    target._share_data_with(source)


def copy_memory(source: Memory, target: Memory, place: Place | None = None) -> None:
    """Gives ``target`` a copy of ``source`` at ``place``, or where ``target`` lies already."""
    target._copy_from(source, target._place() if place is None else place)


def middle_row(memory: Memory) -> npt.NDArray[np.generic]:
    """A row from the middle of what lies there, all of it where it has less than two axes."""
    shape = memory.shape()
    if len(shape) < 2:
        return np.array(memory)
    return np.array(memory._slice(shape[0] // 2, shape[0] // 2 + 1))


@attrs.frozen(eq=False)
class _Lent:
    """Memory, as numpy asks for it to look at it."""

    memory: Memory

    def __dlpack__(self, *, max_version: object = None, **_: object) -> Any:
        if max_version is None:
            return self.memory._to_dlpack()
        return self.memory._to_dlpack_versioned()  # which numpy may write to

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CPU


def lent(tensor: Memory | paddle.Tensor) -> npt.NDArray[Any] | None:
    """What lies there as an array: the same memory, which lasts as long as the array does.

    None where numpy has no such dtype, or cannot look there.
    """
    if isinstance(tensor, paddle.Tensor) and not tensor.is_dense():
        return None
    # Another name, for Paddle's memory does not keep its tensor.
    memory = tensor.get_tensor() if isinstance(tensor, paddle.Tensor) else tensor
    # Of one that is not there yet Paddle would crash.
    if not (has_memory(memory) and memory._place().is_cpu_place()):
        return None
    if dtype_name(memory._dtype()) == "bfloat16":
        return None
    try:
        return np.from_dlpack(_Lent(memory))
    except RuntimeError:  # older versions of numpy take no bool
        return None


def drop_scope(scope: Scope) -> None:
    """Lets go of a scope: Paddle keeps each that was made until the process ends."""
    scope._remove_from_pool()
