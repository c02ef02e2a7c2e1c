"""Somebody's function, called with graph values: what it asks of tensors, answered by a graph.

A value of a graph has no numbers yet. Where Python, numpy or a tensor of dynamic mode meets
one, Paddle 3.3.1 ends the process, goes round for ever or computes with -1 for a size. Inside
`asking` an unknown size is a value of the graph, an array or tensor beside a value is a
constant of it, and whoever wants numbers gets a `NumbersError`.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import paddle
from paddle.base.dygraph import base
from paddle.base.libpaddle import pir
from paddle.jit.dy2static.parameter_recorder import _global_inplace_map
from paddle.pir import core
from paddle.pir.core import static_op_arg_cast_guard
from paddle.tensor import linalg

from purdist.graphs.calling.branching import branches_as_in_dygraph
from purdist.graphs.state import replaced
from purdist.graphs.statements import PADDLE, PURDIST

_DIVIDING = ("kl_div", "npair_loss", "dice_loss", "gaussian_nll_loss", "rnnt_loss")
_SIZE_READERS = frozenset(
    {("loss.py", name) for name in _DIVIDING}
    | {("linalg.py", name) for name in ("cov", "corrcoef")}
)
"""Functions of Paddle's own that compute with a size, by file and name."""

ARITHMETIC = tuple(
    f"__{side}{name}__"
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul")
    for side in ("", "r")
)
COMPARISONS = tuple(f"__{name}__" for name in ("eq", "ne", "lt", "le", "gt", "ge"))
_OPERATORS = (*ARITHMETIC, *COMPARISONS)

_FATAL = ("__getitem__", "__iter__", "clone", "detach")
"""What else of a tensor of dynamic mode ends the process in static mode."""


_WRITING = (
    "set_value",
    "__setitem__",
    *(name for name in dir(paddle.Tensor) if name.endswith("_") and not name.startswith("_")),
)
"""The methods that write to a tensor of dynamic mode."""


def _rows(tensor: paddle.Tensor) -> Iterator[paddle.Tensor]:
    return (tensor[k] for k in range(len(tensor)))


_ITERATING = {"__iter__": _rows}
"""What Python does for a tensor of dynamic mode, which has no method for it."""


class OutsideWriteError(TypeError):
    """A tensor that was made outside is written, which happens once, while the graph is built."""


class NumbersError(TypeError):
    """Python asked a value for numbers, which a graph does not have while it is built."""


def _no_numbers(what: str) -> NumbersError:
    return NumbersError(f"{what} of a value, which a graph has not before it runs")


class Shape(list[Any]):
    """The shape of a value, an unknown size being a value of the graph.

    Two are equal if all sizes that both know are.
    """

    def __eq__(self, other: object) -> Any:
        return (
            isinstance(other, list | tuple)
            and len(self) == len(other)
            and all(_may_be_one(one, two) for one, two in zip(self, other, strict=True))
        )

    def __ne__(self, other: object) -> Any:
        return not self == other

    __hash__ = None

    def __getitem__(self, key: Any) -> Any:
        got = super().__getitem__(key)
        return type(self)(got) if isinstance(key, slice) else got

    def __add__(self, other: Any) -> Any:
        return type(self)([*self, *other])

    def numel(self) -> Any:
        """How many numbers there are."""
        count: Any = 1
        for size in self:
            count = size * count
        return count


def _may_be_one(one: object, two: object) -> bool:
    unknown = isinstance(one, pir.Value) or isinstance(two, pir.Value)
    return unknown or one == two


def sizes_of(value: paddle.Tensor) -> Shape:
    """The shape of ``value``, with values for what is unknown."""
    known = _SHAPE(value)
    return Shape(
        paddle.shape(value)[axis] if size == -1 else size for axis, size in enumerate(known)
    )


_SHAPE: Callable[[paddle.Tensor], list[int]] = vars(pir.Value)["shape"].fget


def shape_of(value: paddle.Tensor) -> list[int]:
    """The shape of ``value`` as Paddle has it, with -1 for what is unknown."""
    return _SHAPE(value)


def is_paddles(frame: Any) -> bool:
    """Whether code is Paddle's own."""
    return bool(frame.f_code.co_filename.startswith(PADDLE))


@contextmanager
def asking(
    foreign: Callable[[str], object] | None = None,
    shape: Callable[[paddle.Tensor], object] = sizes_of,
) -> Iterator[None]:
    """Graph values answer inside as the module says, in this thread.

    Args:
        foreign: Told of a tensor of dynamic mode that takes gradients, which no constant can
            stand for. None where somebody else looks after such tensors.
        shape: What somebody's own code gets for the shape of a value.
    """
    thread = threading.get_ident()

    def here() -> bool:
        return threading.get_ident() == thread

    def become(thing: Any) -> Any:
        if isinstance(thing, np.ndarray):
            return paddle.to_tensor(thing)
        if foreign is not None and isinstance(thing, paddle.Tensor):
            if not thing.stop_gradient:
                foreign("a dygraph layer or tensor")
            return paddle.to_tensor(np.array(thing))
        return thing

    values = {
        **_answers(here, shape),
        **{name: _beside(name, become) for name in _OPERATORS},
        **{name: _indexed(name, become) for name in ("__getitem__", "__setitem__")},
    }
    tensors = {
        **{name: _as_constant(name, here, become) for name in (*_OPERATORS, *_FATAL)},
        **{name: _written(name, here) for name in _WRITING},
    }
    with ExitStack() as stack:
        stack.enter_context(replaced(pir.Value, values))
        stack.enter_context(branches_as_in_dygraph())
        stack.enter_context(replaced(paddle._C_ops, {"unbind": _unbind(here)}))
        cov = {"cov": _cov(linalg.cov, here)}  # corrcoef calls it too
        for owner in (linalg, paddle.linalg, pir.Value):
            stack.enter_context(replaced(owner, cov))
        if foreign is not None:
            stack.enter_context(replaced(paddle.Tensor, tensors))
            stack.enter_context(replaced(core, {"switch_main_program": _no_other(here)}))
            stack.enter_context(replaced(paddle, {"assign": _assigned(paddle.assign, here)}))
            stack.enter_context(replaced(base, {"in_to_static_mode": _is_mode()}))
            stack.enter_context(static_op_arg_cast_guard(become))
        stack.enter_context(warnings.catch_warnings())
        # An if that returns in one of its branches, converted.
        warnings.filterwarnings("ignore", "Return results from different branches in cond")
        warnings.filterwarnings("ignore", "Return results has maybe unbound local variable")
        try:
            yield
        finally:
            # The next program may have the same address.
            _global_inplace_map.pop(paddle.static.default_main_program())


def _answers(here: Callable[[], bool], own: Callable[[paddle.Tensor], object]) -> dict[str, object]:
    def shape(self: paddle.Tensor) -> Any:
        frame = sys._getframe(1)
        if not here() or not _wants_sizes(frame):
            return _SHAPE(self)
        return sizes_of(self) if is_paddles(frame) else own(self)

    def rows(self: paddle.Tensor) -> Iterator[paddle.Tensor]:
        return iter([self[k] for k in range(length(self))])

    def length(self: paddle.Tensor) -> int:
        known = _SHAPE(self)
        if not known:
            raise TypeError("a value without axes has no len()")
        if known[0] == -1:
            raise _no_numbers("the number of rows")
        return known[0]

    def refused(what: str) -> Callable[..., NoReturn]:
        def refuse(*_: object, **__: object) -> NoReturn:
            raise _no_numbers(what)

        return refuse

    return {
        "shape": property(shape),
        "__iter__": rows,
        "__len__": length,
        "__bool__": refused("the truth"),
        "__int__": refused("the number"),
        "__float__": refused("the number"),
        "__index__": refused("the number"),
        "__array__": refused("the numbers"),
        "numpy": refused("the numbers"),
        "tolist": refused("the numbers"),
        "__array_ufunc__": None,  # an array leaves operators to the value
    }


def _wants_sizes(frame: Any) -> bool:
    """Whether code computes with sizes: Paddle's own mostly looks whether one is -1."""
    path = frame.f_code.co_filename
    if not path.startswith(PADDLE):
        return not path.startswith(PURDIST)
    return (Path(path).name, frame.f_code.co_name) in _SIZE_READERS


def _beside(name: str, become: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """An operator of values that takes arrays, and tensors, on the other side."""
    found = getattr(pir.Value, name)

    def operate(self: Any, other: Any) -> Any:
        if isinstance(other, list | tuple) and name in ("__mul__", "__rmul__"):
            # `[3] * x.shape[0]`: a length for each row.
            return paddle.tile(paddle.to_tensor(other), [self])
        if isinstance(other, np.generic):
            other = other.item()
        return found(self, become(other))

    return operate


def _indexed(name: str, become: Callable[[Any], Any]) -> Callable[..., Any]:
    """Indexing of values that takes arrays and tensors."""
    found = getattr(pir.Value, name)

    def index(self: Any, key: Any, *item: Any) -> Any:
        tensors = tuple(map(become, key)) if isinstance(key, tuple) else become(key)
        return found(self, tensors, *map(become, item))

    return index


def _unbind(here: Callable[[], bool]) -> Callable[..., Any]:
    """One value for each of an unknown number of rows ends the process."""
    found = paddle._C_ops.unbind

    def unbind(value: Any, axis: int = 0, *others: Any, **kwargs: Any) -> Any:
        if here() and isinstance(value, pir.Value) and _SHAPE(value)[axis] == -1:
            raise _no_numbers("the number of rows")
        return found(value, axis, *others, **kwargs)

    return unbind


def _cov(found: Callable[..., Any], here: Callable[[], bool]) -> Callable[..., Any]:
    """It asks whether there is one row, before it turns rows into columns.

    Of one row there is no covariance, so that what becomes of one is not asked here.
    """

    def cov(x: Any, rowvar: bool = True, *others: Any, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002
        unknown = here() and isinstance(x, pir.Value) and not rowvar
        if unknown and len(_SHAPE(x)) == 2 and _SHAPE(x)[0] == -1:
            x, rowvar = x.t(), True
        return found(x, rowvar, *others, **kwargs)

    return cov


def _no_other(here: Callable[[], bool]) -> Callable[..., Any]:
    """Keeps code from building in a program that is gone when it returns."""
    found = core.switch_main_program
    known = [paddle.static.default_main_program(), paddle.static.default_startup_program()]

    def switch_main_program(program: Any, *position: Any) -> Any:
        if here() and not any(program is one for one in known) and not _is_ours(sys._getframe(1)):
            raise RuntimeError("a program_guard of another program: build in the current one")
        return found(program, *position)

    return switch_main_program


def _is_ours(frame: Any) -> bool:
    """Whether a context manager was entered by purdist, which a function may call."""
    while frame and frame.f_code.co_filename.startswith((PADDLE, contextlib.__file__)):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(PURDIST)


def _as_constant(
    name: str, here: Callable[[], bool], become: Callable[[Any], Any]
) -> Callable[..., Any]:
    """A method of tensors of dynamic mode that is called on a constant instead."""
    found = getattr(paddle.Tensor, name, None) or _ITERATING[name]

    def operate(self: Any, *others: Any) -> Any:
        if here() and not paddle.in_dynamic_mode():
            return getattr(become(self), name)(*others)
        return found(self, *others)

    return operate


def _written(name: str, here: Callable[[], bool]) -> Callable[..., Any]:
    """A method that writes to a tensor of dynamic mode."""
    found = getattr(paddle.Tensor, name)

    def write(self: Any, *others: Any, **kwargs: Any) -> Any:
        if here() and not paddle.in_dynamic_mode() and not is_paddles(sys._getframe(1)):
            raise OutsideWriteError(f"{name} of a tensor from outside")
        return found(self, *others, **kwargs)

    return write


def _assigned(found: Callable[..., Any], here: Callable[[], bool]) -> Callable[..., Any]:
    def assign(x: Any, output: Any = None) -> Any:
        if here() and isinstance(output, paddle.Tensor) and not paddle.in_dynamic_mode():
            raise OutsideWriteError("paddle.assign to a tensor from outside")
        return found(x, output)

    return assign


def _is_mode() -> Callable[[], bool]:
    """Has Paddle's checks of types let tensors of dynamic mode through, to become constants."""
    found = base.in_to_static_mode

    def in_to_static_mode() -> bool:
        return bool(found()) or sys._getframe(1).f_code.co_name == "check_type"

    return in_to_static_mode
