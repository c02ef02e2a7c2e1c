"""The teacher as a stage of its own, ahead of the student's step.

A teacher's ops reach the rest of a program at a few variables, those that the losses
listen to. Cut there, it is a program of its own, and Paddle Inference may run it with
fusions and kernels that a training program cannot use.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import paddle
from paddle import inference

from purdist import pir
from purdist.cutting import part
from purdist.errors import EngineError, InvalidArgumentError
from purdist.program import Feed, Program, Stage


def listened(program: Program) -> tuple[str, ...]:
    """The activations of teachers that anything else reads, in program order.

    A weight that is read, and what is computed from weights alone, is the same for every batch:
    that stays with who reads it.
    """
    values = program.training.values
    others = {
        values[n].id for n, v in program.variables.items() if v.owner != "teacher" and n in values
    }
    names = {
        values[name].id: name
        for name, variable in program.variables.items()
        if name in values
        and name == variable.name
        and (variable.owner, variable.role) == ("teacher", "activation")
        and values[name].id not in others  # a mapped input is the student's variable
    }
    theirs: set[int] = set()
    read: set[str] = set()
    for op in reversed(list(pir.operations(program.graph))):
        if _is_teachers(op, names, theirs):
            theirs.add(op.id())
        else:
            read |= pir.read_ids([op])
    read &= _fed(program)
    return tuple(name for identity, name in names.items() if identity in read)


def _fed(program: Program) -> set[str]:
    """The ids of the values of the graph that trains that depend on a feed."""
    fed: set[str] = set()
    for op in pir.operations(program.graph):
        if pir.is_feed(op) or not fed.isdisjoint(pir.read_ids([op])):
            fed |= pir.value_ids([op])
    return fed


def _is_teachers(op: pir.Operation, names: Collection[str], theirs: Collection[int]) -> bool:
    results = [v for v in op.results() if pir.identity(v)]
    if any(v.id in names for v in results):
        return True
    # A list of tensors has no name: it is whose it serves.
    lists = [v for v in results if not pir.is_tensor(v)]
    return any(user.id() in theirs for v in lists for user in v.all_used_ops())


def teacher_of(program: Program) -> tuple[tuple[str, ...], Program]:
    """The variables that losses listen to, and the part of ``program`` that computes them.

    Raises:
        InvalidArgumentError: There is no teacher, or it reads what the student learns.
    """
    names = listened(program)
    if not names:
        raise InvalidArgumentError(
            "Expected a program whose losses listen to a teacher, got one without.",
            "Merge a teacher into it first, or train it as it is.",
        )
    teacher = part(program, names)
    learning = [v.spec for v in teacher.variables.values() if v.changes]
    if learning:
        raise InvalidArgumentError(
            f"Expected a teacher that reads feeds alone, got one that reads what the student "
            f"computes with {', '.join(learning[:3])}{', ...' if len(learning) > 3 else ''}, which "
            "training changes.",
            "Train with teacher='graph', without a cache.",
        )
    return names, teacher


def without_teacher(program: Program) -> tuple[str, ...]:
    """The names of all that is left of ``program`` once its teachers are cut out."""
    return tuple(name for name, v in program.variables.items() if v.owner != "teacher")


def make_stage(program: Program) -> Stage:
    """The teachers of ``program``, compiled by Paddle Inference.

    Raises:
        InvalidArgumentError: There is no teacher, or it reads what the student learns.
        EngineError: Paddle Inference does not take it.
    """
    names, teacher = teacher_of(program)
    try:
        predictor = _predictor(teacher, names)
    except (RuntimeError, ValueError) as error:
        raise _refused(error) from error
    feeds = frozenset(predictor.get_input_names())

    def compute(feed: Feed) -> dict[str, npt.NDArray[Any]]:
        for name in feeds:
            predictor.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(feed[name]))
        try:
            with pir.freeing_in_bulk():
                predictor.run()
        except (RuntimeError, ValueError) as error:
            raise _refused(error) from error
        outputs = map(predictor.get_output_handle, predictor.get_output_names())
        return {name: out.copy_to_cpu() for name, out in zip(names, outputs, strict=True)}

    return Stage(names, feeds, compute)


def _predictor(teacher: Program, names: tuple[str, ...]) -> inference.Predictor:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "teacher"
        with pir.building():
            pir.save_inference(teacher.inference, names, path, teacher.scope)
        config = inference.Config(f"{path}.json", f"{path}.pdiparams")
        config.disable_glog_info()
        if isinstance(teacher.place, paddle.CUDAPlace):
            config.enable_use_gpu(256, teacher.place.get_device_id())
        else:
            config.disable_gpu()
            config.enable_mkldnn()
        return inference.create_predictor(config)


def _refused(error: Exception) -> EngineError:
    return EngineError(
        f"Expected Paddle Inference to take the teacher, got: {str(error).strip()}",
        "Use teacher='graph', which runs it beside the student.",
    )
