"""Checkpoints: all that moves in a training, written to disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import attrs

from purdist import scopes
from purdist.checking import Number
from purdist.errors import DtypeMismatchError, InvalidArgumentError
from purdist.storing import file_at, where_files_point
from purdist.training.checkpoint_files import MANIFEST, VERSION, WEIGHTS, Manifest, write
from purdist.training.fingerprint import Fingerprint
from purdist.training.nonfinite import check_weights
from purdist.training.schedules import state_of
from purdist.training.values import Training, session_of
from purdist.weight_files import DTYPES


def _path(given: str | os.PathLike[str]) -> Path:
    return Path(given)


@attrs.frozen
class Checkpoints:
    """Where, how often and how many checkpoints `train` writes on its way.

    They stand in the directory as ``step_00001000.checkpoint.json`` and ``.safetensors``, after
    every so many steps of the training's clock (`Training.steps`), and after the last::

        training = resume(training, "run")
        rest = feeds(loader, ["x"], epochs=10, start=training.steps)  # times accumulate
        for step in train(training, rest, checkpoints=Checkpoints("run")):
            print(step.loss)

    Attributes:
        directory: A folder, which is made if it is not there.
        every: After how many steps there is one.
        keep: How many of them stay: an older one is removed when the new one is on the disk,
            which needs room for one more. Nothing else in the folder is touched, nor a checkpoint
            of more steps.

    Raises:
        InvalidArgumentError: ``every`` or ``keep`` is below 1.
    """

    directory: Path = attrs.field(converter=_path)
    every: Annotated[int, Number(least=1, whole=True)] = 1000
    keep: Annotated[int, Number(least=1, whole=True)] = 3


def save_checkpoint(training: Training, path: str | os.PathLike[str]) -> None:
    """Writes all that moves in a training, for `resume` to go on from.

    That is the weights that learn, of losses too, running statistics, what the optimizer and the LR
    scheduler keep, the count of steps and the seed; and, to know it again, what the training was
    made of, of weights that do not learn a fingerprint. Two files, ``path.checkpoint.json`` and
    ``path.checkpoint.safetensors``, are written beside their targets, synced and renamed, both or
    none; modes, links and what a killed process leaves are as with `save_weights`, save that who
    reads there next finishes what was only to be renamed. Of several processes that train together
    the first writes. `train` writes its own, with ``checkpoints=``::

        best = float("inf")
        for step in train(training, batches, log_every=100):
            if step.loss < best:
                best = step.loss
                save_checkpoint(training, "best")

    Args:
        training: Which stays as it is.
        path: Where to, without a suffix. The folder must exist.

    Raises:
        NonFiniteError: A weight is nan or infinite: nothing is written.
        InvalidArgumentError: ``path`` is a folder or has no name at its end, or what is there is
            no file, or links to several places; or the LR scheduler, one of your own, holds what
            is no number, text or list of them; or ``training`` was interrupted within a step.
        MissingFileError: ``path`` is in no folder.
        WriteError: The system refuses to write there: no room, no right, too long a name.
        DtypeMismatchError: safetensors has no such dtype as one of the weights.
    """
    given = file_at(path)
    if given.is_dir():
        raise InvalidArgumentError(
            f"Expected the path of a checkpoint, got {str(given)!r}, which is a folder.",
            f"Name a checkpoint in it: {str(given / 'best')!r}.",
        )
    if session_of(training).rank == 0:
        write_to(training, where_files_point(given, (MANIFEST, WEIGHTS)))


def write_to(training: Training, stem: Path) -> None:
    """Writes a checkpoint at ``stem``, where files may be put.

    Raises:
        PurdistError: As in `save_checkpoint`.
    """
    session = session_of(training)
    progress = session.progress
    if not progress.at_rest:
        raise InvalidArgumentError(
            f"Expected a training between two steps, got one within step {progress.steps}, which "
            "may have been taken in part.",
            "Save it where train tells a step. Where one was interrupted, resume from a checkpoint "
            "from before.",
        )
    kinds = scopes.kinds(progress.scope, session.kept)
    for name, (shape, dtype) in kinds.items():
        if dtype not in DTYPES.values():
            raise DtypeMismatchError(
                f"Expected weights of the dtypes that safetensors knows, got {name} {list(shape)} "
                f"{dtype}.",
                f"They are {', '.join(DTYPES.values())}.",
            )
    check_weights(session)
    manifest = Manifest(
        VERSION,
        progress.steps,
        str(session.seed),
        state_of(progress.scheduler),
        "",
        0,
        Fingerprint.of(training),
    )
    arrays = scopes.values(progress.scope, session.kept)
    write(stem, arrays, {name: dtype for name, (_, dtype) in kinds.items()}, manifest)
