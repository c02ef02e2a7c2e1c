"""Plain data, as ``json`` and ``tomllib`` read it, made into attrs values, its types checked."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import reduce
from operator import attrgetter, or_
from typing import Any, Literal, TypeAlias, TypeVar, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import (
    BaseValidationError,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override
from cattrs.strategies import configure_tagged_union

from purdist.checking import MisfitError, kind_of, shown
from purdist.errors import InvalidArgumentError, PurdistError, escaped, printable, together

P = TypeVar("P", float, int, str, bool)
T = TypeVar("T")

Read: TypeAlias = Callable[[object], T]
Write: TypeAlias = Callable[[T], dict[str, Any]]

_KIND = "kind"
_kind_of: Callable[[type], str] = attrgetter(_KIND)

_PLAIN: Mapping[type, str] = {
    float: "a number",
    int: "a whole number",
    str: "a text",
    bool: "true or false",
}


class Structurer(cattrs.Converter):
    """Takes nothing for something else, and no field that there is not.

    cattrs itself makes a text of a number, and a list of a text.
    """

    def __init__(self) -> None:
        super().__init__(
            forbid_extra_keys=True,
            omit_if_default=True,
            unstruct_collection_overrides={tuple: list},
        )
        for plain in _PLAIN:
            self.register_structure_hook(plain, _plain)
        self.register_structure_hook_factory(attrs.has, self._table)
        self.register_structure_hook_func(_is_some(Literal), _literal)
        self.register_structure_hook_func(_is_some(tuple), self._collection)
        self.register_structure_hook_func(_is_some(list), self._collection)

    def read(self, data: object, kind: type[T], path: str) -> T:
        """The value that ``data`` describes, itself found at ``path``.

        Raises:
            PurdistError: All that is wrong with it, each fault by its path.
        """
        try:
            return self._read(data, kind, path)
        except RecursionError:
            raise InvalidArgumentError(
                f"{path}: Expected tables inside each other to be few, got too many.",
                "A product of schedules is one table, with all of them as its factors.",
            ) from None

    def _read(self, data: object, kind: type[T], path: str) -> T:
        try:
            return self.structure(data, kind)
        except (BaseValidationError, PurdistError) as error:
            raise together(list(_faults(error, path))) from None

    def by_kind(
        self, kinds: Iterable[type[T]], what: str, otherwise: str = ""
    ) -> tuple[Read[T], Write[T]]:
        """How one of ``kinds``, each known by its ``kind``, is read and written.

        ``otherwise`` says what to do about a kind that is none of these.

        cattrs alone writes the kind behind the fields, and answers an unknown one with the
        `KeyError` of a field that is missing.
        """
        of_kind = {_kind_of(kind): kind for kind in kinds}
        union = reduce(or_, of_kind.values())
        configure_tagged_union(union, self, _kind_of, _KIND)

        def read(data: object) -> T:
            if not isinstance(data, Mapping):
                raise InvalidArgumentError(
                    f"Expected {what}, got {shown(data)}.", "Write a table: {kind = ..., ...}."
                )
            kind = data.get(_KIND)
            if not isinstance(kind, str) or kind not in of_kind:
                raise _unknown_kind(data, of_kind, otherwise)
            value: T = self.structure(dict(data), union)
            return value

        def write(value: T) -> dict[str, Any]:
            fields = self.unstructure(value, union)
            return {_KIND: fields.pop(_KIND), **fields}

        return read, write

    def _table(self, kind: type[T]) -> Callable[[object, object], T]:
        made: Any = kind  # which cattrs knows to be of attrs
        fields = attrs.fields(attrs.resolve_types(made))
        hooks: dict[str, Any] = {
            f.name: override(struct_hook=self._field(f)) for f in fields if f.init
        }
        structured: Callable[[Mapping[str, Any], object], T] = make_dict_structure_fn(
            made, self, _cattrs_forbid_extra_keys=True, **hooks
        )

        def read(data: object, _: object) -> T:
            if not isinstance(data, Mapping):
                raise InvalidArgumentError(f"Expected a table, got {shown(data)}.")
            # cattrs before 25 fails at a name that is no text as it tells of it.
            named = {name if isinstance(name, str) else repr(name): data[name] for name in data}
            return structured(named, kind)

        return read

    def _field(self, field: attrs.Attribute[Any]) -> Callable[[object, Any], object]:
        """How a field is read, and asked at once whether it may be that: with its path, and all.

        The constructor asks again, but stops at the first fault. It alone asks what needs the other
        fields.
        """

        def read(data: object, kind: Any) -> object:
            value: object = self.structure(data, kind)
            converter: object = field.converter
            taken: object = converter(value) if inspect.isfunction(converter) else value
            if field.validator is not None:
                with suppress(AttributeError):  # of the value that is not made yet
                    field.validator(None, field, taken)
            return value

        return read

    def _collection(self, data: object, kind: type[Any]) -> object:
        if not isinstance(data, list | tuple):
            raise InvalidArgumentError(f"Expected a list, got {shown(data)}.")
        kinds = get_args(kind)
        if kinds[-1] is Ellipsis or get_origin(kind) is list:
            kinds = kinds[:1] * len(data)
        if len(data) != len(kinds):
            raise InvalidArgumentError(f"Expected a list of {len(kinds)}, got {shown(data)}.")
        made: list[object] = []
        faults: list[Exception] = []
        for index, (entry, of) in enumerate(zip(data, kinds, strict=True)):
            try:
                made.append(self.structure(entry, of))
            except (BaseValidationError, PurdistError) as error:
                error.add_note(IterableValidationNote(f"entry {index}", index, of))
                faults.append(error)
        if faults:
            raise IterableValidationError("entries of a list", faults, tuple)
        return made if get_origin(kind) is list else tuple(made)


def _unknown_kind(
    data: Mapping[str, Any], of_kind: Mapping[str, type], otherwise: str
) -> InvalidArgumentError:
    """The error for a table whose kind is none of these, or a class, or missing."""
    kinds = ", ".join(of_kind)
    if _KIND not in data:
        return InvalidArgumentError(
            f"Expected a kind, one of {kinds}, got {shown(dict(data))}.",
            f"Add one: kind = {next(iter(of_kind))!r}.",
        )
    kind = data[_KIND]
    classes = [name for name, cls in of_kind.items() if cls.__name__ == kind]
    meant = f"Did you mean {classes[0]}?" if classes else _did_you_mean(kind, of_kind)
    return InvalidArgumentError(
        f"Expected kind to be one of {kinds}, got {shown(kind)}.",
        " ".join(filter(None, [meant, otherwise])),
    )


def _is_some(origin: object) -> Callable[[Any], bool]:
    """Whether a type is ``origin[...]``."""
    return lambda kind: get_origin(kind) is origin


def _plain(data: object, kind: type[P]) -> P:
    """``data`` if it is of that plain type; a whole number is a number too."""
    try:
        return kind(kind_of(kind).read(data))
    except MisfitError:
        raise InvalidArgumentError(
            f"Expected {_PLAIN[kind]}, got {shown(data)}.",
            "Write it without quotes." if _is_quoted(data, kind) else "",
        ) from None


def _is_quoted(data: object, kind: type) -> bool:
    """Whether a number or truth stands in a text, as TOML and JSON write it."""
    if not isinstance(data, str) or kind is str:
        return False
    if kind is bool:
        return data in ("true", "false")
    try:
        return math.isfinite(kind(data))
    except ValueError:
        return False


def _literal(data: object, kind: object) -> object:
    allowed = get_args(kind)
    if data not in allowed:
        raise InvalidArgumentError(
            f"Expected one of {', '.join(map(repr, allowed))}, got {shown(data)}."
        )
    return data


def _faults(error: Exception, path: str) -> Iterator[PurdistError]:
    """Each fault with where it is."""
    if isinstance(error, ClassValidationError | IterableValidationError):
        noted, bare = error.group_exceptions()
        for inner, note in noted:
            at = f"[{note.index}]" if isinstance(note, IterableValidationNote) else f".{note.name}"
            yield from _faults(inner, path + at)
        for inner in bare:
            yield from _faults(inner, path)
    elif isinstance(error, PurdistError):
        for fault in error.faults or (error,):
            yield fault.reworded(f"{path}: {fault.problem}", fault.remedy)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in attrs.fields(error.cl)]
        for name in sorted(map(str, error.extra_fields)):
            yield InvalidArgumentError(
                f"{path}.{printable(name)}: Expected a field of {error.cl.__name__}, one of "
                f"{', '.join(known)}.",
                _did_you_mean(name, known),
            )
    elif isinstance(error, KeyError):
        yield InvalidArgumentError(
            f"{path}: Expected a value, got none.",
            f"Add {path.rpartition('.')[2]}: it has no default.",
        )
    elif isinstance(error, ValueError | TypeError):
        said = escaped(str(error.args[0] if error.args else error))
        yield InvalidArgumentError(f"{path}: Expected what the loss takes, it says {said}.")
    else:
        raise error


def _did_you_mean(name: object, known: Iterable[str]) -> str:
    near = get_close_matches(name if isinstance(name, str) else "", list(known), n=1)
    return f"Did you mean {near[0]}?" if near else ""
