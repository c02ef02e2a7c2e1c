"""Weights on their own: into a file, out of one, and back into a dygraph layer."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import attrs
import numpy as np
import paddle
from safetensors import SafetensorError, TensorSpec, deserialize, serialize_file

from purdist import graphs, scopes
from purdist.distillation import Distillation
from purdist.errors import (
    CorruptFileError,
    DtypeMismatchError,
    MissingFileError,
    PurdistError,
    ShapeMismatchError,
    UninitializedWeightsError,
    UnknownVariableError,
    together,
)
from purdist.exporting import student_of
from purdist.program import Program
from purdist.sources.weights import held_by
from purdist.training import Training
from purdist.variables import Variable

L = TypeVar("L", bound=paddle.nn.Layer)

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


def save_weights(program: Program, path: str | os.PathLike[str]) -> None:
    """Writes the weights of a program, running statistics included, as safetensors.

    The file is written beside its target and renamed: a reader never sees half of one.

    Args:
        program: Whose weights. That of a `Training` has the weights as they are now.
        path: Where to. The folder must exist.

    Raises:
        DtypeMismatchError: The format has no such dtype as one of the weights.
    """
    for variable in map(program.variable, program.weights):
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
    target = Path(path)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        draft = Path(folder) / target.name
        serialize_file(entries, draft)
        draft.replace(target)


def load_weights(program: Program, path: str | os.PathLike[str]) -> Program:
    """The program with the weights of a safetensors file. ``program`` keeps its own.

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
    try:
        entries = dict(deserialize(path.read_bytes()))  # type: ignore[no-untyped-call]  # so it is
    except SafetensorError as error:
        raise CorruptFileError(
            f"Expected a safetensors file in {str(path)!r}, got {error}.",
            "Save the weights again: the file is cut off, damaged or of another format.",
        ) from None
    kinds = {
        name: (tuple(entry["shape"]), _DTYPES.get(entry["dtype"], entry["dtype"]))
        for name, entry in sorted(entries.items())
    }
    expected = map(program.variable, program.weights)
    faults = list(_faults(expected, kinds, f"in {str(path)!r}"))
    if faults:
        raise together(faults)
    loaded = attrs.evolve(program, scope=scopes.new_scope(), origins=(), live=False)
    for name, (shape, dtype) in kinds.items():
        array = np.frombuffer(entries[name]["data"], graphs.array_dtype(dtype)).reshape(shape)
        scopes.put(loaded.scope, name, array, program.place)
    return loaded


def to_layer(trained: Program | Distillation | Training, layer: L) -> L:
    """A new dygraph layer with the weights of a student, as they are now.

    Args:
        trained: What holds a student that came from a layer of this structure by
            `from_layer`, so that its weights are named by their paths there.
        layer: A layer of that structure. It is copied, and left as it is.

    Raises:
        UninitializedWeightsError: The student does not have all weights of the layer.
        UnknownVariableError: The layer does not have all that the student trains.
        ShapeMismatchError: A weight has another shape in the layer.
        DtypeMismatchError: A weight has another dtype in the layer.
        SeveralFaultsError: Several of these.
    """
    student = student_of(trained)
    with graphs.dynamic():
        copied = copy.deepcopy(layer)
    tensors = _tensors(copied)
    kinds = {name: (tuple(t.shape), graphs.dtype_name(t.dtype)) for name, t in tensors.items()}
    expected = [
        variable
        for variable in map(student.variable, student.weights)
        # What forward found elsewhere, such as a constant of its module, is not the layer's.
        if variable.name in tensors or variable.changes
    ]
    faults = list(_faults(expected, kinds, f"in {type(layer).__name__}"))
    if faults:
        raise together(faults)
    for name, tensor in tensors.items():
        scopes.write_into(tensor, student.scope, name)
    return copied


def _tensors(layer: paddle.nn.Layer) -> dict[str, paddle.Tensor]:
    """What ``layer`` holds by the first of its names, by which a program knows it."""
    tensors: dict[str, paddle.Tensor] = {}
    known: set[int] = set()
    for name, tensor, _ in held_by(layer):
        if id(tensor) not in known and not graphs.is_scratch(tensor):
            known.add(id(tensor))
            tensors[name] = tensor
    return tensors


def _faults(
    expected: Iterable[Variable], kinds: Mapping[str, graphs.Kind], where: str
) -> Iterator[PurdistError]:
    """How the weights ``kinds``, which are ``where``, differ from those of a program."""
    weights = {weight.name: weight for weight in expected}
    missing = [weight.spec for name, weight in weights.items() if name not in kinds]
    if missing:
        yield UninitializedWeightsError(
            f"Expected {len(weights)} weights {where}, got none for {len(missing)} of them: "
            f"{_some(missing)}.",
            "They are those of another network, or of a part of it.",
        )
    surplus = [name for name in kinds if name not in weights]
    if surplus:
        yield UnknownVariableError(
            f"Expected the weights of the program alone {where}, got {len(surplus)} more: "
            f"{_some(surplus)}.",
            "They are those of another network, or of more than the program holds.",
        )
    for name, weight in weights.items():
        if name not in kinds or kinds[name] == (weight.shape, weight.dtype):
            continue
        shape, dtype = kinds[name]
        kind = ShapeMismatchError if shape != weight.shape else DtypeMismatchError
        yield kind(
            f"Expected the weight {weight.spec} {where}, got {list(shape)} {dtype}.",
            "It is that of another network.",
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
