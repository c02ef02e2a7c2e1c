"""JSON that a stranger may have written."""

from __future__ import annotations

import json
from typing import Any, NoReturn

_DIGITS = 20
"""Of the longest number that is read: one of 64 bits, and its sign."""


def parsed(content: bytes) -> Any:
    """What it says, if that is JSON in UTF-8 in which nothing stands twice.

    Raises:
        ValueError: It is not; the text says what was got.
    """
    try:
        return json.loads(
            content.decode(),
            object_pairs_hook=_mapping,
            parse_int=_whole,
            parse_constant=_constant,
        )
    except RecursionError:
        raise ValueError("JSON that is nested too deep") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"no JSON: {error}") from None


def _mapping(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):  # which of the two would another reader take?
        raise ValueError("JSON with a key that is there twice")
    return found


def _whole(text: str) -> int:
    if len(text) > _DIGITS:  # whose products and prints take time that nobody has
        raise ValueError(f"JSON with a number of {len(text)} digits")
    return int(text)


def _constant(name: str) -> NoReturn:
    raise ValueError(f"no JSON: it has {name}")
