"""What a cache is of and what it holds: a manifest, and a line for each block in a journal."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import attrs
import numpy as np

from purdist import graphs, manifests, scopes
from purdist.errors import StaleCacheError, printable
from purdist.program import Program
from purdist.teachers.reading import damaged, opened, unreadable

VERSION = 2
MANIFEST = "manifest.json"
JOURNAL = "blocks.jsonl"
_LIMIT = 1 << 16
"""How many bytes of a manifest of few names, or of a line of a journal, are read."""

_SHOWN = 300
"""How many characters of what a manifest says are told."""


@attrs.frozen
class Block:
    """What a batch left in a cache.

    Attributes:
        rows: How many the batch has.
        data: The fingerprint of all batches up to this one, each hashed over the last.
        shapes: Of one row of each digest.
        checksums: Of the file of each digest.
    """

    rows: int
    data: str
    shapes: tuple[tuple[int, ...], ...]
    checksums: tuple[str, ...]

    @classmethod
    def read(cls, line: bytes) -> Block:
        """What a whole line of a journal says, by its types alone.

        Raises:
            CorruptFileError: It is none.
        """
        if not line.endswith(b"\n"):
            raise damaged(Path(JOURNAL), "a line without an end")
        try:
            return manifests.read(line[:-1], cls)
        except ValueError as error:
            raise damaged(Path(JOURNAL), str(error)) from None

    @property
    def line(self) -> bytes:
        """What a journal says of it."""
        return manifests.written(self) + b"\n"


@attrs.frozen
class Manifest:
    """What a cache is of, and, once it is finished, how much it holds.

    Attributes:
        version: Of the format.
        teacher: The fingerprint of the teacher's graph and weights.
        names: The digests.
        dtypes: Of each digest, as numpy writes it.
        shapes: Of one row of each digest, as far as the program knows them (-1 where not).
        blocks: How many there are.
        rows: How many there are in all blocks.
        checksum: Of the journal.
    """

    version: int
    teacher: str
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    blocks: int = 0
    rows: int = 0
    checksum: str = ""

    @classmethod
    def of(cls, teacher: Program, outputs: tuple[str, ...]) -> Manifest:
        """That of an empty cache."""
        variables = [teacher.variables[name] for name in outputs]
        return cls(
            VERSION,
            _fingerprint(teacher),
            outputs,
            tuple(graphs.array_dtype(v.dtype).name for v in variables),
            tuple(tuple(v.shape[1:]) for v in variables),
        )

    @property
    def content(self) -> bytes:
        """What is in its file."""
        return manifests.written(self)

    def read(self, folder: Path) -> Manifest:
        """The manifest in ``folder``, if that is a cache of what this is of.

        Raises:
            StaleCacheError: It is of something else, or in another format.
            CorruptFileError: It is damaged.
        """
        path = folder / MANIFEST
        if not _is_there(path):
            raise _no_cache(folder)
        with opened(path) as file:
            content = file.read(max(_LIMIT, 4 * len(self.content)))
        try:
            version = manifests.version_of(content)
            found = manifests.read(content, Manifest) if version == VERSION else None
        except ValueError as error:
            raise damaged(path, str(error)) from None
        if found is None:
            raise _other_version(folder, version)
        self._check_same(found, folder)
        return found

    def holds(self, block: Block) -> bool:
        """Whether ``block`` has what the program says of each digest."""
        return (
            block.rows > 0
            and len(block.checksums) == len(block.shapes) == len(self.shapes)
            and all(map(fits, block.shapes, self.shapes))
        )

    def _check_same(self, there: Manifest, folder: Path) -> None:
        for what, field in (
            ("the variables", "names"),
            ("the teacher's graph and weights", "teacher"),
            ("the variables' dtypes", "dtypes"),
            ("the variables' shapes", "shapes"),
        ):
            found, expected = getattr(there, field), getattr(self, field)
            if found != expected:
                raise StaleCacheError(
                    f"Expected the cache in {str(folder)!r} to be of this teacher, got one in "
                    f"which {what} are others: {printable(str(found), _SHOWN)} there, "
                    f"{printable(str(expected), _SHOWN)} here.",
                    "Delete it, or choose another path.",
                )


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unreadable(path, error) from error
    return True


def _no_cache(folder: Path) -> StaleCacheError:
    if not os.path.lexists(folder):
        got, remedy = "nothing there", "Was it moved? Call cache_teacher with its new path."
    elif folder.is_dir():
        got, remedy = "a folder without a manifest", "Choose another path, or delete it."
    else:
        got, remedy = "what is no folder", "Choose another path."
    return StaleCacheError(f"Expected a teacher cache in {str(folder)!r}, got {got}.", remedy)


def fits(shape: tuple[int, ...], known: tuple[int, ...]) -> bool:
    """Whether a row of that shape is what is ``known`` of it."""
    return len(shape) == len(known) and all(
        size == wanted or (wanted == -1 and size >= 0)
        for size, wanted in zip(shape, known, strict=True)
    )


def journal(folder: Path) -> Iterator[bytes]:
    """The lines of the journal in ``folder``, each with its end if it is whole.

    Raises:
        CorruptFileError: It cannot be read.
    """
    with opened(folder / JOURNAL) as file:
        while line := file.readline(_LIMIT):
            yield line


def _other_version(folder: Path, version: int) -> StaleCacheError:
    later = version > VERSION
    return StaleCacheError(
        f"Expected a cache of format {VERSION} in {str(folder)!r}, got one of "
        f"{'a later' if later else 'an earlier'} format.",
        f"{'Update purdist, or d' if later else 'D'}elete it and make it anew with cache_teacher.",
    )


def _fingerprint(teacher: Program) -> str:
    digest = hashlib.sha256(graphs.signature(teacher.inference_graph).encode())
    for name, weight in sorted(scopes.values(teacher.scope, teacher.weights).items()):
        digest.update(repr((name, weight.shape, weight.dtype.name)).encode())
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
