"""`export`: the student in files that Paddle Inference reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from purdist import graphs
from purdist.checking import IN_ORDER, Names
from purdist.engine import Way, Written, every_way, first_right, samples_of
from purdist.errors import InvalidArgumentError, UnknownVariableError, some, warn
from purdist.exporting.student import student_of
from purdist.program import Program, internals_of
from purdist.sources.exported import from_exported
from purdist.sources.model_files import GRAPH, OLD_GRAPH, WEIGHTS, WRITTEN, write_manifest
from purdist.storing import file_at, folder_beside, place, where_files_point
from purdist.training import Training
from purdist.training.source import program_of


def export(
    source: Program | Training,
    path: str | os.PathLike[str],
    outputs: Annotated[Names, IN_ORDER],
    *,
    check: bool = True,
) -> None:
    """Writes the student for inference: ``path.json``, ``path.pdiparams`` and ``path.manifest``.

    ``paddle.static.load_inference_model`` and ``paddle.inference`` read the first two. The graph is
    the student's in inference mode, cut to the outputs. The manifest has the format's version and a
    checksum of each, for `from_exported`, which takes files that are not of one export for
    damaged; without it they are not compared. So copy and move all three. They are written into a
    folder ``.purdist-...`` beside their targets and renamed, all or none; modes, owners, links and
    what a killed process leaves are as with `save_weights`, save that who reads there next finishes
    what was only to be renamed. Where the graph that trains cannot
    be told from it, as with ``Dropout2D``, the file says so, and `minimize` refuses to train what
    `from_exported` makes of it.

    What is written comes back by `from_exported`::

        export(training, "student", ["logits"])
        network = from_exported("student")

    Args:
        source: What holds a student, with its weights as they are now.
        path: Where to, without a suffix. The folder must exist.
        outputs: The student's variables to put out, in order, each once.
        check: Run what was written in Paddle Inference as it is by default, on random inputs in a
            child process, and warn if it computes something else than the student, with the
            setting that is right. It takes 3 s once in a process, and after that about as long
            as to make a predictor and run the student three times.

    Warns:
        PurdistWarning: Paddle Inference needs a setting to compute the student.

    Raises:
        UnknownVariableError: An output is none of the student's variables.
        InvalidArgumentError: ``source`` is neither, such as a `Distillation`, which never trains;
            or there are no outputs, or one stands twice; or ``path`` has no name or a model's
            suffix at its end, or what is there is no file, or links to several places.
        MissingFileError: ``path`` is in no folder.
        WriteError: The system refuses to write there: no room, no right, too long a name.
    """
    student = student_of(source)
    outputs = tuple(outputs)
    _check_outputs(student, source, outputs)
    given = file_at(path)
    _check_bare(given)
    target = where_files_point(given, WRITTEN)
    with folder_beside(target) as folder:
        written = Written.write(student, outputs, folder / target.name)
        _note_training(written, student)
        found = first_right(written, every_way(), samples_of(student, outputs)) if check else None
        write_manifest(written.path)
        weights = f"{target.name}{WEIGHTS}"
        # For outputs that need no weights Paddle neither writes nor wants a file.
        gone = None if (folder / weights).exists() else target.parent / weights
        place(folder, target.parent, without=gone)
    if found:
        _warn(given, *found)


def _check_bare(path: Path) -> None:
    if path.suffix in (*WRITTEN, OLD_GRAPH):
        bare = str(path.with_suffix(""))
        raise InvalidArgumentError(
            f"Expected a path without the suffix of a model's file, got {str(path)!r}.",
            f"Write {bare!r}: the files are {bare + GRAPH!r} and {bare + WEIGHTS!r}.",
        )


def _note_training(written: Written, student: Program) -> None:
    """Notes in the file what of ``student`` trains otherwise than what is read of the file."""
    own = graphs.unsafe_operations(student.graph)  # the user's, who was told of them
    read = from_exported(written.path, place=student.place, allow_ops=own)
    with graphs.building():
        otherwise = graphs.noted_otherwise(student.graph)
        found = graphs.trained_otherwise(
            internals_of(student).modes.training, internals_of(read).modes.training, written.names
        )
        if found:
            otherwise.append(some(found))
        if otherwise:
            graphs.note_in_file(Path(f"{written.path}{GRAPH}"), "; ".join(otherwise))


def _warn(target: Path, way: Way | None, fault: str) -> None:
    if not fault:
        return
    if way is None:
        remedy = (
            "No setting is known that helps: run it with paddle.static.load_inference_model and an "
            "Executor."
        )
    else:
        remedy = "Before paddle.inference.create_predictor(config), write " + "; ".join(
            way.settings
        )
    warn(
        f"Expected Paddle Inference to compute {str(target)!r} as the student does, got, as its "
        f"Config is by default: {fault.rstrip('.')}.\n{remedy}"
    )


def _alone(source: Program | Training, outputs: Sequence[str]) -> str:
    """How to export the one network whose ``outputs`` all are, '' if it cannot be."""
    variables = program_of(source).variables
    known = [variables[name] for name in outputs if name in variables]
    prefix = next((v.network for v in known if v.owner in ("teacher", "peer")), None)
    if not prefix or not all(v.network == prefix and v.owner != "loss" for v in known):
        return ""
    own = ", ".join(f'"{name.removeprefix(prefix)}"' for name in outputs)
    holder = type(source).__name__.lower()
    network = f'student_of({holder}, name_prefix="{prefix}")'
    return f"Only the student is exported. For that network write export({network}, path, [{own}])."


def _check_outputs(student: Program, source: Program | Training, outputs: Sequence[str]) -> None:
    variables = program_of(source).variables
    if not outputs:
        raise InvalidArgumentError(
            f"Expected a list of at least one output, got {outputs!r}.",
            "Name a variable of the student.",
        )
    others = [name for name in outputs if name in variables.keys() - student.variables]
    if others:
        raise UnknownVariableError(
            "Expected variables of the student, got "
            + ", ".join(f"{name!r} (owner: {variables[name].owner})" for name in others)
            + ".",
            _alone(source, outputs)
            or "Only the student is exported. print(student_of(...)) lists its variables.",
        )
    own = internals_of(student)
    own.check_fetch(outputs, own.modes.inference, "inference")
    values = [own.modes.inference.values[name].id for name in outputs]
    twice = [name for k, name in enumerate(outputs) if values[k] in values[:k]]
    if twice:
        raise InvalidArgumentError(
            f"Expected each output once, got {twice[0]!r}, which stands among the outputs already, "
            "by this or another name.",
            "Name it once; Paddle Inference fails on the same value twice.",
        )
