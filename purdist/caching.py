"""`cache_teacher`: what a teacher says to a data set that stays, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from purdist import graphs, scopes
from purdist.cutting import part
from purdist.distillation import Distillation
from purdist.errors import InvalidArgumentError, ShapeMismatchError, StaleCacheError
from purdist.program import Feed, Program
from purdist.stages import teacher_of, without_teacher

_MANIFEST = "manifest.json"


@attrs.frozen(eq=False)
class TeacherCache:
    """What a teacher says to each row of a data set, on disk.

    Indexing it gives feeds for its `distillation`::

        for rows in numpy.random.permutation(len(cache)).reshape(-1, 64):
            batches.append({"x": images[rows], **cache[rows]})

    Attributes:
        distillation: The distillation without its teacher: what was listened to is fed.
        path: The folder it is kept in.
    """

    distillation: Distillation
    path: Path
    _arrays: Mapping[str, npt.NDArray[Any]]
    _rows: int

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, rows: npt.NDArray[np.integer] | slice) -> dict[str, npt.NDArray[Any]]:
        """What was listened to at these rows, counted over all batches, read from disk."""
        return {name: np.array(array[rows]) for name, array in self._arrays.items()}


def cache_teacher(
    distillation: Distillation, batches: Iterable[Feed], path: str | os.PathLike[str]
) -> TeacherCache:
    """Computes what the losses listen to for every row of ``batches``, once, and keeps it.

    One batch at a time is in memory. A call that was killed is taken up where it stopped.
    A call on a finished cache reads the batches, to see that they are those it was made
    from, and computes nothing. The folder appears at ``path`` when it is complete.

    Args:
        distillation: What `apply` returned.
        batches: Feeds with what the teacher reads, in an order that stays. Row ``k`` of the
            cache is the ``k``-th row of them all.
        path: The folder to keep it in.

    Raises:
        StaleCacheError: The folder is of another teacher, other variables or other data.
        InvalidArgumentError: The losses listen to no teacher, or to one that reads what the
            student learns; or a variable has not one row for each that is fed.
        ShapeMismatchError: The shape of a variable changes between batches.
        PurdistError: A feed that does not fit, as in `Program.run`.
    """
    program = distillation.program
    names, teacher = teacher_of(program)
    target = Path(path)
    draft = target.with_name(target.name + ".part")
    fresh = _Manifest(_fingerprint(teacher), list(names))
    if target.exists():
        manifest = _Manifest.read(target)
        _check_teacher(manifest, fresh, target)
        _check_complete(manifest, program, teacher, batches, target)
    else:
        begun = _Manifest.read(draft) if draft.exists() else fresh
        _check_teacher(begun, fresh, draft)
        draft.mkdir(parents=True, exist_ok=True)
        manifest = _compute(begun, program, teacher, batches, draft)
        draft.replace(target)
    rest = without_teacher(program)
    # A weight of the teacher that a loss reads is the same for every row: it stays, frozen.
    weights = [name for name in program.weights if name not in rest]
    listening = attrs.evolve(
        distillation, program=part(program, rest, names, names=(*rest, *names, *weights))
    )
    arrays = {
        name: np.memmap(
            _file(target, k), manifest.dtypes[k], "r", shape=(manifest.rows, *manifest.shapes[k])
        )
        for k, name in enumerate(names)
    }
    return TeacherCache(listening, target, arrays, manifest.rows)


@attrs.define
class _Manifest:
    """What a cache holds, and of what. It is rewritten after each batch.

    Attributes:
        teacher: The fingerprint of the teacher's graph and weights.
        names: The variables.
        batches: How many batches are in.
        rows: How many rows are in.
        data: The fingerprint of the batches that are in, each hashed over the last.
        shapes: Of one row of each variable.
        dtypes: Of each variable, as numpy writes it.
    """

    teacher: str
    names: list[str]
    batches: int = 0
    rows: int = 0
    data: str = ""
    shapes: list[list[int]] = attrs.Factory(list)
    dtypes: list[str] = attrs.Factory(list)

    @classmethod
    def read(cls, folder: Path) -> _Manifest:
        """The manifest in ``folder``."""
        try:
            return cls(**json.loads((folder / _MANIFEST).read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise StaleCacheError(
                f"Expected a teacher cache in {folder}, got a folder without a manifest that can "
                f"be read ({error}).",
                "Delete it, or choose another path.",
            ) from error

    def write(self, folder: Path) -> None:
        """Puts the manifest into ``folder``, the last good one there until it is whole."""
        draft = folder / (_MANIFEST + ".new")
        draft.write_text(json.dumps(attrs.asdict(self)))
        draft.replace(folder / _MANIFEST)


def _compute(
    begun: _Manifest, program: Program, teacher: Program, batches: Iterable[Feed], folder: Path
) -> _Manifest:
    """Goes on with the cache in ``folder`` where ``begun`` says it stands."""
    manifest = attrs.evolve(begun, batches=0, rows=0, data="")
    with ExitStack() as stack:
        files = [stack.enter_context(_file(folder, k).open("ab")) for k in range(len(begun.names))]
        for k, file in enumerate(files):
            file.truncate(begun.rows * _row_bytes(begun, k))  # a killed call may have written on
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
            told = teacher.run(read, manifest.names)
            heard = [told[name] for name in manifest.names]
            _check_rows(manifest, heard, rows=len(next(iter(read.values()))))
            for file, array in zip(files, heard, strict=True):
                file.write(np.ascontiguousarray(array).tobytes())
                file.flush()
            manifest.rows += len(heard[0])
            manifest.write(folder)
    if manifest.batches < begun.batches:
        _check_data(manifest, begun, folder)
    return manifest


def _check_complete(
    finished: _Manifest, program: Program, teacher: Program, batches: Iterable[Feed], folder: Path
) -> None:
    """Refuses a finished cache of other batches than these."""
    manifest = attrs.evolve(finished, batches=0, data="")
    for feed in batches:
        manifest.data = _chained(manifest.data, _read_by(teacher, program, feed))
        manifest.batches += 1
    _check_data(manifest, finished, folder)
    for k, name in enumerate(finished.names):
        size, expected = _file(folder, k).stat().st_size, finished.rows * _row_bytes(finished, k)
        if size != expected:
            raise StaleCacheError(
                f"Expected {expected} bytes of {name!r} in the cache in {folder}, got {size} "
                "bytes.",
                "Delete it: it is damaged.",
            )


def _read_by(teacher: Program, program: Program, feed: Feed) -> dict[str, npt.NDArray[Any]]:
    """What the teacher reads of a feed, which may hold more."""
    program.check_feed(feed, teacher.inputs)
    return {name: np.asarray(feed[name]) for name in teacher.inputs}


def _check_teacher(manifest: _Manifest, fresh: _Manifest, folder: Path) -> None:
    for what, there, here in (
        ("the variables", manifest.names, fresh.names),
        ("the teacher's graph and weights", manifest.teacher, fresh.teacher),
    ):
        if there != here:
            raise StaleCacheError(
                f"Expected the cache in {folder} to be of this teacher, got one in which {what} "
                f"are others: {there} there, {here} here.",
                "Delete it, or choose another path.",
            )


def _check_data(manifest: _Manifest, recorded: _Manifest, folder: Path) -> None:
    if (manifest.batches, manifest.data) != (recorded.batches, recorded.data):
        raise StaleCacheError(
            f"Expected the batches that the cache in {folder} was made from, {recorded.batches} of "
            f"them, got others ({manifest.batches} until they differed or ended).",
            "Give the same batches in the same order, or delete it, or choose another path.",
        )


def _check_rows(manifest: _Manifest, heard: list[npt.NDArray[Any]], *, rows: int) -> None:
    for name, array in zip(manifest.names, heard, strict=True):
        if array.shape[:1] != (rows,):
            raise InvalidArgumentError(
                f"Expected a variable with a row for each of the {rows} that are fed, got "
                f"{name!r} of shape {list(array.shape)}.",
                "Listen to a variable whose first axis is the batch.",
            )
    shapes = [list(array.shape[1:]) for array in heard]
    if manifest.rows and shapes != manifest.shapes:
        raise ShapeMismatchError(
            f"Expected rows of the shapes {manifest.shapes} of {manifest.names}, got {shapes}.",
            "Bring all batches to one size.",
        )
    manifest.shapes = shapes
    manifest.dtypes = [array.dtype.name for array in heard]


def _fingerprint(teacher: Program) -> str:
    digest = hashlib.sha256(graphs.signature(teacher.inference_graph).encode())
    for name, weight in sorted(scopes.values(teacher.scope, teacher.weights).items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def _chained(before: str, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """The fingerprint of all batches up to this one, from that of those before it."""
    digest = hashlib.sha256(before.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _row_bytes(manifest: _Manifest, k: int) -> int:
    if not manifest.rows:
        return 0
    return math.prod(manifest.shapes[k]) * np.dtype(manifest.dtypes[k]).itemsize


def _file(folder: Path, k: int) -> Path:
    return folder / f"{k}.bin"
