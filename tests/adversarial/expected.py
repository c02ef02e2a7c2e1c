"""What does not come to the same as dygraph: refusals, and faults that are not mended yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

REFUSED: Mapping[tuple[str, str], str] = {}
"""(Cases, ways) -> the error of purdist's that says why."""

KNOWN: Mapping[tuple[str, str], str] = {}
"""(Cases, ways) -> whose fault it is that they fail: an item of issue 29, or Paddle's."""


def of(table: Mapping[tuple[str, str], str], name: str) -> Iterator[tuple[str, str]]:
    """Way -> what ``table`` has of a case."""
    for (cases, ways), what in table.items():
        if any(fnmatchcase(name, pattern) for pattern in cases.split(" | ")):
            for way in ways.split():
                yield way, what
