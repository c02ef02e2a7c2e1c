"""A loss for once: `CustomLoss`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.errors import ForeignValueError
from purdist.losses.spec import LossSpec
from purdist.variables import NewInput, Variable


def _sorted_pairs(
    variables: Mapping[str, str | NewInput],
) -> tuple[tuple[str, str | NewInput], ...]:
    return tuple(sorted(dict(variables).items()))


def _reached(function: Callable[..., paddle.Tensor]) -> Iterator[tuple[str, object]]:
    """What a function holds from outside: itself, bound arguments, names it closes over."""
    yield getattr(function, "__name__", type(function).__name__), function
    if isinstance(function, functools.partial):
        yield from ((repr(k), thing) for k, thing in enumerate(function.args))
        yield from function.keywords.items()
        yield from _reached(function.func)
    elif inspect.ismethod(function):
        yield "self", function.__self__
        yield from _reached(function.__func__)
    elif inspect.isfunction(function):
        outside = inspect.getclosurevars(function)
        yield from outside.nonlocals.items()
        yield from outside.globals.items()


def _has_parameters(layer: paddle.nn.Layer) -> bool:
    # Their names alone: to touch a parameter of a program that is gone is an abort.
    return any(part._parameters for part in layer.sublayers(include_self=True))


@attrs.frozen
class CustomLoss(LossSpec):
    """A term computed by a function of yours.

    The function is called once while the graph is built, with a value for each
    variable by parameter name, and returns one scalar. It may make layers, such as the
    1x1 convolution that adapts the student's channels to the teacher's: their parameters
    are initialised, trained with the student, and live under the term's name, so that
    they meet no other::

        def adapted(teacher, student):
            student = paddle.nn.Conv2D(32, 64, 1)(student)
            return (teacher - student).square().mean()

        CustomLoss(adapted, {"teacher": "teacher_t2.tmp_1", "student": "s1.tmp_1"})

    Two custom losses are equal if they hold the same function object.

    Attributes:
        function: Called with values of the program, by keyword.
        items: Its parameters and the variables they get, sorted.

    Raises:
        ForeignValueError: The function used a layer or value made outside it (in `apply`).
        NameClashError: It made a parameter whose ``ParamAttr`` name exists (in `apply`).
        ShapeMismatchError: It returned no scalar (in `apply`).
    """

    kind: ClassVar[str] = "custom"

    function: Callable[..., paddle.Tensor]
    items: tuple[tuple[str, str | NewInput], ...] = attrs.field(
        alias="variables", converter=_sorted_pairs
    )

    @property
    def variables(self) -> Mapping[str, str | NewInput]:
        """Parameter of the function -> variable. A gradient goes to each, teachers apart."""
        return dict(self.items)

    def check(self, variables: Mapping[str, Variable]) -> None:  # noqa: ARG002
        """Refuses a function that reaches for a layer with parameters made outside it.

        To call such a layer may abort the process: its program may be gone.
        """
        for name, thing in _reached(self.function):
            if isinstance(thing, paddle.nn.Layer) and _has_parameters(thing):
                raise ForeignValueError(
                    f"Expected the function to make its layers itself, got the layer "
                    f"{name!r} ({type(thing).__name__}) from outside.",
                    "Make it inside the function; it becomes part of the program, initialised "
                    "and trainable, under the term's name.",
                )

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        return self.function(**values)
