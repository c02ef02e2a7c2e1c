"""`train` on its way: a checkpoint after every so many steps."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import TypeVar

import attrs

from purdist.errors import PurdistError, warn
from purdist.storing import check_target, folder_beside, make_folders, telling
from purdist.training.checkpoint_files import MANIFEST, name_of, remove_before, stems_in, steps_in
from purdist.training.checkpoints import Checkpoints, write_to
from purdist.training.schedules import state_of
from purdist.training.values import Training, session_of

T = TypeVar("T")


def check_keeps(training: Training, checkpoints: Checkpoints) -> None:
    """Refuses what no checkpoint could be written of, or where none could be.

    Raises:
        InvalidArgumentError: The LR scheduler cannot be kept, or the directory can be none.
        MissingFileError: The directory is a file, or in one.
        WriteError: The system does not let see what is there.
    """
    check_target(checkpoints.directory / name_of(0), makes_folders=True)
    state_of(session_of(training).progress.scheduler)


def keeping(
    training: Training, steps: Generator[T, None, None], checkpoints: Checkpoints
) -> Generator[T, None, None]:
    """The ``steps``, with a checkpoint after every so many of them, and after the last.

    One is written too where the iterator is closed early, or something that is no step raises.

    Raises:
        PurdistError: As in `save_checkpoint`.
    """
    writer = _Writer.begin(training, checkpoints)
    try:
        with closing(steps):  # before the last is written: between two updates
            for step in steps:
                if training.steps % checkpoints.every == 0:
                    writer.write()
                yield step
    except BaseException:
        if session_of(training).progress.at_rest:
            writer.write_quietly()
        raise
    writer.write()


@attrs.define(eq=False)
class _Writer:
    """Writes the checkpoints of one call of `train`.

    Attributes:
        training: Whose.
        checkpoints: Where and how many.
        done: After how many steps the newest was written, or was tried to be, or none was due.
    """

    training: Training
    checkpoints: Checkpoints
    done: int

    @classmethod
    def begin(cls, training: Training, checkpoints: Checkpoints) -> _Writer:
        """Makes the directory, and tries whether files can be put there.

        Raises:
            PurdistError: They cannot.
        """
        make_folders(checkpoints.directory)
        later = [n for n in map(steps_in, stems_in(checkpoints.directory)) if n is not None]
        if max(later, default=0) > training.steps:
            warn(
                f"{str(checkpoints.directory)!r} holds a checkpoint of {max(later)} steps, and "
                f"this training has taken {training.steps}: resume takes the other. Begin with "
                "resume(training, directory), or choose another directory."
            )
        with folder_beside(checkpoints.directory / name_of(0)):
            writer = cls(training, checkpoints, training.steps)
        if (checkpoints.directory / f"{name_of(training.steps)}{MANIFEST}").exists():
            writer.remove_older()  # who wrote it may have been killed before
        return writer

    def write(self) -> None:
        """Writes what is not written yet.

        Raises:
            PurdistError: As in `save_checkpoint`.
        """
        steps, folder = self.training.steps, self.checkpoints.directory
        if steps == self.done:
            return
        self.done = steps
        write_to(self.training, folder / name_of(steps))
        self.remove_older()

    def remove_older(self) -> None:
        """Leaves the newest, and as many before it as stay.

        Raises:
            PurdistError: The system refuses.
        """
        folder = self.checkpoints.directory
        with telling(folder):
            remove_before(folder, self.training.steps, self.checkpoints.keep)

    def write_quietly(self) -> None:
        """The same where something else has ended the steps already."""
        try:
            self.write()
        except PurdistError as error:
            warn(f"No checkpoint was written after {self.training.steps} steps: {error}")
