"""`save_weights` and `load_weights`: weights on their own, into a file and out of one."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import numpy as np
from safetensors import SafetensorError, TensorSpec, deserialize, serialize_file

from purdist import graphs, scopes
from purdist.comparing import Holder
from purdist.errors import (
    DtypeMismatchError,
    MissingFileError,
    together,
)
from purdist.exporting.source import program_of
from purdist.program import Program
from purdist.sources.misplaced import no_safetensors
from purdist.store import Store
from purdist.storing import replacing
from purdist.training import Training

_DTYPES = {
    "BOOL": "bool",
    "I8": "int8",
    "U8": "uint8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
}


def save_weights(source: Program | Training, path: str | os.PathLike[str]) -> None:
    """Writes the weights of a program, running statistics included, as safetensors.

    The file is written beside its target, synced and renamed: a reader never sees half of one, and
    where it cannot be written the one that was there stays. It keeps its mode; a new one has the
    umask's. Through a symbolic link it is written where that points.

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
    for variable in program.held:
        if variable.dtype not in _DTYPES.values():
            raise DtypeMismatchError(
                f"Expected weights of the dtypes that safetensors knows, got {variable.spec}.",
                f"They are {', '.join(_DTYPES.values())}.",
            )
    arrays = scopes.values(program.scope, program.weights)
    entries = {
        name: TensorSpec(
            dtype=program.variables[name].dtype,
            shape=array.shape,
            data_ptr=array.ctypes.data,
            data_len=array.nbytes,
        )
        for name, array in arrays.items()
    }
    with replacing(Path(path)) as draft:
        serialize_file(entries, draft)


def load_weights(program: Program, path: str | os.PathLike[str]) -> Program:
    """The program with the weights of a safetensors file. ``program`` keeps its own.

    Every weight of the program is in the file, and nothing else::

        save_weights(teacher, "teacher.safetensors")
        teacher = load_weights(teacher, "teacher.safetensors")

    Args:
        program: The network. Its weights say what the file must hold.
        path: The file.

    Raises:
        MissingFileError: There is no such file.
        CorruptFileError: It is cut off, damaged or no safetensors file.
        UninitializedWeightsError: It does not hold all weights.
        UnknownVariableError: It holds what is no weight of the program.
        ShapeMismatchError: It holds a weight in another shape.
        DtypeMismatchError: It holds a weight in another dtype.
        SeveralFaultsError: Several of the last four.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(
            f"Expected weights in {str(path)!r}, got no such file.",
            "Give the path that was given to save_weights, suffix included.",
        )
    content = path.read_bytes()
    try:
        entries = dict(deserialize(content))  # type: ignore[no-untyped-call]  # so it is
    except SafetensorError as error:
        raise no_safetensors(path, content, error) from None
    kinds = {
        name: (tuple(entry["shape"]), _DTYPES.get(entry["dtype"], entry["dtype"]))
        for name, entry in sorted(entries.items())
    }
    file = Holder(f"in {str(path)!r}")
    faults = [*file.faults(program.held, kinds), *file.surplus(program.held, kinds)]
    if faults:
        raise together(faults)
    loaded = attrs.evolve(program, store=Store.at(program.place), origins=(), tensors={})
    for name, (shape, dtype) in kinds.items():
        array = np.frombuffer(entries[name]["data"], graphs.array_dtype(dtype)).reshape(shape)
        scopes.put(loaded.scope, name, array, program.place)
    return loaded
