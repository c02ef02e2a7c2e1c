"""A cache that is being made: a folder beside its target, which one process writes to."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from purdist.errors import CorruptFileError, StaleCacheError
from purdist.storing import check_own, checksum, locked, rename, rewrite, telling, write_new
from purdist.teachers.blocks import blocks_of, file_of, header
from purdist.teachers.manifest import JOURNAL, MANIFEST, Block, Manifest

_OURS = re.compile(rf"\d+\.\d+\.npy|({re.escape(MANIFEST)}|{re.escape(JOURNAL)})(\.new)?")


@attrs.define(eq=False)
class Draft:
    """An unfinished cache.

    Attributes:
        folder: What becomes the cache.
        target: Where it is to be then.
        manifest: What it is of.
        blocks: Those that are in.
    """

    folder: Path
    target: Path
    manifest: Manifest
    blocks: list[Block]

    def add(self, data: str, arrays: list[npt.NDArray[Any]]) -> None:
        """Puts a batch's digests in: their files, and when these are on the disk a line for them.

        Raises:
            WriteError: Something cannot be written.
        """
        sums = []
        for digest, array in enumerate(arrays):
            content = b"".join(
                [header(array.dtype, array.shape), array.reshape(-1).view(np.uint8).data]
            )
            write_new(file_of(self.folder, len(self.blocks), digest), content)
            sums.append(checksum(content))
        shapes = tuple(array.shape[1:] for array in arrays)
        block = Block(len(arrays[0]), data, shapes, tuple(sums))
        with telling(self.folder), (self.folder / JOURNAL).open("ab") as file:
            file.write(block.line)
        self.blocks.append(block)

    def finish(self) -> Manifest:
        """Makes it the cache.

        Raises:
            WriteError: Something cannot be written.
        """
        lines = b"".join(block.line for block in self.blocks)
        rewrite(self.folder / JOURNAL, lines.decode())  # which puts it on the disk
        rows = sum(block.rows for block in self.blocks)
        manifest = attrs.evolve(
            self.manifest, blocks=len(self.blocks), rows=rows, checksum=checksum(lines)
        )
        rewrite(self.folder / MANIFEST, manifest.content.decode())
        rename(self.folder, self.target)
        return manifest


@contextmanager
def drafting(target: Path, manifest: Manifest) -> Iterator[Draft | None]:
    """An unfinished cache for ``target``, gone on with if there is one; None if it is finished.

    Where nothing is in it at the end, it is gone.

    Raises:
        StaleCacheError: One of something else is there.
        InvalidArgumentError: What is there is another user's, or a link.
        WriteError: Another process makes it, or something cannot be written.
    """
    folder = target.with_name(f"{target.name}.part")
    made = [holder for holder in folder.parents if not os.path.lexists(holder)]
    with telling(folder):
        folder.mkdir(parents=True, exist_ok=not folder.is_symlink())
    try:
        check_own(folder)
        found = folder.lstat()
        with locked(folder, patience=0.0):
            if os.path.lexists(target):  # who had the lock has finished it
                yield None
            else:
                _check_still(folder, found)
                yield from _held(folder, target, manifest)
    finally:
        for holder in made:
            with suppress(OSError):  # something is in it
                holder.rmdir()


def _check_still(folder: Path, found: os.stat_result) -> None:
    """Refuses a folder that is another one since it was ``found``: whoever made that has it."""
    with telling(folder):
        if not os.path.samestat(folder.lstat(), found):
            raise BlockingIOError(errno.EAGAIN, "another process makes it")


def _held(folder: Path, target: Path, manifest: Manifest) -> Iterator[Draft]:
    """The unfinished cache in a folder that is locked."""
    draft = None
    try:
        draft = Draft(folder, target, manifest, _kept(folder, manifest))
        yield draft
    finally:
        if not (any(folder.glob("*.npy")) if draft is None else draft.blocks):
            _drop(folder)


def _drop(folder: Path) -> None:
    """Takes away an unfinished cache with nothing in it."""
    with suppress(OSError):  # something else is in it
        for path in list(folder.iterdir()):
            if _OURS.fullmatch(path.name):
                path.unlink()
        folder.rmdir()


def _kept(folder: Path, manifest: Manifest) -> list[Block]:
    """The blocks that a call left which was killed, all else cleared away.

    Raises:
        StaleCacheError: They are of something else.
    """
    _check_clean(folder)
    blocks: list[Block] = []
    try:
        if os.path.lexists(folder / MANIFEST):
            manifest.read(folder)
            blocks.extend(blocks_of(folder, manifest))
    except CorruptFileError:
        pass  # it was cut off: what is whole is gone on with
    except StaleCacheError:
        if any(folder.glob("*.npy")):
            raise
    _clear(folder, blocks)
    if not blocks:
        rewrite(folder / MANIFEST, manifest.content.decode())
    rewrite(folder / JOURNAL, b"".join(block.line for block in blocks).decode())
    return blocks


def _check_clean(folder: Path) -> None:
    """Refuses a folder that holds something of somebody's."""
    with telling(folder):
        other = sorted(p.name for p in folder.iterdir() if not _OURS.fullmatch(p.name))
    if other:
        raise StaleCacheError(
            f"Expected an unfinished cache in {str(folder)!r}, got a folder with {other[0]!r} in "
            "it.",
            "Delete it, or choose another path: cache_teacher makes a cache anew.",
        )


def _clear(folder: Path, blocks: list[Block]) -> None:
    """Takes away what in ``folder`` is of none of ``blocks``."""
    kept = {
        file_of(folder, k, digest).name
        for k, block in enumerate(blocks)
        for digest in range(len(block.checksums))
    }
    if blocks:
        kept |= {MANIFEST, JOURNAL}
    with telling(folder):
        for path in list(folder.iterdir()):
            if path.name not in kept:
                path.unlink()
