"""The files of a checkpoint: what moves as safetensors, and a manifest beside it.

``step_00001000.checkpoint.json`` says what they are of, with a checksum of the other file and one
of itself at its end; ``step_00001000.checkpoint.safetensors`` holds the arrays. They are put in
place together, and the older ones are removed when they are on the disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, Self

import attrs
import numpy.typing as npt

from purdist import graphs, manifests
from purdist.errors import CorruptFileError, MissingFileError, StaleCheckpointError, printable
from purdist.storing import checksum, checksum_in, folder_beside, open_regular, place, undisturbed
from purdist.training.fingerprint import Fingerprint
from purdist.weight_files import WeightFile, write_weights

MANIFEST, WEIGHTS = ".checkpoint.json", ".checkpoint.safetensors"
"""How the files end."""

VERSION = 1
"""Of the format that is written."""

_SEAL = re.compile(rb', "checksum": "([0-9a-f]{8})"\}')
"""How a manifest ends: with the checksum of what it is without that."""

_SEALED = len(b', "checksum": "00000000"}')

_LONGEST = 1 << 26
"""How many bytes of a manifest are read."""

_SEED = re.compile(r"[0-9]{1,4000}")
"""A longer number Python does not read."""

_MOST = 1 << 63
"""Steps are fewer."""

_NUMBERED = re.compile(r"step_(\d{8,19})")


@attrs.frozen
class Manifest:
    """What a checkpoint holds.

    Attributes:
        version: Of the format.
        steps: How many were taken.
        seed: What random numbers follow from.
        scheduler: What the LR scheduler holds.
        weights: The checksum of the file of weights.
        size: How many bytes that has.
        made: Of what training it is.
    """

    version: int
    steps: int
    seed: str
    scheduler: dict[str, str]
    weights: str
    size: int
    made: Fingerprint


def name_of(steps: int) -> str:
    """The name of a checkpoint of a directory."""
    return f"step_{steps:08d}"


def steps_in(name: str) -> int | None:
    """After how many steps a checkpoint of that name was written, None for another name."""
    found = _NUMBERED.fullmatch(name)
    return int(found[1]) if found else None


def write(
    stem: Path, arrays: Mapping[str, npt.NDArray[Any]], dtypes: Mapping[str, str], found: Manifest
) -> None:
    """Writes a checkpoint, both files or none; where it cannot be, what was there stays.

    Args:
        stem: Where to, without the ends of the files.
        arrays: What moves.
        dtypes: Of each of them.
        found: What the manifest says, save what it says of the other file.

    Raises:
        PurdistError: Nothing can be written there, as in `storing.folder_beside`.
    """
    with folder_beside(stem) as folder:
        weights = folder / f"{stem.name}{WEIGHTS}"
        write_weights(weights, arrays, dtypes)
        with weights.open("rb") as file:
            told = attrs.evolve(found, weights=checksum_in(file), size=_size(file))
        body = manifests.written(told)
        (folder / f"{stem.name}{MANIFEST}").write_bytes(_sealed(body))
        place(folder, stem.parent)


def remove_before(folder: Path, steps: int, keep: int) -> None:
    """Removes what is older than the last ``keep`` checkpoints up to that of ``steps``.

    Raises:
        OSError: The system refuses.
    """
    numbers = {stem: steps_in(stem) for stem in stems_in(folder)}
    older = sorted(((n, stem) for stem, n in numbers.items() if n is not None and n < steps))
    whole = [pair for pair in older if (folder / f"{pair[1]}{MANIFEST}").exists()]
    for _, stem in sorted({*older}.difference(whole[max(0, len(whole) - keep + 1) :])):
        for end in (MANIFEST, WEIGHTS):  # without the first it is none, and the next call ends it
            (folder / f"{stem}{end}").unlink(missing_ok=True)


def stems_in(folder: Path) -> list[str]:
    """The names of checkpoints in ``folder``, of those too of which one file is left.

    Raises:
        OSError: The system does not let see what is there.
    """
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    ends = (MANIFEST, WEIGHTS)
    return sorted({n.removesuffix(end) for n in names for end in ends if n.endswith(end)})


def read_manifest(stem: Path) -> Manifest:
    """What a checkpoint says of itself.

    Raises:
        CorruptFileError: It is damaged.
        MissingFileError: It is not there, or may not be read.
        StaleCheckpointError: It is of a later format.
    """
    path = Path(f"{stem}{MANIFEST}")
    with _opened(path) as file, _told(path):
        content = file.read(_LONGEST)
    seal = _SEAL.fullmatch(content[-_SEALED:])
    body = content[:-_SEALED] + b"}"
    if seal is None or seal[1].decode() != checksum(body):
        raise _damaged(path, "one that is cut off or was changed")
    try:
        version = manifests.version_of(body)
        if version == VERSION:
            found = manifests.read(body, Manifest)
            if not (0 <= found.steps < _MOST and _SEED.fullmatch(found.seed)):
                raise ValueError(f"one of {found.steps} steps and seed {found.seed}")
            return found
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    raise StaleCheckpointError(
        f"Expected a checkpoint of format {VERSION} in {str(path)!r}, got one of format "
        f"{version}, which a later purdist wrote.",
        "Resume with that purdist, or from another directory.",
    )


@attrs.frozen(eq=False)
class OpenCheckpoint:
    """A checkpoint that is whole, its file of weights open: it may be removed meanwhile.

    Attributes:
        stem: Where it is.
        manifest: What it says.
    """

    stem: Path
    manifest: Manifest
    _file: BufferedReader

    @classmethod
    def of(cls, stem: Path) -> OpenCheckpoint:
        """That of ``stem``, each file compared with its checksum.

        Raises:
            PurdistError: As in `read_manifest`.
        """
        path = Path(f"{stem}{WEIGHTS}")
        with undisturbed(stem.parent):
            manifest = read_manifest(stem)
            file = _opened(path)
        try:
            with _told(path):
                is_whole = _size(file) == manifest.size and checksum_in(file) == manifest.weights
            if not is_whole:
                raise _damaged(path, "one that is cut off or was changed")
            return cls(stem, manifest, file)
        except BaseException:
            file.close()
            raise

    def arrays(self) -> Iterator[tuple[str, graphs.Kind, npt.NDArray[Any]]]:
        """What moves, by its names.

        Raises:
            CorruptFileError: It changes while it is read.
        """
        path = Path(f"{self.stem}{WEIGHTS}")
        self._file.seek(0)
        opened = WeightFile.of(self._file, path)
        for name, array in opened.weights():
            yield name, opened.kinds[name], array

    def damaged(self, found: str) -> CorruptFileError:
        """The error where its two files do not belong together."""
        return _damaged(Path(f"{self.stem}{WEIGHTS}"), found)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()


def _sealed(body: bytes) -> bytes:
    return body[:-1] + f', "checksum": "{checksum(body)}"}}'.encode()


def _size(file: BufferedReader) -> int:
    return os.fstat(file.fileno()).st_size


def _opened(path: Path) -> BufferedReader:
    """A regular file to read: what is none is not waited for."""
    try:
        number = open_regular(path)
    except FileNotFoundError:
        raise _damaged(path, "no such file") from None
    except PermissionError as error:
        raise MissingFileError(
            f"Expected a checkpoint that can be read in {str(path)!r}, got: {error.strerror}.",
            "Ask whose it is for the right to read it, or resume from another directory.",
        ) from error
    except OSError as error:
        raise _damaged(path, error.strerror or "none") from error
    if number is None:
        raise _damaged(path, "something that is no regular file")
    return os.fdopen(number, "rb")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tells what the system cannot read meanwhile."""
    try:
        yield
    except OSError as error:
        raise _damaged(path, error.strerror or "none") from error


def _damaged(path: Path, found: str) -> CorruptFileError:
    """The error for a file of a checkpoint."""
    return CorruptFileError(
        f"Expected a file of a checkpoint in {str(path)!r}, got {printable(found[:300], 300)}.",
        "Resume from another checkpoint, or begin anew.",
    )
