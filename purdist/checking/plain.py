"""What a plain type takes: texts, numbers, paths."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, Self, TypeAlias

import attrs
import numpy as np

from purdist.checking.numbers import Number, plain_int, plain_number
from purdist.checking.showing import near, remedy_for

Read: TypeAlias = Callable[[Any], Any]


class MisfitError(Exception):
    """A value that is not as a type says.

    Attributes:
        expected: What would be, in words.
        got: The value.
        remedy: What to do, '' if only who asked knows.
        write: What to write instead, as code; '' if that is not known.
        at: Where in the argument it is: ``['y']``.
    """

    def __init__(
        self, expected: str, got: object, remedy: str = "", write: str = "", at: str = ""
    ) -> None:
        super().__init__(expected)
        self.expected: str = expected
        self.got: object = got
        self.remedy: str = remedy
        self.write: str = write
        self.at = at


@attrs.frozen(eq=False)
class Kind:
    """What a type takes.

    Attributes:
        words: It in words: ``a text or None``.
        read: Gives a value as it is used, and raises `MisfitError` of one that is not taken.
        number: The range of a number, if it is one.
    """

    words: str
    read: Read
    number: Number | None = None


def _anything(value: object) -> object:
    return value


ANYTHING = Kind("anything", _anything)


def _looked_at(value: object) -> object:
    isinstance(value, int)  # which raises of what lies about its class
    return value


LATER = Kind("something that can be looked at", _looked_at)
"""What a function looks at itself."""


def if_(words: str, takes: Callable[[Any], bool], cls: type | None = None) -> Kind:
    """What ``takes`` says yes to, as it is; an instance of ``cls``, if that is said."""

    def read(value: object) -> object:
        if takes(value):
            return value
        raise MisfitError(words, value, remedy_for(cls, value) if cls else "")

    return Kind(words, read)


_NUMBERS = ("a number", "a whole number")


def within(kind: Kind, number: Number) -> Kind:
    """A number of that kind within a range, and what else ``kind`` takes."""

    def read(value: object) -> object:
        try:
            found = kind.read(value)
        except MisfitError as fault:
            if fault.expected in _NUMBERS:
                fault.expected = str(number)
            raise
        if isinstance(found, int | float) and not isinstance(found, bool) and found not in number:
            raise MisfitError(str(number), value)
        return found

    words = str(number) if kind.words in _NUMBERS else kind.words
    return Kind(words, read, number)


def text(value: object) -> str:
    """``value`` as Python's own text."""
    if type(value) is str:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    raise MisfitError("a text", value)


def _whole(value: object) -> int:
    found = plain_int(value)
    if found is None:
        raise MisfitError("a whole number", value)
    return found


def _number(value: object) -> float:
    found = plain_number(value)
    if found is None:
        raise MisfitError("a number", value)
    return float(found) + 0.0  # which makes 0.0 of -0.0: equal numbers print alike


def _truth(value: object) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise MisfitError("True or False", value)


def _nothing(value: object) -> None:
    if value is not None:
        raise MisfitError("None", value)


def path(value: object) -> str | os.PathLike[str]:
    """``value`` as it is, if a file can be called so."""
    if not isinstance(value, str | os.PathLike):
        raise MisfitError("a path", value)
    written: object = os.fspath(value)
    if not isinstance(written, str):
        raise MisfitError("a path", value, "Write it as a text: os.fsdecode makes one of bytes.")
    if not written or "\0" in written or not _can_name(written):
        raise MisfitError("a path that a file can have", value)
    return text(written) if isinstance(value, str) else value


_LONGEST = 240
"""How long a name in a path may be, so that a suffix still fits."""


def _can_name(text: str) -> bool:
    try:
        names = os.fsencode(text).split(os.fsencode(os.sep))
    except UnicodeEncodeError:
        return False
    return max(map(len, names)) <= _LONGEST and sum(map(len, names)) < 1 << 12


def is_iterable(value: object) -> bool:
    """Whether it can be read one by one, and is no text."""
    if isinstance(value, str | bytes | bytearray | memoryview | np.generic | type):
        return False
    # Python iterates over what has either.
    return isinstance(value, Iterable) or hasattr(type(value), "__getitem__")


PLAIN: Mapping[Any, Kind] = {
    Any: ANYTHING,
    object: ANYTHING,
    Self: ANYTHING,
    NoReturn: ANYTHING,
    str: Kind("a text", text),
    int: Kind("a whole number", _whole),
    float: Kind("a number", _number),
    bool: Kind("True or False", _truth),
    None: Kind("None", _nothing),
    type(None): Kind("None", _nothing),
}


def literal(choices: tuple[object, ...]) -> Kind:
    """One of ``choices``, which is given as it stands there."""
    words = " or ".join(map(repr, choices))

    def read(value: object) -> object:
        for choice in choices:
            try:
                plain = PLAIN.get(type(choice), ANYTHING).read(value)
            except MisfitError:
                continue
            if plain == choice:
                return choice
        raise MisfitError(words, value, near(value, choices))

    return Kind(words, read)
