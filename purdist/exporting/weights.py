"""`save_weights` and `load_weights`: weights on their own, into a file and out of one."""

from __future__ import annotations

import os
from io import BufferedReader
from pathlib import Path

import attrs

from purdist import scopes
from purdist.comparing import Holder
from purdist.errors import DtypeMismatchError, MissingFileError, together
from purdist.program import Program, internals_of
from purdist.store import Store
from purdist.storing import file_at, open_regular, replacing
from purdist.training import Training
from purdist.training.source import program_of
from purdist.weight_files import DTYPES, WeightFile, write_weights

_TOLD = 20
"""How many faults are told of a file of another network."""

_STUDENT_ALONE = "save_weights(student_of(training), ...) writes the student alone."


def save_weights(source: Program | Training, path: str | os.PathLike[str]) -> None:
    """Writes the weights of a program, running statistics included, as safetensors.

    The file is written beside its target, synced and renamed: a reader never sees half of one, and
    where it cannot be written the one that was there stays. It keeps its mode, and is then the
    writer's; a new one has the umask's. Through a symbolic link it is written where that points.
    Meanwhile a folder ``.purdist-...`` stands beside it; the next save there cleans that of a
    process that was killed.

    They are read by `load_weights`, and by any library for safetensors::

        save_weights(student_of(training), "student.safetensors")
        student = load_weights(student, "student.safetensors")

    Args:
        source: Whose weights: those of all its networks and losses. Of a `Training` they are
            written as they are now; ``student_of(training)`` has the student's alone.
        path: Where to. The folder must exist.

    Raises:
        InvalidArgumentError: ``source`` is neither, such as a `Distillation`, which never trains;
            or ``path`` is a folder, or something else that is no file, or another user's link in
            a folder that all write to.
        MissingFileError: ``path`` is in no folder.
        WriteError: The system refuses to write there: no room, no right, too long a name.
        DtypeMismatchError: The format has no such dtype as one of the weights.
    """
    program = program_of(source)
    for variable in internals_of(program).held:
        if variable.dtype not in DTYPES.values():
            raise DtypeMismatchError(
                f"Expected weights of the dtypes that safetensors knows, got {variable}.",
                f"They are {', '.join(DTYPES.values())}.",
            )
    arrays = scopes.values(program.scope, program.weights)
    dtypes = {name: program.variables[name].dtype for name in arrays}
    with replacing(file_at(path)) as draft:
        write_weights(draft, arrays, dtypes)


def load_weights(program: Program, path: str | os.PathLike[str]) -> Program:
    """The program with the weights of a safetensors file. ``program`` keeps its own.

    Every weight of the program is in the file, and nothing else::

        save_weights(teacher, "teacher.safetensors")
        teacher = load_weights(teacher, "teacher.safetensors")

    What the file says of its weights is compared before they are read, and their checksum before
    they are returned: a file of `save_weights` has one, other libraries' have none.

    Args:
        program: The network. Its weights say what the file must hold.
        path: The file.

    Raises:
        InvalidArgumentError: The path is none that a file can have.
        MissingFileError: There is no such file, or none that can be read.
        CorruptFileError: It is cut off, damaged or no safetensors file, or of a later format.
        UninitializedWeightsError: It does not hold all weights.
        UnknownVariableError: It holds what is no weight of the program.
        ShapeMismatchError: It holds a weight in another shape.
        DtypeMismatchError: It holds a weight in another dtype.
        SeveralFaultsError: Several of the last four.
    """
    path = Path(path)
    with _opened(path) as opened:
        file = WeightFile.of(opened, path)
        holder, own = Holder(f"in {str(path)!r}"), internals_of(program)
        faults = [
            *holder.faults(own.held, file.kinds),
            *holder.surplus(own.held, file.kinds, _STUDENT_ALONE),
        ]
        if faults:
            raise together(faults[:_TOLD])
        loaded = Program(attrs.evolve(own, store=Store.at(program.place), origins=(), tensors={}))
        for name, array in file.weights():
            scopes.put(loaded.scope, name, array, program.place)
    return loaded


def _opened(path: Path) -> BufferedReader:
    """A regular file to read: what is none is not waited for."""
    remedy = "Give the path that was given to save_weights, suffix included."
    try:
        number = open_regular(path)
        if number is not None:
            return os.fdopen(number, "rb")
        got = "a folder, a pipe or a device"
    except FileNotFoundError:
        got = "no such file"
    except OSError as error:
        got, remedy = str(error.strerror), "Give the path of a file that you may read."
    raise MissingFileError(f"Expected weights in {str(path)!r}, got {got}.", remedy)
