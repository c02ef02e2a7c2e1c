"""`from_exported`: a model on disk as a network."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeVar

from purdist import graphs, scopes
from purdist.checking import Names
from purdist.errors import CorruptFileError, PurdistError, last_line
from purdist.program import Program
from purdist.sources import legacy, other_mode
from purdist.sources.model_files import ModelFiles
from purdist.sources.static import enter

T = TypeVar("T")


def from_exported(
    path: str | os.PathLike[str],
    *,
    place: graphs.Place | str | None = None,
    allow_ops: Names = (),
) -> Program:
    """A network from what ``paddle.jit.save``, ``save_inference_model`` or `export` wrote.

    Both forms are read: ``path.json`` with ``path.pdiparams``, and the old ``path.pdmodel``
    with ``path.pdiparams``, whose variable names are all kept. Feeds and weights have the names
    they have in the file. An output has the name it was exported under; where Paddle made that
    up (``fetch_name_0``), and in the old form, it is ``output``, too, or ``output.0``, ... if
    there are several.

    The file holds the graph that infers; the one that trains is derived from it. The weights
    learn that learned when it was written: buffers, and what was frozen, do not. Where the file
    says so of none, all floating-point ones learn, running statistics apart. Dropout drops again
    where the file has its op, as that of a layer in eval mode does, and a batch norm gathers
    statistics again, unless it takes those of the batch as it infers, too. What a layer computes
    in training alone is in no file: ``Dropout2D``, the power iteration of ``spectral_norm``, the
    moving scale of a quantiser, or that a batch norm was to stay with the statistics it has
    (``use_global_stats=True``). `export` finds out whether there is such, and notes it in the file:
    `minimize` takes what is read of it as a teacher, and refuses it as a network that learns.
    Paddle's own files tell nothing of it: what they leave out stays out.

    A layer that Paddle saved, as a teacher::

        paddle.jit.save(layer, "teacher", input_spec=[InputSpec([None, 6], name="y")])
        teacher = from_exported("teacher")
        merged = merge(teacher, student, {"y": "x"})

    What `export` wrote is compared with the checksums in its manifest: a file that was changed, or
    is of another export, is refused. Paddle's own files have none.

    A model may be a stranger's: it is refused if it has an op that does more than compute, in a
    branch, too, or if Paddle would not survive its reading. What it computes is its author's.

    Args:
        path: Where it is, without a suffix.
        place: Where the program is kept and runs, Paddle's current place by default.
        allow_ops: Ops that the model may have all the same (``["pd_op.print"]``), for who knows
            who wrote it.

    Raises:
        MissingFileError: There is no such model that can be read, or there are no weights beside
            it.
        UnsafeModelError: It has ops that save, load, print, send or run code, or that this
            purdist does not know.
        CorruptFileError: A file is cut off, damaged, of another or a later format, or was not
            written with the others, or the weights are not those of the graph.
        WriteError: There is no room in the temporary folder, through which Paddle reads.
        RandomInferenceError: The network draws random numbers as it infers.
        InvalidArgumentError: It writes a buffer inside a while or if region.
    """
    path = os.fspath(path)
    place = graphs.place_of(place)
    with graphs.building():
        try:
            return _entered(path, place, allow_ops)
        except PurdistError:
            raise
        except Exception as error:  # whatever Paddle raises of what others wrote
            said = last_line(error)
            raise CorruptFileError(
                f"Expected a model at {path!r}, got one that cannot be read: "
                f"{type(error).__name__}: {said}.",
                "Export the model again: the file is damaged, or another Paddle wrote it.",
            ) from error


def _entered(path: str, place: graphs.Place, allow_ops: Names) -> Program:
    with ModelFiles.of(path) as files:
        read = _read_old if files.is_old else _read_current
        source, inner, kinds = read(files, allow_ops)
        scope = scopes.new_scope()
        for name, array in files.weights(kinds):
            scopes.put(scope, name, array, place)
    modes = other_mode.derived_from_inference(source)
    return enter(modes, scope, place, share=True, inner=inner)


_Read: TypeAlias = tuple[graphs.Draft, frozenset[str], Mapping[str, graphs.Kind]]
"""The graph, the names inside its regions, and what its weights should be."""


def _read_current(files: ModelFiles, allow_ops: Names) -> _Read:
    program = graphs.read_program(files.graph(), files.path, allow_ops)
    draft = graphs.declare_once(graphs.Graph(program, {}))
    own = graphs.own_names(draft.operations())
    fetched = graphs.fetched(draft.program)
    given = {name: value for name, value in fetched if name not in own}
    if all(re.fullmatch(r"fetch_name_\d+", name) for name, _ in fetched):
        given = {**_numbered([value for _, value in fetched]), **given}
    kinds = {
        name: (tuple(value.shape), graphs.dtype_name(value.dtype))
        for name, value in own.items()
        if graphs.is_parameter(value) and value.persistable
    }
    draft.values = graphs.made_names(draft.operations(), given)
    return draft, frozenset(), kinds


def _read_old(files: ModelFiles, allow_ops: Names) -> _Read:
    model = graphs.read_old_model(files.graph(), files.path, allow_ops)
    variables = model.program.blocks[0].vars
    names = {name: variables[old] for name, old in _numbered(model.outputs).items()}
    return *legacy.translate_model(model, names), model.weights


def _numbered(outputs: Sequence[T]) -> dict[str, T]:
    if len(outputs) == 1:
        return {"output": outputs[0]}
    return {f"output.{k}": output for k, output in enumerate(outputs)}
