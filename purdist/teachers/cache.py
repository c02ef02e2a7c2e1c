"""`cache_teacher`: what a teacher says to a data set that stays, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from purdist.arrays import Arrays, Batches, Feed
from purdist.distillation import Distillation
from purdist.errors import InvalidArgumentError, ShapeMismatchError, StaleCacheError
from purdist.program import Program
from purdist.storing import check_target
from purdist.teachers.backend import Backend, Running
from purdist.teachers.cut import cut_out, needed_teachers
from purdist.teachers.manifest import Manifest, file_of
from purdist.variables import Variable


@attrs.frozen(eq=False)
class TeacherCache(Backend):
    """What a teacher says to each row of a data set, on disk.

    A training with it is fed, beside what the student reads, with which rows these are::

        training = minimize(distillation, make_optimizer, teacher=cache)
        for rows in numpy.random.permutation(len(cache)).reshape(-1, 4):
            batches.append({"x": images[rows], "teacher_sample": rows})

    It keeps no teacher: its program is fed what was asked of it. To look at, ``cache[rows]`` gives
    that as it is on disk.

    Attributes:
        path: The folder it is kept in.
        name_prefix: Of the teacher's names. The feed is called ``<name_prefix>sample``.
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
            StaleCacheError: It is of another teacher, or of other variables, or is not there.
        """
        self._manifest.check_is_of(Manifest.of(teacher, outputs), self.path)
        try:
            return _Opened(self, self._arrays)
        except (OSError, ValueError) as error:
            raise StaleCacheError(
                f"Expected the files of the cache in {self.path}, got {error}.",
                "Make it again with cache_teacher.",
            ) from error

    def __len__(self) -> int:
        return self._manifest.rows

    def __getitem__(
        self, rows: npt.NDArray[np.integer] | slice | Sequence[int]
    ) -> dict[str, npt.NDArray[Any]]:
        """What was asked of the teacher, at these rows, counted over all batches.

        Raises:
            InvalidArgumentError: There is no such row.
        """
        if not isinstance(rows, slice):
            rows = np.asarray(rows, np.int64)
            for row in rows[(rows < -len(self)) | (rows >= len(self))]:
                told = f"Expected rows of the {len(self)} that there are, got {row} in rows."
                raise InvalidArgumentError(told, "They are counted over all batches.")
        return {name: np.array(array[rows]) for name, array in self._arrays.items()}

    @cached_property
    def _arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        manifest = self._manifest
        return {
            name: np.memmap(
                file_of(self.path, k), dtype, "r", shape=(manifest.rows, *manifest.shapes[k])
            )
            for k, (name, dtype) in enumerate(zip(manifest.names, manifest.dtypes, strict=True))
        }


@attrs.frozen(eq=False)
class _Opened(Running):
    """A cache that answers, its files open."""

    _cache: TeacherCache
    _arrays: Mapping[str, npt.NDArray[Any]]

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
        return lambda: {name: np.asarray(array[rows]) for name, array in self._arrays.items()}

    def __str__(self) -> str:
        return f"in the cache in {self._cache.path}"


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
    from, and computes nothing. The folder appears at ``path`` when it is complete.

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
        StaleCacheError: The folder is of another teacher, other variables or other data.
        InvalidArgumentError: The losses listen to no such teacher, to several without a prefix, or
            to one that reads what the student learns; or a variable has no row for each fed.
        MissingFileError: A part of ``path`` is a file.
        WriteError: The system refuses to write there.
        ShapeMismatchError: The shape of a variable changes between batches.
        PurdistError: A feed that does not fit, as in `Program.run`.
    """
    program = distillation.program
    cut = cut_out(distillation, _chosen(distillation, name_prefix))
    teacher = cut.network
    target = Path(path)
    check_target(target, makes_folders=True)
    draft = target.with_name(target.name + ".part")
    fresh = Manifest.of(teacher, cut.outputs)
    if target.exists():
        manifest = Manifest.read(target)
        manifest.check_is_of(fresh, target)
        _check_complete(manifest, program, teacher, batches, target)
    else:
        begun = Manifest.read(draft) if draft.exists() else fresh
        begun.check_is_of(fresh, draft)
        draft.mkdir(parents=True, exist_ok=True)
        manifest = _compute(begun, program, teacher, batches, draft)
        draft.replace(target)
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


def _compute(
    begun: Manifest, program: Program, teacher: Program, batches: Iterable[Feed], folder: Path
) -> Manifest:
    """Goes on with the cache in ``folder`` where ``begun`` says it stands."""
    manifest = attrs.evolve(begun, batches=0, rows=0, data="")
    with ExitStack() as stack:
        files = [
            stack.enter_context(file_of(folder, k).open("ab")) for k in range(len(begun.names))
        ]
        for k, file in enumerate(files):
            file.truncate(begun.rows * begun.row_bytes(k))  # a killed call may have written on
        for feed in batches:
            read = _read_by(teacher, program, feed)
            manifest.data = _chained(manifest.data, read)
            manifest.batches += 1
            if manifest.batches < begun.batches:
                continue
            if manifest.batches == begun.batches:
                _check_data(manifest, begun, folder)
                manifest.rows = begun.rows
                continue
            outputs = teacher.run(read, manifest.names)
            arrays = [outputs[name] for name in manifest.names]
            _check_rows(manifest, arrays, rows=len(next(iter(read.values()))))
            for file, array in zip(files, arrays, strict=True):
                file.write(np.ascontiguousarray(array).tobytes())
                file.flush()
            manifest.rows += len(arrays[0])
            manifest.write(folder)
    if manifest.batches < begun.batches:
        _check_data(manifest, begun, folder)
    return manifest


def _check_complete(
    finished: Manifest, program: Program, teacher: Program, batches: Iterable[Feed], folder: Path
) -> None:
    """Refuses a finished cache of other batches than these."""
    manifest = attrs.evolve(finished, batches=0, data="")
    for feed in batches:
        manifest.data = _chained(manifest.data, _read_by(teacher, program, feed))
        manifest.batches += 1
    _check_data(manifest, finished, folder)
    for k, name in enumerate(finished.names):
        size, expected = file_of(folder, k).stat().st_size, finished.rows * finished.row_bytes(k)
        if size != expected:
            raise StaleCacheError(
                f"Expected {expected} bytes of {name!r} in the cache in {folder}, got {size} "
                "bytes.",
                "Delete it: it is damaged.",
            )


def _read_by(teacher: Program, program: Program, feed: Feed) -> dict[str, npt.NDArray[Any]]:
    """What the teacher reads of a feed, which may hold more."""
    arrays = program.check_feed(feed, teacher.inputs)
    return {name: arrays[name] for name in teacher.inputs}


def _check_data(manifest: Manifest, recorded: Manifest, folder: Path) -> None:
    if (manifest.batches, manifest.data) != (recorded.batches, recorded.data):
        raise StaleCacheError(
            f"Expected the batches that the cache in {folder} was made from, {recorded.batches} of "
            f"them, got others ({manifest.batches} until they differed or ended).",
            "Give the same batches in the same order, or delete it, or choose another path.",
        )


def _check_rows(manifest: Manifest, arrays: list[npt.NDArray[Any]], *, rows: int) -> None:
    for name, array in zip(manifest.names, arrays, strict=True):
        if array.shape[:1] != (rows,):
            raise InvalidArgumentError(
                f"Expected a variable with a row for each of the {rows} that are fed, got "
                f"{name!r} of shape {list(array.shape)}.",
                "Listen to a variable whose first axis is the batch.",
            )
    shapes = [list(array.shape[1:]) for array in arrays]
    if manifest.rows and shapes != manifest.shapes:
        raise ShapeMismatchError(
            f"Expected rows of the shapes {manifest.shapes} of {manifest.names}, got {shapes}.",
            "Bring all batches to one size.",
        )
    manifest.shapes = shapes
    manifest.dtypes = [array.dtype.name for array in arrays]


def _chained(before: str, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """The fingerprint of all batches up to this one, from that of those before it."""
    digest = hashlib.sha256(before.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
