"""Weights: reading, copying and sharing them between scopes.

Three ways to hand a weight on. *Copied*: memory of its own. *Shared*: another
name for the same memory. *Absent*: a scope has the name but no memory behind it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import paddle

from purdist.errors import UninitializedWeightsError
from purdist.pir import Place


def new_scope() -> paddle.static.Scope:
    """An empty scope."""
    return paddle.static.Scope()


def tensor_of(scope: paddle.static.Scope, name: str) -> paddle.base.core.DenseTensor | None:
    """The memory behind ``name``, None where there is none."""
    variable = scope.find_var(name)
    if variable is None:
        return None
    tensor = variable.get_tensor()
    return tensor if tensor._is_initialized() else None


def share(
    source: paddle.static.Scope,
    target: paddle.static.Scope,
    names: Iterable[str],
    *,
    prefix: str = "",
) -> None:
    """Makes ``prefix + name`` in ``target`` a name for the memory of ``name`` in ``source``."""
    for name in names:
        target.var(prefix + name).get_tensor()._share_data_with(_present(source, name))


def copy(
    source: paddle.static.Scope,
    target: paddle.static.Scope,
    names: Iterable[str],
    place: Place,
    *,
    prefix: str = "",
) -> None:
    """Gives ``prefix + name`` in ``target`` a copy at ``place`` of the weight ``name``."""
    for name in names:
        target.var(prefix + name).get_tensor()._copy_from(_present(source, name), place)


def values(scope: paddle.static.Scope, names: Iterable[str]) -> dict[str, npt.NDArray[np.generic]]:
    """The weights as arrays of their own."""
    return {name: np.array(_present(scope, name)) for name in names}


def write(scope: paddle.static.Scope, name: str, value: float, place: Place) -> None:
    """Overwrites the scalar ``name``, which keeps its dtype."""
    tensor = _present(scope, name)
    tensor.set(np.full(tensor.shape(), value, np.array(tensor).dtype), place)


def _present(scope: paddle.static.Scope, name: str) -> paddle.base.core.DenseTensor:
    tensor = tensor_of(scope, name)
    if tensor is None:
        raise UninitializedWeightsError(
            f"Expected the scope to hold the weight {name!r}, got no memory for it.",
            "Run the startup program in this scope first.",
        )
    return tensor
