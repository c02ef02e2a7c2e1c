"""`student_of` and `export`: the student on its own again, in memory and on disk."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

from purdist.cutting import part, without_prefix
from purdist.distillation import Distillation
from purdist.engine import Way, Written, every_way, first_right, samples_of
from purdist.errors import InvalidArgumentError, PurdistWarning, UnknownVariableError
from purdist.program import Program
from purdist.training import Training


def student_of(
    trained: Program | Distillation | Training, *, name_prefix: str | None = None
) -> Program:
    """The bare student: no teacher, no loss, no optimizer; its weights as they are now.

    Args:
        trained: What holds a student: a merged program, what `apply` or `minimize` made of
            it, or a network that is a student already.
        name_prefix: Another network instead, such as a peer: that of this prefix, under its own
            names, with its own inputs fed again. Two that were mapped to one variable are one.

    Returns:
        A program with weights of its own: training on does not reach it.

    Raises:
        InvalidArgumentError: No network has that prefix, or nothing is left of it.
    """
    source = trained if isinstance(trained, Program) else trained.program
    if name_prefix is None:
        own = [name for name, variable in source.variables.items() if variable.owner == "student"]
        # `names`: a teacher's input that reads a student's variable is a second name of that.
        return part(source, own, names=own)
    if name_prefix not in source.teachers + source.peers:
        there = ", ".join(map(repr, source.teachers + source.peers)) or "none"
        raise InvalidArgumentError(
            f"Expected the prefix of a network of the program, got {name_prefix!r}.",
            f"There are {there}. Leave name_prefix out for the student.",
        )
    own = [name for name, v in source.variables.items() if v.network == name_prefix]
    others = {source.variables[n].given_name for n in source.weights if n not in own}
    alone = part(source, own, _mapped(source, own), names=own)
    return without_prefix(alone, name_prefix, others)


def _mapped(source: Program, own: Sequence[str]) -> list[str]:
    """The inputs of the network ``own`` that read what another network computes or is fed."""
    inputs: dict[str, str] = {}
    computed: set[str] = set()
    for name in own:
        variable = source.variables[name]
        modes = source.modes
        graph = modes.inference if name in modes.inference.values else modes.training
        value = graph.values[name].id
        if variable.is_mapped_input:
            inputs.setdefault(value, name)
        else:
            computed.add(value)
    return [name for value, name in inputs.items() if value not in computed]


def export(
    trained: Program | Distillation | Training,
    path: str | os.PathLike[str],
    outputs: Sequence[str],
    *,
    check: bool = True,
) -> None:
    """Writes the student for inference: ``path.json`` and ``path.pdiparams``.

    ``paddle.static.load_inference_model`` and ``paddle.inference`` read them. The graph is
    the student's in inference mode, cut to the outputs. The files are written beside their
    targets and renamed, so that a reader never sees half of one.

    Args:
        trained: What holds a student.
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
        InvalidArgumentError: There are no outputs, or one stands twice.
    """
    student = student_of(trained)
    _check_outputs(student, trained if isinstance(trained, Program) else trained.program, outputs)
    target = Path(path)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        written = Written.write(student, outputs, Path(folder) / target.name)
        found = first_right(written, every_way(), samples_of(student, outputs)) if check else None
        # The weights first: a new graph never stands beside weights it may not fit.
        for suffix in (".pdiparams", ".json"):
            draft = Path(f"{written.path}{suffix}")
            if draft.exists():
                draft.replace(f"{target}{suffix}")
            else:  # outputs that need no weights: Paddle neither writes nor wants a file
                Path(f"{target}{suffix}").unlink(missing_ok=True)
    if found:
        _warn(target, *found)


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
    warnings.warn(
        f"Expected Paddle Inference to compute {target} as the student does, got, as its Config is "
        f"by default: {fault}.\n{remedy}",
        PurdistWarning,
        stacklevel=3,
    )


def _check_outputs(student: Program, source: Program, outputs: Sequence[str]) -> None:
    if isinstance(outputs, str) or not outputs:
        raise InvalidArgumentError(
            f"Expected a list of at least one output, got {outputs!r}.",
            f"Write outputs=[{outputs!r}]." if outputs else "Name a variable of the student.",
        )
    others = [name for name in outputs if name in source.variables.keys() - student.variables]
    if others:
        raise UnknownVariableError(
            "Expected variables of the student, got "
            + ", ".join(f"{name!r} (owner: {source.variables[name].owner})" for name in others)
            + ".",
            "Only the student is exported. print(student_of(...)) lists its variables.",
        )
    student.check_fetch(outputs, student.modes.inference, "inference")
    values = [student.modes.inference.values[name].id for name in outputs]
    twice = [name for k, name in enumerate(outputs) if values[k] in values[:k]]
    if twice:
        raise InvalidArgumentError(
            f"Expected each output once, got {twice[0]!r}, which stands among the outputs already, "
            "by this or another name.",
            "Name it once; Paddle Inference fails on the same value twice.",
        )
