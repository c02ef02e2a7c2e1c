"""What a loss reads, declared by the types of its fields.

`TeacherVariable`, `StudentVariable`, `Label` and `Mask` are the types of fields that hold the
name of a variable, or a `NewInput` that adds a feed. They count inside tuples too, and beside
None: ``tuple[tuple[TeacherVariable, StudentVariable], ...]``, ``Mask | None``.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

import attrs

from purdist.checking import Called, shown
from purdist.checking.fields import declaring, type_of
from purdist.errors import InvalidArgumentError
from purdist.variables import NewInput, name_of

Part: TypeAlias = Literal["teacher", "student", "label", "mask"]
"""What a variable is to a loss."""


@attrs.frozen
class _Reads:
    """Marks the type of a field that holds a variable."""

    part: Part


_NAMED = Called("the name of a variable or a NewInput")

TeacherVariable: TypeAlias = Annotated[str | NewInput, _NAMED, _Reads("teacher")]
"""What is taught: no gradient goes there, whoever's variable it is."""

StudentVariable: TypeAlias = Annotated[str | NewInput, _NAMED, _Reads("student")]
"""What learns: a teacher's variable is refused here, unless it depends on what learns."""

Label: TypeAlias = Annotated[str | NewInput, _NAMED, _Reads("label")]
"""Which class is right: integers, one for each row."""

Mask: TypeAlias = Annotated[str | NewInput, _NAMED, _Reads("mask")]
"""Which rows count."""

_NAMES = {
    str(TeacherVariable): "TeacherVariable",
    str(StudentVariable): "StudentVariable",
    str(Label): "Label",
    str(Mask): "Mask",
    "purdist.variables.NewInput": "NewInput",
    "purdist.losses.schedule.Schedule": "Schedule",
    "typing.": "",
}
"""How types write themselves -> how a user writes them."""

_FOUR = "TeacherVariable, StudentVariable, Label or Mask"


def field_types(loss: type) -> dict[str, Any]:
    """The type of each field of an attrs class, each resolved by itself.

    Raises:
        InvalidArgumentError: The text of one names what its module does not have.
    """
    return {field.name: _resolved(loss, field) for field in attrs.fields(loss)}


def _resolved(loss: type, field: attrs.Attribute[Any]) -> object:
    try:
        return type_of(loss, field)
    except (NameError, AttributeError) as error:
        home = declaring(loss, field).__module__
        raise InvalidArgumentError(
            f"Expected the type of {loss.__name__}.{field.name}, {field.type!r}, to name what its "
            f"module has when the class is made, got {error}.",
            f"Import or define {error.name} at the top of {home}, outside of functions "
            "and of `if TYPE_CHECKING`.",
        ) from None


def check_types(loss: type, declared: Mapping[str, Any], inherited: Mapping[str, Any]) -> None:
    """Refuses a field that holds a variable and does not say what it is to the loss.

    Raises:
        InvalidArgumentError: There is one, or no field holds a variable.
    """
    for name, kind in declared.items():
        if _is_read(inherited.get(name)) and not _is_read(kind):
            raise InvalidArgumentError(
                f"Expected {loss.__name__}.{name} to stay of type {_written(inherited[name])}, got "
                f"{_written(kind)}.",
                f"Leave {name} out of the class: it has it from its base.",
            )
        if not _is_declared(kind):
            raise InvalidArgumentError(
                f"Expected {loss.__name__}.{name} to say what the loss reads there, got the type "
                f"{_written(kind)}.",
                f"Declare it as {_FOUR}, as one of them beside None, or as a tuple of them.",
            )
    if not any(_is_read(kind) for kind in declared.values()):
        there = ", ".join(f"{name}: {_written(kind)}" for name, kind in declared.items())
        raise InvalidArgumentError(
            f"Expected {loss.__name__} to have a field that says what the loss reads, got {there}.",
            f"Declare the names of variables as {_FOUR}, of purdist.",
        )


def _is_declared(kind: object) -> bool:
    """Whether what ``kind`` holds of variables can be found."""
    if part_of(kind) is not None:
        return True
    if get_origin(kind) is tuple or beside_none(kind) is not None:
        return all(_is_declared(inner) for inner in get_args(kind))
    return not _mentions_input(kind)


def _mentions_input(kind: object) -> bool:
    return kind is NewInput or any(_mentions_input(inner) for inner in get_args(kind))


def _is_read(kind: object) -> bool:
    return part_of(kind) is not None or any(_is_read(inner) for inner in get_args(kind))


def part_of(kind: object) -> Part | None:
    """What a variable of that very type is to the loss."""
    if get_origin(kind) is not Annotated:
        return None
    return next((mark.part for mark in get_args(kind)[1:] if isinstance(mark, _Reads)), None)


def beside_none(kind: object) -> object:
    """The one type that stands beside None in ``kind``, if it is such."""
    if get_origin(kind) not in (Union, types.UnionType):
        return None
    others = [inner for inner in get_args(kind) if inner is not type(None)]
    return others[0] if len(others) == 1 else None


def is_variable(kind: object) -> bool:
    """Whether ``kind`` is one of the four types, or one beside None."""
    return part_of(kind) is not None or part_of(beside_none(kind)) is not None


def _written(kind: object) -> str:
    if isinstance(kind, type) and not get_args(kind):
        return kind.__name__
    text = str(kind)
    for theirs, ours in _NAMES.items():
        text = text.replace(theirs, ours)
    return text


def read_by(
    loss: object, declared: Mapping[str, Any]
) -> Iterator[tuple[str, Part, str | NewInput]]:
    """The variables that a loss holds: the key of each, what it is to the loss, and its name.

    The key is the field's name, with the place in a tuple behind it: ``pairs[0][1]``.

    Raises:
        InvalidArgumentError: Something else is held where a variable should be.
    """
    for name, kind in declared.items():
        yield from _read(kind, getattr(loss, name), name)


def _read(kind: object, value: object, key: str) -> Iterator[tuple[str, Part, str | NewInput]]:
    part = part_of(kind)
    if part is not None:
        if not isinstance(value, str | NewInput):
            raise InvalidArgumentError(
                f"Expected {key} to be the name of a variable or a NewInput, got {value!r}.",
                "Write the name as a text; program.describe() lists those that there are.",
            )
        yield key, part, value
    elif (beside := beside_none(kind)) is not None:
        if value is not None:
            yield from _read(beside, value, key)
    elif get_origin(kind) is tuple and isinstance(value, tuple):
        for place, (inner, held) in enumerate(_entries(kind, value)):
            yield from _read(inner, held, f"{key}[{place}]")


def _entries(kind: object, value: tuple[object, ...]) -> Iterator[tuple[object, object]]:
    """What a tuple holds, each with its type."""
    kinds = get_args(kind)
    if kinds[-1:] == (Ellipsis,):
        kinds = kinds[:1] * len(value)
    return zip(kinds, value, strict=True)


def mapped(
    loss: object, declared: Mapping[str, Any], rename: Callable[[str], str | NewInput]
) -> dict[str, Any]:
    """What makes a loss anew whose variables are those that ``rename`` gives, by argument.

    Raises:
        InvalidArgumentError: It gives something else.
    """
    return {
        field.alias or field.name: _mapped(declared[field.name], getattr(loss, field.name), rename)
        for field in attrs.fields(type(loss))  # type: ignore[arg-type]  # an attrs class
        if field.init and _is_read(declared[field.name])
    }


def _mapped(kind: object, value: object, rename: Callable[[str], str | NewInput]) -> object:
    if part_of(kind) is not None and isinstance(value, str | NewInput):
        return renamed_variable(value, rename)
    if (beside := beside_none(kind)) is not None:
        return None if value is None else _mapped(beside, value, rename)
    if get_origin(kind) is tuple and isinstance(value, tuple):
        return tuple(_mapped(*pair, rename) for pair in _entries(kind, value))
    return value


def renamed_variable(
    variable: str | NewInput, rename: Callable[[str], str | NewInput]
) -> str | NewInput:
    """What stands for ``variable``: a new input that gets another name keeps shape and dtype.

    Raises:
        InvalidArgumentError: ``rename`` gives neither a name nor a new input, or raised.
    """
    name = name_of(variable)
    try:
        found: object = rename(name)
    except Exception as error:
        raise InvalidArgumentError(
            f"Expected function to give a name or a NewInput for {name!r}, got {error!r}.",
            "It is called with the name of each variable, and of each new input.",
        ) from error
    if isinstance(found, NewInput):
        return found
    if not isinstance(found, str):
        raise InvalidArgumentError(
            f"Expected function to give a name or a NewInput for {name!r}, got {shown(found)}.",
            "Give back the name itself where nothing changes.",
        )
    return found if isinstance(variable, str) else attrs.evolve(variable, name=found)
