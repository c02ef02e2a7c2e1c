"""Manifests: small files of ours, in JSON, that say what others hold, and in which format.

What is read is what was written, to the byte: one that was changed is none.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from purdist.errors import PurdistError
from purdist.parsing import parsed
from purdist.structuring import Structurer

T = TypeVar("T")

_STRUCTURER = Structurer()


def written(value: object) -> bytes:
    """What is in the file of ``value``, an attrs class of plain fields."""
    return json.dumps(_STRUCTURER.unstructure(value)).encode()


def version_of(content: bytes) -> int:
    """The version of its format, the first where it says none.

    Raises:
        ValueError: It is no manifest; the text says what was got.
    """
    data = _loaded(content)
    version = data.get("version", 1) if isinstance(data, dict) else None
    if type(version) is not int:
        raise ValueError("none that says the version of its format")
    return version


def read(content: bytes, kind: type[T]) -> T:
    """The value that was written.

    Raises:
        ValueError: It is no such value, or was changed; the text says what was got.
    """
    try:
        found = _STRUCTURER.read(_loaded(content), kind, kind.__name__.lower())
    except PurdistError as error:
        raise ValueError(f"none: {' '.join(str(error).splitlines())}") from None
    if written(found) != content:
        raise ValueError("one that was changed after it was written")
    return found


def _loaded(content: bytes) -> Any:
    try:
        return parsed(content)
    except ValueError as error:
        raise ValueError(f"none: {error}") from None
