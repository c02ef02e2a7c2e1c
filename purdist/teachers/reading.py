"""Files of a cache, read by position: they may be cut off, or be something else, at any time."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from purdist.errors import CorruptFileError, MissingFileError, PurdistError, printable
from purdist.storing import open_regular


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """A regular file to read: what is none is not waited for.

    Raises:
        CorruptFileError: It is none, is not there, or the system cannot read it.
    """
    with open(descriptor(path), "rb") as file:
        try:
            yield file
        except PurdistError:
            raise
        except OSError as error:
            raise damaged(path, error.strerror or "none") from error


def descriptor(path: Path) -> int:
    """The same as the system's number of the open file.

    Raises:
        CorruptFileError: It is none, or is not there.
        MissingFileError: It may not be read.
    """
    try:
        number = open_regular(path)
    except PermissionError as error:
        raise unreadable(path, error) from error
    except OSError as error:
        raise damaged(path, error.strerror or "none") from error
    if number is None:
        raise damaged(path, "something that is no regular file")
    return number


def read_into(number: int, array: npt.NDArray[Any], offset: int, path: Path) -> None:
    """Fills ``array``, which is contiguous, with what an open file holds from ``offset`` on.

    Raises:
        CorruptFileError: It ends before, or the system cannot read it.
    """
    left = array.reshape(-1).view(np.uint8).data
    while left:
        try:
            count = os.preadv(number, [left], offset)
        except OSError as error:
            raise damaged(path, error.strerror or "none") from error
        if not count:
            raise damaged(path, "one that is cut off")
        left, offset = left[count:], offset + count


def damaged(path: Path, found: str) -> CorruptFileError:
    """The error for a file of a cache."""
    return CorruptFileError(
        f"Expected a file of a teacher cache in {str(path)!r}, got {printable(found[:300], 300)}.",
        "Delete the cache and make it anew with cache_teacher.",
    )


def unreadable(path: Path, error: OSError) -> MissingFileError:
    """The error for a file of a cache that is another's."""
    return MissingFileError(
        f"Expected a teacher cache that can be read in {str(path.parent)!r}, got, of "
        f"{path.name!r}: {error.strerror}.",
        "Ask whose it is for the right to read it, or choose another path.",
    )
