"""Files that somebody else may have written, opened and read with care."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from purdist.errors import CorruptFileError, MissingFileError
from purdist.storing import open_regular

LARGEST_GRAPH = 1 << 28
"""Bytes of a graph: a million ops, which Paddle takes hours to prepare."""

LARGEST_RANK = 64
"""How many axes a tensor may be said to have, which messages tell: Paddle's have nine."""


@attrs.frozen(eq=False)
class OpenFile:
    """A regular file that is open to read.

    Attributes:
        path: Where it was found, which may be another file by now.
        size: Its bytes.
    """

    path: Path
    size: int
    _number: int

    @classmethod
    @contextmanager
    def of(cls, path: Path) -> Iterator[OpenFile]:
        """What is at ``path``, until the block ends.

        Raises:
            MissingFileError: It cannot be opened, or is none: a folder, a FIFO, a device.
        """
        try:
            number = open_regular(path)
        except (OSError, ValueError) as error:
            raise MissingFileError(
                f"Expected a file that can be read in {str(path)!r}, got: "
                f"{error.strerror if isinstance(error, OSError) else error}.",
                "Give the path of a model that you may read.",
            ) from error
        if number is None:
            raise MissingFileError(
                f"Expected a regular file in {str(path)!r}, got a folder, a pipe or a device.",
                "Give the path of a model.",
            )
        try:
            yield cls(path, os.fstat(number).st_size, number)
        finally:
            os.close(number)

    def read_at(self, start: int, count: int) -> bytes:
        """``count`` bytes from ``start`` on, fewer where it ends: it may shrink meanwhile.

        Raises:
            CorruptFileError: The system cannot read it.
        """
        parts = []
        while count > 0:
            try:
                os.lseek(self._number, start, os.SEEK_SET)
                part = os.read(self._number, min(count, 1 << 30))
            except OSError as error:
                raise corrupt(
                    self.path, "a file that can be read", error.strerror or "an error"
                ) from error
            if not part:
                break
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read(self, largest: int) -> bytes:
        """All that it holds, unless that is more than ``largest`` bytes.

        Raises:
            CorruptFileError: It is more, or the system cannot read it.
        """
        if self.size > largest:
            raise CorruptFileError(
                f"Expected at most {largest} bytes in {str(self.path)!r}, got {self.size}.",
                "Export the model again: this is none.",
            )
        return self.read_at(0, self.size)


def corrupt(path: Path, expected: str, got: str) -> CorruptFileError:
    """The error for a file of a model that is none, or is not whole."""
    return CorruptFileError(
        f"Expected {expected} in {str(path)!r}, got {got}.",
        "Export the model again: the file is cut off, damaged or of another model.",
    )


def changed(path: Path) -> CorruptFileError:
    """The error for a file of an export that is not the one that was written with the others."""
    return CorruptFileError(
        f"Expected the file that was exported in {str(path)!r}, got one that was changed after it "
        "was written, or is of another export.",
        "Export the model again, or copy all of its files: .json, .pdiparams and .manifest. If one "
        "was changed on purpose, delete the .manifest: nothing is compared then.",
    )
