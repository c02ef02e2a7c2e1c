"""Weights: reading, copying and sharing them between scopes.

Three ways to hand a weight on. *Copied*: memory of its own. *Shared*: another
name for the same memory. *Absent*: a scope has the name but no memory behind it.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import paddle

from purdist import graphs
from purdist.errors import UninitializedWeightsError
from purdist.graphs import Memory, Place, Scope

_SOME = 64
"""How many numbers of a weight tell it from another."""

_MADE: WeakKeyDictionary[Scope, dict[str, tuple[object, Memory]]] = WeakKeyDictionary()
"""What was made in each scope of ours. Paddle hands out these very objects again."""


def new_scope() -> Scope:
    """An empty scope, which goes when nobody holds it, or a weight in it.

    Paddle keeps every scope that was made, with its weights, until the process ends; but a
    scope goes with its parent's children.
    """
    parent = paddle.static.Scope()
    scope = parent.new_scope()
    made = _MADE[scope] = {}
    # Not at exit: executors may still be there, and nobody minds the memory.
    weakref.finalize(scope, _drop_unless_held, parent, made).atexit = False
    return scope


def _drop_unless_held(parent: Scope, made: dict[str, tuple[object, Memory]]) -> None:
    """Drops a scope, unless a weight of it is in somebody's hands: to touch it would crash."""
    while made:
        _, (variable, tensor) = made.popitem()
        alone = 2  # our name for it, and the argument of getrefcount
        if sys.getrefcount(variable) > alone or sys.getrefcount(tensor) > alone:
            return
    parent.drop_kids()
    graphs.drop_scope(parent)


def _make(scope: Scope, name: str) -> Memory:
    """The tensor ``name`` in ``scope``, new if it is not there."""
    made = _MADE.setdefault(scope, {})
    if name not in made:
        variable = scope.var(name)
        made[name] = variable, variable.get_tensor()
    return made[name][1]


def initialise(scope: Scope, startup: paddle.static.Program, place: Place) -> list[str]:
    """Runs a startup program, puts the weights it sets into ``scope``, and returns their names."""
    if not list(graphs.operations(startup)):
        return []
    # The executor would put them into the uppermost parent of `scope`.
    drawn = paddle.static.Scope()
    graphs.Runner(graphs.Graph(startup, {}), (), drawn, place)({})
    names = names_in(drawn)
    share(drawn, scope, names)
    graphs.drop_scope(drawn)
    return names


def names_in(scope: Scope) -> list[str]:
    """The names of all that a scope holds memory for."""
    return [name for name in sorted(scope.local_var_names()) if tensor_of(scope, name) is not None]


def tensor_of(scope: Scope, name: str) -> Memory | None:
    """The memory behind ``name``, None where there is none."""
    variable = scope.find_var(name)
    if variable is None:
        return None
    tensor = variable.get_tensor()
    return tensor if graphs.has_memory(tensor) else None


def share(
    source: Scope,
    target: Scope,
    names: Iterable[str],
    *,
    rename: Callable[[str], str] = str,
) -> None:
    """Makes ``rename(name)`` in ``target`` a name for the memory of ``name`` in ``source``."""
    for name in names:
        graphs.share_memory(_present(source, name), _make(target, rename(name)))


def copy(
    source: Scope,
    target: Scope,
    names: Iterable[str],
    place: Place,
    *,
    rename: Callable[[str], str] = str,
) -> None:
    """Gives ``rename(name)`` in ``target`` a copy at ``place`` of the weight ``name``."""
    for name in names:
        graphs.copy_memory(_present(source, name), _make(target, rename(name)), place)


def hold(scope: Scope, name: str, tensor: paddle.Tensor) -> None:
    """Makes ``name`` in ``scope`` a name for the memory of a dygraph tensor."""
    target = _make(scope, name)
    if tensor.is_contiguous():
        graphs.share_memory(tensor.get_tensor(), target)
    else:  # a view of another tensor: Paddle would copy the wrong memory
        target.set(np.array(tensor.get_tensor()), paddle.CPUPlace())


def write_into(tensor: paddle.Tensor, scope: Scope, name: str) -> None:
    """Overwrites a dygraph tensor with a copy of the weight ``name``, where it lives."""
    graphs.copy_memory(_present(scope, name), tensor.get_tensor())


def put(scope: Scope, name: str, array: npt.NDArray[np.generic], place: Place) -> None:
    """Gives ``name`` in ``scope`` a copy of ``array`` at ``place``."""
    _make(scope, name).set(array, place)


def put_each(scope: Scope, arrays: Mapping[str, npt.NDArray[np.generic]], place: Place) -> None:
    """The same of each of ``arrays``, by its name."""
    for name, array in arrays.items():
        put(scope, name, array, place)


def kinds(scope: Scope, names: Iterable[str]) -> dict[str, graphs.Kind]:
    """The shape and dtype of each weight that is there."""
    tensors = {name: tensor_of(scope, name) for name in names}
    return {name: graphs.kind_of(tensor) for name, tensor in tensors.items() if tensor is not None}


def values(scope: Scope, names: Iterable[str]) -> dict[str, npt.NDArray[np.generic]]:
    """The weights as arrays of their own."""
    return {name: np.array(_present(scope, name)) for name in names}


def some_of(scope: Scope, names: Iterable[str]) -> dict[str, npt.NDArray[np.generic]]:
    """Some numbers of each weight that is there, the same ones at each call."""
    found = {}
    for name in names:
        tensor = tensor_of(scope, name)
        if tensor is not None:
            found[name] = graphs.middle_row(tensor).ravel()[:_SOME]
    return found


def write(scope: Scope, name: str, value: float, place: Place) -> None:
    """Overwrites the scalar ``name``, which keeps its dtype."""
    tensor = _present(scope, name)
    tensor.set(np.full(tensor.shape(), value, np.array(tensor).dtype), place)


def _present(scope: Scope, name: str) -> Memory:
    tensor = tensor_of(scope, name)
    if tensor is None:
        raise UninitializedWeightsError(
            f"Expected the scope to hold the weight {name!r}, got no memory for it.",
            "Run the startup program in this scope first.",
        )
    return tensor
