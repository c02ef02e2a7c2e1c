"""A loss for once: `CustomLoss`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, ClassVar, Self, TypeAlias

import attrs
import paddle

from purdist import graphs
from purdist.checking import CHECKED_INSIDE
from purdist.errors import ForeignValueError, InvalidArgumentError, listed
from purdist.losses.fields import renamed_variable
from purdist.losses.printing import call_of
from purdist.losses.spec import LossSpec
from purdist.variables import NewInput, Variable, check_name

_Items: TypeAlias = tuple[tuple[str, str | NewInput], ...]


def _sorted_pairs(
    variables: Annotated[Mapping[str, str | NewInput] | _Items, CHECKED_INSIDE],
) -> _Items:
    pairs = tuple(variables.items()) if isinstance(variables, Mapping) else variables
    if not _are_pairs(pairs):
        raise InvalidArgumentError(
            f"Expected variables= to be a mapping, got {type(variables).__name__}.",
            "Write CustomLoss(function, {'a parameter': 'the variable it gets', ...}).",
        )
    for key, name in pairs:
        check_name(key, "a parameter of the function")
        if not isinstance(name, str | NewInput):
            raise InvalidArgumentError(
                f"Expected variables[{key!r}] to be the name of a variable or a NewInput, got "
                f"{type(name).__name__}.",
                "What is the same in every step is no variable: give it to the function, "
                f"functools.partial(function, {key}=...), and leave it out here.",
            )
    made = {str.__str__(k): n if isinstance(n, NewInput) else str.__str__(n) for k, n in pairs}
    return tuple(sorted(made.items()))


def _are_pairs(pairs: object) -> bool:
    """Whether they are what this made, as a loss that is made again holds them."""
    return isinstance(pairs, tuple) and all(isinstance(p, tuple) and len(p) == 2 for p in pairs)


def _reached(function: Callable[..., paddle.Tensor]) -> Iterator[tuple[str, object]]:
    """What a function brings from outside: itself, and what it holds, containers opened."""
    yield getattr(function, "__name__", type(function).__name__), function
    for name, thing in _held(function).items():
        yield name, thing
        if isinstance(thing, Mapping):
            yield from ((f"{name}[{key!r}]", inner) for key, inner in thing.items())
        elif isinstance(thing, list | tuple):
            yield from ((f"{name}[{k}]", inner) for k, inner in enumerate(thing))


def _held(function: Callable[..., paddle.Tensor]) -> dict[str, object]:
    """Bound arguments, defaults, attributes and the names a function closes over."""
    if isinstance(function, functools.partial):
        bound = {f"args[{k}]": thing for k, thing in enumerate(function.args)}
        return {**_held(function.func), **bound, **function.keywords}
    if inspect.ismethod(function):
        itself = function.__self__
        return {**_held(function.__func__), "self": itself, **getattr(itself, "__dict__", {})}
    if inspect.isfunction(function):
        outside = inspect.getclosurevars(function)
        defaults = {k: p.default for k, p in inspect.signature(function).parameters.items()}
        return {**outside.globals, **outside.nonlocals, **defaults}
    return dict(getattr(function, "__dict__", {}))


def _has_parameters(layer: paddle.nn.Layer) -> bool:
    # Their names alone: to touch a parameter of a program that is gone is an abort.
    return any(graphs.parameters_in(part) for part in layer.sublayers(include_self=True))


@attrs.frozen
class CustomLoss(LossSpec):
    """A term computed by a function of yours.

    The function is called while the graph is built, with a value for each variable by
    parameter name, and returns one scalar. It is called twice, and must do the same both times:
    what it would remember from step to step, no graph does. Where a size is unknown it is called
    twice more, at known sizes, and what it says to random numbers is compared, which takes a second
    for a hundred and fifty ops. It may make layers, such as the
    linear layer that adapts the student's features to the teacher's: their parameters
    are initialised, trained with the student, and live under the term's name, so that
    they meet no other::

        def adapted(teacher, student):
            student = paddle.nn.Linear(5, 5)(student)
            return (teacher - student).square().mean()

        loss = CustomLoss(adapted, {"teacher": "teacher_hidden", "student": "hidden"})
        distillation = apply(merged, [loss])

    A type checker knows nothing of a lambda's parameters here, and a strict pyright says so: a
    ``def`` has their types.

    Two custom losses are equal if they hold the same function object.

    Attributes:
        function: Called with values of the program, by keyword.
        items: Its parameters and the variables they get, sorted.

    What the function meets is as in dynamic mode: ``x.shape[0]`` is the number of rows, a value
    of the graph where it is unknown; arrays and tensors made outside are constants. Where an if,
    a loop or an assertion asks for numbers, the function is converted, as
    ``paddle.jit.to_static`` does, and its ifs and loops are ops; but a lambda, a decorated
    function, a comprehension or ``float(x)`` that asks for numbers is refused.

    Raises:
        BuildError: The function raised, or asked for numbers; what it raised is the cause. Or it
            computes something else where a size is unknown (in `apply`).
        InvalidArgumentError: It has other parameters, reads what it has written over
            through a view, adds gradients or an optimizer, or remembers something from call to
            call, such as a count or a running mean (in `apply`).
        ForeignValueError: The function used a layer or value made outside it (in `apply`).
        NameClashError: It made a parameter whose ``ParamAttr`` name exists (in `apply`).
        ShapeMismatchError: It returned no scalar (in `apply`).
    """

    kind: ClassVar[str] = "custom"

    function: Callable[..., paddle.Tensor]
    items: _Items = attrs.field(alias="variables", converter=_sorted_pairs)

    @property
    def variables(self) -> Mapping[str, str | NewInput]:
        """Parameter of the function -> variable. A gradient goes to each that can learn."""
        return dict(self.items)

    def map_variables(self, function: Callable[[str], str | NewInput]) -> Self:
        items = {key: renamed_variable(name, function) for key, name in self.items}
        return attrs.evolve(self, variables=items)

    def check(self, variables: Mapping[str, Variable]) -> None:  # noqa: ARG002
        """Refuses other parameters, and values or layers with parameters from outside.

        To compute with one may abort the process: its program may be gone.

        Raises:
            PurdistError: As `CustomLoss` says.
        """
        self._check_parameters()
        for name, thing in _reached(self.function):
            if isinstance(thing, paddle.nn.Layer) and _has_parameters(thing):
                raise ForeignValueError(
                    f"Expected the function to make its layers itself, got the layer "
                    f"{name!r} ({type(thing).__name__}) from outside.",
                    "Make it inside the function; it becomes part of the program, initialised "
                    "and trainable, under the term's name.",
                )
            if graphs.is_value(thing):
                raise ForeignValueError(
                    f"Expected the function to compute with its arguments, got the value "
                    f"{name!r} from outside.",
                    "Make it an argument: a parameter of the function, and in variables= the "
                    "name of the variable it gets.",
                )

    def _check_parameters(self) -> None:
        try:
            signature = inspect.signature(self.function)
        except ValueError:
            return  # one written in C
        try:
            signature.bind(**self.variables)
        except TypeError as error:
            raise InvalidArgumentError(
                f"Expected variables= to name the parameters of the function, {signature}, got "
                f"{listed(map(repr, self.variables))}: {error}.",
                "Write CustomLoss(function, {'a parameter': 'the variable it gets', ...}).",
            ) from None

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        return self.function(**values)

    def __repr__(self) -> str:
        return call_of(self, items=dict(self.items))
