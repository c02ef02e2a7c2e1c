"""What the constructors that attrs writes take."""

from __future__ import annotations

import contextlib
import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any, get_type_hints

import attrs

from purdist.checking.kinds import kind_of
from purdist.checking.numbers import Number
from purdist.checking.plain import Kind, within


def made_of(owner: type) -> Iterator[tuple[str, Kind]]:
    """By parameter of the constructor that attrs wrote, which knows no module's names."""
    for field in attrs.fields(owner):
        if not field.init:
            continue
        kind = kind_of(_handed(owner, field))
        if isinstance(field.validator, Number):
            kind = within(kind, field.validator)
        yield field.alias, kind


def resolve_hints(owner: type) -> None:
    """Has `typing.get_type_hints` know the types of a constructor that attrs wrote.

    attrs leaves them as texts in a function that knows no module's names. What a text names that
    is not there, as under ``if TYPE_CHECKING``, stays a text.
    """
    hints = vars(owner)["__init__"].__annotations__
    for field in attrs.fields(owner):
        if isinstance(hints.get(field.alias), str):
            with contextlib.suppress(NameError, AttributeError):
                hints[field.alias] = _handed(owner, field)


def _handed(owner: type, field: attrs.Attribute[Any]) -> Any:
    """The type of what a field is made of: what its converter takes, if it has one."""
    converter = field.converter
    if inspect.isfunction(converter):
        hints = get_type_hints(converter, include_extras=True)
        return next((hint for name, hint in hints.items() if name != "return"), Any)
    return type_of(owner, field)


def type_of(owner: type, field: attrs.Attribute[Any]) -> Any:
    """The type of a field, by itself: what its text names is in the module that declares it.

    Raises:
        NameError: It is not.
        AttributeError: It is not.
    """
    home = declaring(owner, field)
    module = sys.modules.get(home.__module__)
    holder = types.SimpleNamespace(__annotations__={field.name: field.type})
    known = vars(module) if module else {}
    return get_type_hints(holder, known, dict(vars(home)), include_extras=True)[field.name]


def declaring(owner: type, field: attrs.Attribute[Any]) -> type:
    """The class, ``owner`` or a base of it, that declares a field."""
    found = (base for base in owner.__mro__ if field.name in inspect.get_annotations(base))
    return next(found, owner)
