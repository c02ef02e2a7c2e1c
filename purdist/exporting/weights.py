"""`save_weights` and `load_weights`: weights on their own, into a file and out of one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path

import attrs

from purdist import scopes
from purdist.errors import DtypeMismatchError, MissingFileError
from purdist.exporting.taking import Taking
from purdist.program import Program, internals_of
from purdist.store import Store
from purdist.storing import file_at, open_regular, replacing
from purdist.training import Training
from purdist.training.source import program_of
from purdist.weight_files import DTYPES, WeightFile, write_weights


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


def load_weights(
    program: Program,
    path: str | os.PathLike[str],
    *,
    partial: bool = False,
    names: Mapping[str, str] | None = None,
) -> Program:
    """The program with the weights of a safetensors file. ``program`` keeps its own.

    Every weight of the program is in the file, and nothing else::

        save_weights(teacher, "teacher.safetensors")
        teacher = load_weights(teacher, "teacher.safetensors")

    What fits is taken of the file of another network, such as a backbone under another head, and
    a warning tells what was left::

        student = load_weights(student, "pretrained.safetensors", partial=True)

    A student of two layers begins with the first and the third of its teacher's::

        layers = {"layers.0.": "layers.0.", "layers.1.": "layers.2."}
        names = {
            name: name.replace(own, theirs)
            for name in student.weights
            for own, theirs in layers.items()
            if name.startswith(own)
        }
        student = load_weights(student, "teacher.safetensors", names=names)

    What the file says of its weights is compared before they are read, and their checksum before
    they are returned: a file of `save_weights` has one, other libraries' have none.

    Args:
        program: The network. Its weights say what the file must hold. Those that are not taken
            from it stay what they are.
        path: The file.
        partial: Take the weights whose name, shape and dtype are in the file, and leave the rest.
        names: Weight of the program -> its name in the file. No others are taken, and what else
            the file holds is of no matter.

    Raises:
        InvalidArgumentError: The path is none that a file can have.
        MissingFileError: There is no such file, or none that can be read.
        CorruptFileError: It is cut off, damaged or no safetensors file, or of a later format.
        UninitializedWeightsError: It does not hold all weights; or, if ``partial``, none that
            fits.
        UnknownVariableError: It holds what is no weight of the program; or ``names`` has what is
            none.
        ShapeMismatchError: It holds a weight in another shape.
        DtypeMismatchError: It holds a weight in another dtype.
        SeveralFaultsError: Several of the last four.

    Warns:
        PartialWeightsWarning: ``partial`` left something.
    """
    path, own = Path(path), internals_of(program)
    with _opened(path) as opened:
        file = WeightFile.of(opened, path)
        taking = Taking.of(own, path, file.kinds, names)
        taken = taking.part() if partial else taking.whole()
        store = Store.at(program.place)
        own.store.hand_to(store, [weight for weight in own.held if weight.name not in taken])
        for place, array in file.weights({*taken.values()}):
            for name in (name for name, found in taken.items() if found == place):
                scopes.put(store.scope, name, array, program.place)
    return Program(attrs.evolve(own, store=store, origins=(), tensors={}))


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
