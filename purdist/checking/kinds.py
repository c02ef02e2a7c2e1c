"""What a type takes: `kind_of` makes of a type a `Kind`, which reads a value or refuses it."""

from __future__ import annotations

import os
import types
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Annotated, Any, Literal, NewType, TypeVar, Union, get_args, get_origin

import attrs
import numpy as np

from purdist.checking.hints import CHECKED_INSIDE, IN_ORDER, LAZY, Called, Names
from purdist.checking.numbers import Number
from purdist.checking.plain import (
    ANYTHING,
    LATER,
    PLAIN,
    Kind,
    MisfitError,
    Read,
    if_,
    is_iterable,
    literal,
    path,
    text,
    within,
)
from purdist.checking.showing import article, as_code, is_general, known_as, shown

_KNOWN: dict[type, Kind] = {}
"""Classes that are called otherwise, or stand for others too."""


def known(cls: type, words: str, *others: type) -> None:
    """Says what ``cls`` is called, and of which other classes what is taken for it may be."""
    _KNOWN[cls] = if_(words, lambda value: isinstance(value, (cls, *others)), cls)


def kind_of(hint: Any) -> Kind:
    """What the type ``hint`` takes."""
    hint = _behind_alias(hint)
    origin = get_origin(hint)
    if origin is Annotated:
        return _annotated(*get_args(hint))
    if origin in (Union, types.UnionType):
        return _union(get_args(hint))
    if origin is Literal:
        return literal(get_args(hint))
    if hint is Names:
        return _names(ordered=False)
    if isinstance(hint, NewType):
        return kind_of(hint.__supertype__)
    if isinstance(hint, TypeVar):
        return ANYTHING if hint.__bound__ is None else kind_of(hint.__bound__)
    if not isinstance(hint, Hashable):
        return ANYTHING  # no type, whatever it says
    if hint in PLAIN:
        return PLAIN[hint]
    make = _GENERIC.get(origin or hint)
    if make is not None:
        return make(*get_args(hint))
    return _class(origin or hint)


def _behind_alias(hint: Any) -> Any:
    """What ``hint`` stands for where it is an alias: numpy's NDArray is, from Python 3.12 on."""
    while hasattr(get_origin(hint) or hint, "__value__"):
        alias, given = get_origin(hint) or hint, get_args(hint)
        hint = alias.__value__[given] if given else alias.__value__
    return hint


def _class(cls: Any) -> Kind:
    found = _KNOWN.get(cls)
    if found is not None:
        return found
    try:
        isinstance(None, cls)
    except TypeError:  # what a TypedDict or a Protocol takes, none but a type checker knows
        return _callable() if "__call__" in getattr(cls, "__dict__", {}) else ANYTHING
    return if_(article(known_as(cls)), lambda value: isinstance(value, cls), cls)


def _annotated(hint: Any, *marks: object) -> Kind:
    if CHECKED_INSIDE in marks:
        return LATER
    if LAZY in marks:
        return if_("an iterable", is_iterable)
    if hint is Names:
        return _names(ordered=IN_ORDER in marks)
    kind = kind_of(hint)
    for mark in marks:
        if isinstance(mark, Number):
            kind = within(kind, mark)
        elif isinstance(mark, Called):
            kind = _called(mark.words, kind)
    return kind


def _called(words: str, kind: Kind) -> Kind:
    def read(value: object) -> object:
        try:
            return kind.read(value)
        except MisfitError as fault:
            if not fault.at:
                fault.expected = words
            raise

    return attrs.evolve(kind, words=words, read=read)


def _union(hints: tuple[Any, ...]) -> Kind:
    if any((get_origin(hint) or hint) is os.PathLike for hint in hints):
        others = [h for h in hints if h is not str and (get_origin(h) or h) is not os.PathLike]
        kinds = [Kind("a path", path), *map(kind_of, others)]
    else:
        kinds = [kind_of(hint) for hint in hints]
    if any(kind is ANYTHING for kind in kinds):
        return ANYTHING
    if len(kinds) == 1:
        return kinds[0]
    # None is what a default says, and nobody writes it.
    words = " or ".join(dict.fromkeys(kind.words for kind in kinds if kind.words != "None"))
    reads = [kind.read for kind in kinds]

    def read(value: object) -> object:
        faults = []
        for one in reads:
            try:
                return one(value)
            except MisfitError as fault:
                faults.append(fault)
        inside = [fault for fault in faults if fault.at]
        if inside:
            raise inside[0]
        remedies = [fault.remedy for fault in reversed(faults) if fault.remedy]
        remedy = next(iter(sorted(remedies, key=is_general)), "")
        write = next((fault.write for fault in faults if fault.write), "")
        raise MisfitError(words, value, remedy, write)

    return Kind(words, read, next((kind.number for kind in kinds if kind.number), None))


# --- what holds others --------------------------------------------------------------------------


def _names(*, ordered: bool) -> Kind:
    words = "a list of names"

    def read(value: Iterable[object]) -> tuple[str, ...]:
        if isinstance(value, str):
            raise MisfitError(words, value, write=f"[{shown(value)}]")
        if not is_iterable(value):
            raise MisfitError(words, value)
        if ordered and isinstance(value, set | frozenset):
            raise MisfitError(f"{words} in order", value, write=f"[{', '.join(map(shown, value))}]")
        return tuple(_each(value, repeat(_name)))

    return Kind(words, read)


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise MisfitError("a name, which is a text", value)
    return text(value)


_MOST = 1 << 16
"""How many a list may hold: an iterator may have no end."""


def _each(values: Iterable[object], reads: Iterable[Read]) -> Iterator[Any]:
    for (k, value), read in zip(enumerate(values), reads, strict=False):
        if k == _MOST:
            raise MisfitError("a list that ends", values)
        try:
            yield read(value)
        except MisfitError as fault:
            fault.at = f"[{k}]{fault.at}"
            raise


def _several(
    takes: Callable[[object], bool],
    made: Callable[[Iterable[object]], Sequence[object]] = tuple,
) -> Callable[..., Kind]:
    def make(inner: Any = Any, *_: Any) -> Kind:
        kind = kind_of(inner)
        words = "a list" if kind in (ANYTHING, LATER) else f"a list, each of it {kind.words}"

        def read(value: Iterable[object]) -> Sequence[object]:
            if not is_iterable(value) or not takes(value):
                raise MisfitError(words, value, write=_as_one(value, kind))
            return made(_each(value, repeat(kind.read)))

        return Kind(words, read)

    return make


def _as_one(value: object, kind: Kind) -> str:
    """What to write where one thing stands for a list of them."""
    try:
        kind.read(value)
    except MisfitError:
        return ""
    written = as_code(value)
    return f"[{written}]" if written and kind not in (ANYTHING, LATER) else ""


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _tuple(*hints: Any) -> Kind:
    if not hints or hints[1:] == (Ellipsis,):
        return _several(_is_sequence)(*hints[:1])
    kinds = [kind_of(hint) for hint in hints]
    words = f"a tuple of {', '.join(kind.words for kind in kinds)}"

    def read(value: Sequence[object]) -> tuple[object, ...]:
        if not isinstance(value, list | tuple) or len(value) != len(kinds):
            raise MisfitError(words, value)
        return tuple(_each(value, [kind.read for kind in kinds]))

    return Kind(words, read)


def _mapping(key: Any = Any, held: Any = Any) -> Kind:
    keys, values = kind_of(key), kind_of(held)
    of = "names" if keys is PLAIN[str] else keys.words
    to = "" if values in (ANYTHING, LATER) else f" to {values.words}"
    words = "a mapping" if keys is ANYTHING else f"a mapping from {of}{to}"

    def read(value: Mapping[object, object]) -> dict[object, object]:
        if not isinstance(value, Mapping):
            raise MisfitError(words, value)
        taken = {}
        for k, v in value.items():
            try:
                name = keys.read(k)
            except MisfitError as fault:
                fault.at = f", a key of it,{fault.at}"
                raise
            try:
                taken[name] = values.read(v)
            except MisfitError as fault:
                fault.at = f"[{shown(k)}]{fault.at}"
                raise
        return taken

    return Kind(words, read)


def _class_of(cls: Any = object) -> Kind:
    words = f"a class of {cls.__name__}s"
    return if_(words, lambda value: isinstance(value, type) and issubclass(value, cls))


def _array(_: Any = Any, dtype: Any = Any) -> Kind:
    kind = get_args(dtype)[0] if get_args(dtype) else Any
    cls = np.generic if kind is Any else kind
    words = "an array of whole numbers" if cls is np.integer else "an array of numbers"
    return if_(
        words,
        lambda value: (
            isinstance(value, np.ndarray)
            and issubclass(value.dtype.type, cls)
            and value.dtype.kind in "biufcV"
        ),
    )


def _callable(*_: Any) -> Kind:
    return if_("a function", callable, types.FunctionType)


_GENERIC: Mapping[Any, Callable[..., Kind]] = {
    tuple: _tuple,
    list: _several(lambda value: isinstance(value, list | tuple), made=list),
    Sequence: _several(_is_sequence),
    Iterable: _several(lambda _: True),
    Collection: _several(lambda value: isinstance(value, Collection)),
    Mapping: _mapping,
    dict: _mapping,
    type: _class_of,
    np.ndarray: _array,
    Callable: _callable,
}
"""By the origin of a type."""
