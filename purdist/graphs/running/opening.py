"""Files that somebody else may have written, opened and read with care."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from purdist.errors import CorruptFileError, MissingFileError
from purdist.storing import open_regular

LARGEST_GRAPH = 1 << 28
"""Bytes of a graph: a million ops, which Paddle takes hours to prepare."""


@contextmanager
def opened(path: Path) -> Iterator[tuple[int, int]]:
    """A regular file to read from, as a descriptor, and its size.

    Raises:
        MissingFileError: It cannot be opened, or is none: a folder, a FIFO, a device.
    """
    try:
        file = open_regular(path)
    except (OSError, ValueError) as error:
        raise MissingFileError(
            f"Expected a file that can be read in {str(path)!r}, got: {error}.",
            "Give the path of a model that you may read.",
        ) from error
    if file is None:
        raise MissingFileError(
            f"Expected a regular file in {str(path)!r}, got a folder, a pipe or a device.",
            "Give the path of a model.",
        )
    try:
        yield file, os.fstat(file).st_size
    finally:
        os.close(file)


def read_file(path: Path, largest: int) -> bytes:
    """All that a file holds, unless that is more than ``largest`` bytes.

    Raises:
        MissingFileError: It cannot be read.
        CorruptFileError: It is larger.
    """
    with opened(path) as (file, size):
        if size > largest:
            raise CorruptFileError(
                f"Expected at most {largest} bytes in {str(path)!r}, got {size}.",
                "Export the model again: this is none.",
            )
        return read_at(file, 0, size)


def read_at(file: int, start: int, count: int) -> bytes:
    """``count`` bytes from ``start`` on, fewer where the file ends. A file may shrink meanwhile."""
    parts = []
    while count > 0:
        os.lseek(file, start, os.SEEK_SET)
        part = os.read(file, min(count, 1 << 30))
        if not part:
            break
        parts.append(part)
        start, count = start + len(part), count - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def corrupt(path: Path, expected: str, got: str) -> CorruptFileError:
    """The error for a file of a model that is none, or is not whole."""
    return CorruptFileError(
        f"Expected {expected} in {str(path)!r}, got {got}.",
        "Export the model again: the file is cut off, damaged or of another model.",
    )
