"""The rows of a cache: for each batch a block, and in it for each digest a file of numpy's own."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from purdist import storing
from purdist.storing import checksum
from purdist.teachers.manifest import JOURNAL, Block, Manifest, journal
from purdist.teachers.reading import damaged, descriptor, read_into

_OPEN = 128
"""How many files are open at once."""

_CHUNK = 1 << 20
"""How many bytes are in memory as a file is checked."""

Rows = npt.NDArray[np.int64]


def file_of(folder: Path, block: int, digest: int) -> Path:
    """Where a digest of a block is kept."""
    return folder / f"{block}.{digest}.npy"


def header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """What a file of numpy's own format (1.0) begins with. One array has one header.

    So no header is parsed: it is what the manifest says, or the file is none of the cache.
    """
    text = repr({"descr": dtype.str, "fortran_order": False, "shape": shape})
    size = -(-(len(text) + 11) // 64) * 64 - 10  # numbers begin at a multiple of 64
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", size) + text.ljust(size - 1).encode() + b"\n"


@attrs.frozen
class Kind:
    """What the files of a digest are.

    Attributes:
        dtype: Of its numbers.
        shape: Of a row.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """How many bytes a row takes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def header(self, rows: int) -> bytes:
        """What a file of so many rows begins with."""
        return header(self.dtype, (rows, *self.shape))

    def size(self, rows: int) -> int:
        """How many bytes a file of so many rows has."""
        return len(self.header(rows)) + rows * self.row_bytes


def kinds_of(manifest: Manifest, block: Block) -> tuple[Kind, ...]:
    """What the files of a block are."""
    dtypes = map(np.dtype, manifest.dtypes)
    return tuple(Kind(dtype, shape) for dtype, shape in zip(dtypes, block.shapes, strict=True))


def blocks_of(folder: Path, manifest: Manifest) -> Iterator[Block]:
    """The blocks that a journal tells of, each with its files as long as it says.

    Raises:
        CorruptFileError: One is damaged, or is not what ``manifest`` says.
    """
    first: Block | None = None
    for k, line in enumerate(journal(folder)):
        block = Block.read(line)
        first = first or block
        if block.line != line or not manifest.holds(block) or block.shapes != first.shapes:
            raise damaged(folder / JOURNAL, "blocks of something else")
        for digest, kind in enumerate(kinds_of(manifest, block)):
            check_size(file_of(folder, k, digest), kind.size(block.rows))
        yield block


def finished_blocks(folder: Path, manifest: Manifest) -> Iterator[Block]:
    """The blocks of a finished cache, which are all that ``manifest`` says.

    Raises:
        CorruptFileError: They are not, or one is damaged.
    """
    count, rows, found = 0, 0, ""
    for block in blocks_of(folder, manifest):
        count, rows, found = count + 1, rows + block.rows, checksum(block.line, found)
        yield block
    if (count, rows, found) != (manifest.blocks, manifest.rows, manifest.checksum):
        raise damaged(folder / JOURNAL, "one that was changed after it was written")


def check_size(path: Path, size: int) -> None:
    """Refuses a file of another size.

    Raises:
        CorruptFileError: It is of another, or is not there.
    """
    try:
        found = path.stat().st_size
    except OSError as error:
        raise damaged(path, error.strerror or "none") from error
    if found != size:
        raise damaged(path, f"one of {found} bytes in place of {size}")


class _File:
    """An open file, closed when nobody uses it any more.

    Attributes:
        path: Of it.
        number: The system's.
        begin: Where its numbers begin.
    """

    __slots__ = ("begin", "number", "path")

    def __init__(self, path: Path) -> None:
        self.number = -1
        self.number = descriptor(path)
        self.path = path
        self.begin = 0

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


@attrs.frozen(eq=False)
class _Files:
    """Opens the files of a cache, each checked as it is opened, unless it was checked before."""

    folder: Path
    kinds: tuple[Kind, ...]
    rows: tuple[int, ...]
    checksums: tuple[tuple[str, ...], ...]
    _checked: dict[tuple[int, int], storing.Identity] = attrs.field(factory=dict, init=False)

    def __call__(self, block: int, digest: int) -> _File:
        file = _File(file_of(self.folder, block, digest))
        kind, rows = self.kinds[digest], self.rows[block]
        begin = kind.header(rows)
        identity = storing.identity_of(os.fstat(file.number))
        if self._checked.get((block, digest)) != identity:  # another cache may be there by now
            check_size(file.path, kind.size(rows))
            _check(file, begin, self.checksums[block][digest])
            self._checked[block, digest] = identity
        file.begin = len(begin)
        return file


def _check(file: _File, begin: bytes, expected: str) -> None:
    """Refuses a file of other bytes than were written."""
    size, found = os.fstat(file.number).st_size, ""
    for offset in range(0, size, _CHUNK):
        chunk = np.empty(min(_CHUNK, size - offset), np.uint8)
        read_into(file.number, chunk, offset, file.path)
        if not offset and chunk[: len(begin)].tobytes() != begin:
            raise damaged(file.path, "one of another dtype or shape")
        found = checksum(chunk.data, found)
    if found != expected:
        raise damaged(file.path, "one that was changed after it was written")


@attrs.frozen(eq=False)
class Blocks:
    """A finished cache, to read rows of.

    Attributes:
        names: Of the digests.
        starts: The first row of each block, and behind the last one how many there are.
    """

    names: tuple[str, ...]
    starts: Rows
    _files: _Files
    _opened: Callable[[int, int], _File]

    @classmethod
    def open(cls, folder: Path, manifest: Manifest) -> Blocks:
        """Looks up what is where, and that the files are there.

        Raises:
            CorruptFileError: They are not those of ``manifest``.
        """
        blocks = list(finished_blocks(folder, manifest))
        rows = tuple(block.rows for block in blocks)
        kinds = kinds_of(manifest, blocks[0])
        files = _Files(folder, kinds, rows, tuple(block.checksums for block in blocks))
        starts = np.cumsum((0, *rows), dtype=np.int64)
        return cls(manifest.names, starts, files, lru_cache(_OPEN)(files))

    def read(self, rows: Rows) -> dict[str, npt.NDArray[Any]]:
        """Name -> the digest at these rows, which are there.

        Raises:
            CorruptFileError: A file that they are in is damaged.
        """
        order = np.argsort(rows, kind="stable")  # each file is opened once
        ascending = rows[order]
        runs = list(self._runs(ascending))
        answers = {}
        for digest, (name, kind) in enumerate(zip(self.names, self._files.kinds, strict=True)):
            array = np.empty((len(rows), *kind.shape), kind.dtype)
            for block, row, begin, end in runs:
                self._read(block, digest, row, array[begin:end])
            if not np.array_equal(ascending, rows):
                array[order] = array.copy()
            answers[name] = array
        return answers

    def _runs(self, ascending: Rows) -> Iterator[tuple[int, int, int, int]]:
        """What follows on each other in a block: it, the row in it, and where in the answer."""
        if not len(ascending):
            return
        blocks = np.searchsorted(self.starts, ascending, side="right") - 1
        ends = np.flatnonzero((np.diff(ascending) != 1) | np.diff(blocks).astype(bool)) + 1
        begins = np.concatenate([[0], ends])
        firsts, held = ascending[begins] - self.starts[blocks[begins]], blocks[begins]
        yield from zip(
            held.tolist(),
            firsts.tolist(),
            begins.tolist(),
            [*ends.tolist(), len(ascending)],
            strict=True,
        )

    def _read(self, block: int, digest: int, row: int, into: npt.NDArray[Any]) -> None:
        file = self._opened(block, digest)
        offset = file.begin + row * self._files.kinds[digest].row_bytes
        read_into(file.number, into, offset, file.path)
