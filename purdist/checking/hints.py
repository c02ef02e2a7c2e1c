"""What a type of an argument may say beside what typing knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import attrs


class Names(Protocol):
    """Names of variables: a list, a tuple, a set, the keys of a mapping.

    A text alone is none, to a type checker and when it is handed over: its letters are no names.
    Then any iterable will do, a generator too, and where the order counts no set.
    """

    def __contains__(self, name: object, /) -> bool: ...

    def __iter__(self) -> Iterator[str]: ...

    def __len__(self) -> int: ...


@attrs.frozen
class Mark:
    """What ``Annotated`` says of an argument."""

    says: str


@attrs.frozen
class Called:
    """What a type is called in the texts of errors."""

    words: str


IN_ORDER = Mark("the order counts")
"""Of `Names`: a set will not do."""

LAZY = Mark("read later")
"""Of an iterable: it is not read when it is handed over, and may have no end."""

CHECKED_INSIDE = Mark("the function checks it")
"""Of what the function refuses itself, in words that fit better, as it does feeds."""
