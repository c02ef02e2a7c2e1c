"""`TeacherCache`: what a teacher says to a data set that stays, kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, SupportsIndex

import attrs
import numpy as np
import numpy.typing as npt

from purdist.arrays import Arrays
from purdist.checking import plain_int, shown
from purdist.errors import InvalidArgumentError, StaleCacheError
from purdist.program import Program
from purdist.teachers.backend import Backend, Running
from purdist.teachers.blocks import Blocks
from purdist.teachers.manifest import Manifest
from purdist.variables import Variable


@attrs.frozen(eq=False)
class TeacherCache(Backend):
    """What a teacher says to each row of a data set, on disk.

    A training with it is fed, beside what the student reads, with which rows these are::

        training = minimize(distillation, make_optimizer, teacher=cache)
        for rows in numpy.random.permutation(len(cache)).reshape(-1, 4):
            batches.append({"x": images[rows], "teacher_sample": rows})

    It keeps no teacher: its program is fed what was asked of it. To look at, ``cache[rows]`` gives
    that as it is on disk. Each batch that it was made from is a file: to read a row takes
    some 25 µs where rows come in any order, and the time to check its file the first time.

    Attributes:
        path: The folder it is kept in.
        name_prefix: Of the teacher's names. The feed is called ``<name_prefix>sample``.

    Raises:
        CorruptFileError: A file is not there, damaged, or of another cache, when something of it is
            read. Each is compared with its checksum the first time, and when it was written since.
    """

    path: Path
    name_prefix: str
    _manifest: Manifest

    @property
    def ahead(self) -> int:
        return 0

    def start(self, teacher: Program, outputs: tuple[str, ...]) -> Running:
        """Opens it.

        Raises:
            StaleCacheError: It is of another teacher, or of other variables, or was made anew.
            CorruptFileError: It is not there, or damaged.
        """
        found = Manifest.of(teacher, outputs).read(self.path)
        if found != self._manifest:
            raise StaleCacheError(
                f"Expected the cache in {self.path} that cache_teacher returned, got another one.",
                "Call cache_teacher again.",
            )
        return _Opened(self, self._blocks)

    def __len__(self) -> int:
        return self._manifest.rows

    def __getitem__(
        self, rows: SupportsIndex | slice | Sequence[int] | npt.NDArray[np.integer | np.bool_]
    ) -> dict[str, npt.NDArray[Any]]:
        """What was asked of the teacher, at these rows, counted over all batches.

        Args:
            rows: One, or some as numpy takes them, from the end where they are below 0.

        Raises:
            InvalidArgumentError: They are none of the cache's.
            CorruptFileError: A file that they are in is damaged.
        """
        if isinstance(rows, slice):
            wanted = np.arange(*rows.indices(len(self)))
        else:
            wanted = _numbers(rows, len(self))
        read = self._blocks.read(wanted.reshape(-1))
        return {name: a.reshape(wanted.shape + a.shape[1:]) for name, a in read.items()}

    def __iter__(self) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Row after row."""
        return (self[row] for row in range(len(self)))

    @cached_property
    def _blocks(self) -> Blocks:
        return Blocks.open(self.path, self._manifest)


def _numbers(rows: object, count: int) -> npt.NDArray[np.int64]:
    """The rows that are meant, of so many, each from the beginning."""
    number = plain_int(rows)
    found = np.asarray(rows if number is None else number)
    if found.dtype == bool and found.shape == (count,):
        return np.flatnonzero(found)
    if not found.size:
        found = found.astype(np.int64)
    wrong = found.dtype.kind not in "iu" or bool(((found < -count) | (found >= count)).any())
    if wrong:
        raise InvalidArgumentError(
            f"Expected rows of a cache that has {count}, got {shown(rows)}.",
            f"They are whole numbers of at least {-count} and below {count}.",
        )
    found = found.astype(np.int64)
    return np.where(found < 0, found + count, found)


@attrs.frozen(eq=False)
class _Opened(Running):
    """A cache that answers, its files looked up."""

    _cache: TeacherCache
    _blocks: Blocks

    @property
    def _sample(self) -> str:
        return f"{self._cache.name_prefix}sample"

    @property
    def feeds(self) -> Mapping[str, Variable]:
        prefix = self._cache.name_prefix
        return {
            self._sample: Variable(
                self._sample, (-1,), "int64", "input", network=prefix, owner="teacher"
            )
        }

    def ask(self, feed: Arrays) -> Callable[[], Arrays]:
        """Refuses rows that are not there, and reads the others when they are waited for."""
        rows, count = feed[self._sample], len(self._cache)
        wrong = np.flatnonzero((rows < 0) | (rows >= count))
        if wrong.size:
            raise InvalidArgumentError(
                f"Expected {self._sample} to be at least 0 and below {count}, got "
                f"{rows[wrong[0]]} in row {wrong[0]}, of shape {list(rows.shape)}.",
                f"They are rows of the cache in {self._cache.path}, counted over all batches that "
                "it was made from.",
            )
        return lambda: self._blocks.read(rows)

    def __str__(self) -> str:
        return f"in the cache in {self._cache.path}"
