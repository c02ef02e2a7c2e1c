"""`cache_teacher`: a data set is shown to a teacher once, and what it says is kept on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from purdist.arrays import Arrays, Batches, Feed
from purdist.distillation import Distillation
from purdist.errors import (
    DtypeMismatchError,
    InvalidArgumentError,
    ShapeMismatchError,
    StaleCacheError,
)
from purdist.program import Program, internals_of
from purdist.storing import check_target
from purdist.teachers.blocks import finished_blocks
from purdist.teachers.cache import TeacherCache
from purdist.teachers.cut import cut_out, needed_teachers
from purdist.teachers.draft import Draft, drafting
from purdist.teachers.manifest import Block, Manifest, fits


def cache_teacher(
    distillation: Distillation,
    batches: Batches,
    path: str | os.PathLike[str],
    *,
    name_prefix: str | None = None,
) -> TeacherCache:
    """Computes what the losses listen to for every row of ``batches``, once, and keeps it.

    One batch at a time is in memory. A call that was killed is taken up where it stopped.
    A call on a finished cache reads the batches, to see that they are those it was made
    from, and computes nothing; each file is compared with its checksum when it is first read. The
    folder appears at ``path`` when it is complete; before it is ``<path>.part``, where one process
    of one user writes at a time.

    The teacher computes in the first epoch alone::

        cache = cache_teacher(distillation, [{"x": images}], "cache")
        training = minimize(distillation, make_optimizer, teacher=cache)
        feed = {"x": images, "teacher_sample": numpy.arange(len(images))}
        losses = [step.loss for step in train(training, [feed] * 3)]

    Args:
        distillation: What `apply` returned.
        batches: Feeds with what the teacher reads, in an order that stays. Row ``k`` of the
            cache is the ``k``-th row of them all.
        path: The folder to keep it in.
        name_prefix: Of which teacher, where the losses listen to several.

    Returns:
        What `minimize` takes as ``teacher=``, for a training that is fed ``<name_prefix>sample``.

    Raises:
        StaleCacheError: The folder is of another teacher, other variables or other data, or was
            written by another version of purdist in another format.
        CorruptFileError: The cache's manifest or journal is damaged, or a file is not as long as
            they say.
        InvalidArgumentError: The losses listen to no such teacher, to several if there is no
            ``name_prefix``, or to one that reads what the student learns; or a variable has not
            one row for each that is fed; or there is no row at all. Or ``path`` is no path, or an
            unfinished cache beside it is another user's.
        MissingFileError: A part of ``path`` is a file, or the cache may not be read.
        ShapeMismatchError: The shape of a variable changes between batches.
        WriteError: Something cannot be written, or another process makes this cache.
        PurdistError: A feed that does not fit, as in `Program.run`.
    """
    cut = cut_out(distillation, _chosen(distillation, name_prefix))
    target = Path(path)
    check_target(target, makes_folders=True)
    fresh = Manifest.of(cut.network, cut.outputs)
    shown = _Shown(distillation.program, cut.network, batches)
    if not os.path.lexists(target):
        with drafting(target, fresh) as draft:
            if draft is not None:
                return TeacherCache(target, cut.prefix, _compute(draft, shown))
    manifest = fresh.read(target)
    _check_complete(manifest, shown, target)
    return TeacherCache(target, cut.prefix, manifest)


def _chosen(distillation: Distillation, name_prefix: str | None) -> str:
    """The prefix of the teacher that is meant."""
    prefixes = needed_teachers(distillation)
    if name_prefix is None and len(prefixes) == 1:
        return prefixes[0]
    if name_prefix in prefixes:
        return name_prefix
    got = "none" if name_prefix is None else repr(name_prefix)
    raise InvalidArgumentError(
        f"Expected name_prefix to be that of a teacher that the losses listen to, got {got}.",
        f"There are {', '.join(map(repr, prefixes))}.",
    )


@attrs.frozen
class _Batch:
    """What a teacher reads of a batch.

    Attributes:
        arrays: It.
        rows: How many there are.
        data: The fingerprint of all batches up to this one.
    """

    arrays: Arrays
    rows: int
    data: str


@attrs.frozen(eq=False)
class _Shown:
    """What is shown to a teacher."""

    program: Program
    teacher: Program
    feeds: Batches

    def __iter__(self) -> Iterator[_Batch]:
        data = ""
        for k, feed in enumerate(self.feeds):
            arrays = self._read_by(feed)
            rows = next((len(array) for array in arrays.values() if array.ndim), 0)
            if not rows:
                raise InvalidArgumentError(
                    f"Expected batches with rows, got none in batch {k}.",
                    "Leave it out. A teacher that reads no feed cannot be cached.",
                )
            data = _chained(data, arrays)
            yield _Batch(arrays, rows, data)
        if not data:
            raise InvalidArgumentError(
                "Expected batches to cache what a teacher says to them, got none.",
                "An iterator that was used up has none: make it anew.",
            )

    def _read_by(self, feed: Feed) -> dict[str, npt.NDArray[Any]]:
        """What the teacher reads of a feed, which may hold more."""
        arrays = internals_of(self.program).feed_rules.check(feed, self.teacher.inputs)
        return {name: arrays[name] for name in self.teacher.inputs}


def _compute(draft: Draft, shown: _Shown) -> Manifest:
    """Goes on with a cache where it stands."""
    kept, count = tuple(draft.blocks), 0
    for count, batch in enumerate(shown, start=1):
        if count <= len(kept):
            _check_data(kept[count - 1], batch, count - 1, draft.folder)
            continue
        outputs = shown.teacher.run(batch.arrays, draft.manifest.names)
        arrays = [np.ascontiguousarray(outputs[name]) for name in draft.manifest.names]
        _check_arrays(draft, arrays, batch.rows)
        draft.add(batch.data, arrays)
    if count < len(kept):
        raise _others(draft.folder, count)
    return draft.finish()


def _check_complete(manifest: Manifest, shown: _Shown, folder: Path) -> None:
    """Refuses a finished cache of other batches than these, or one that is damaged."""
    blocks, count = finished_blocks(folder, manifest), 0
    for count, batch in enumerate(shown, start=1):
        block = next(blocks, None)
        if block is None:
            raise _others(folder, count - 1)
        _check_data(block, batch, count - 1, folder)
    if next(blocks, None) is not None:
        raise _others(folder, count)


def _check_data(block: Block, batch: _Batch, k: int, folder: Path) -> None:
    if (block.data, block.rows) != (batch.data, batch.rows):
        raise _others(folder, k)


def _others(folder: Path, count: int) -> StaleCacheError:
    return StaleCacheError(
        f"Expected the batches that the cache in {str(folder)!r} was made from, got others "
        f"({count} until they differed or ended).",
        f"Give the same batches in the same order, or delete {str(folder)!r}, or choose another "
        "path.",
    )


def _check_arrays(draft: Draft, arrays: list[npt.NDArray[Any]], rows: int) -> None:
    """Refuses what a teacher says to so many rows if it is no block of that cache."""
    manifest = draft.manifest
    known = draft.blocks[0].shapes if draft.blocks else manifest.shapes
    for name, array, dtype, shape in zip(
        manifest.names, arrays, manifest.dtypes, known, strict=True
    ):
        if array.shape[:1] != (rows,):
            raise InvalidArgumentError(
                f"Expected a variable with a row for each of the {rows} that are fed, got "
                f"{name!r} of shape {list(array.shape)}.",
                "Listen to a variable whose first axis is the batch.",
            )
        if not fits(array.shape[1:], shape):
            raise ShapeMismatchError(
                f"Expected rows of {name!r} of shape {list(shape)}, got {list(array.shape[1:])} in "
                f"batch {len(draft.blocks)}.",
                "Bring all batches to one size.",
            )
        if array.dtype.name != dtype:
            raise DtypeMismatchError(
                f"Expected {name!r} in {dtype}, got {array.dtype.name}.",
                "Paddle computes it otherwise than the graph says: cast it in the teacher.",
            )


def _chained(before: str, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """The fingerprint of all batches up to this one, from that of those before it."""
    digest = hashlib.sha256(before.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
