"""An example by purdist."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle
from paddle import nn
from paddle.utils import unique_name

import purdist
from tests.adversarial import whole
from tests.adversarial.by_hand import feeds, layers
from tests.adversarial.examples import OPTIMIZERS, ROWS, Event, Example, Origin
from tests.adversarial.formulas import LOSSES
from tests.adversarial.networks import Net
from tests.adversarial.parts import train
from tests.adversarial.reference import (
    Arrays,
    Reference,
    close,
    trained_alike,
)
from tests.nets import Array, old_form


def entered(
    net: Net, layer: nn.Layer, origin: Origin, feed: str, dtype: str
) -> tuple[purdist.Program, dict[str, str]]:
    """A network as a program; and the layer's names of weights -> the program's."""
    train(layer)
    spec = net.spec(feed, dtype)
    if origin == "layer":
        program = purdist.from_layer(layer, {feed: spec})
        return program, names_in(program, layer)
    if origin in ("static", "old"):
        return built_statically(net, layer, feed, dtype, old=origin == "old")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model"
        if origin == "file":
            program = purdist.from_layer(layer, {feed: spec})
            purdist.export(program, path, ["output.0", "output.1"], check=False)
        else:
            layer.eval()
            paddle.jit.save(layer, str(path), input_spec=[spec])
        program = purdist.from_exported(path)
    return program, names_in(program, layer)


def built_statically(
    net: Net, layer: nn.Layer, feed: str, dtype: str, *, old: bool
) -> tuple[purdist.Program, dict[str, str]]:
    """The same network as a static program, with the layer's weights in a scope."""
    scope = paddle.static.Scope()
    paddle.enable_static()
    try:
        with contextlib.ExitStack() as stack:
            if old:
                stack.enter_context(old_form())
            main, startup = paddle.static.Program(), paddle.static.Program()
            stack.enter_context(paddle.static.program_guard(main, startup))
            stack.enter_context(unique_name.guard())
            made = net.layer(0, dtype)
            train(made)
            outputs = made(paddle.static.data(feed, [None, *net.shape], dtype))
            paddle.static.Executor().run(startup, scope=scope)
        names = {name: value.name for name, value in made.state_dict().items()}
        for name, value in layer.state_dict().items():
            scope.var(names[name]).get_tensor().set(np.array(value), paddle.CPUPlace())
        answers = {f"output.{k}": value for k, value in enumerate(outputs)}
        return purdist.from_static(main, scope=scope, names=answers), names
    finally:
        paddle.disable_static()


def names_in(program: purdist.Program, layer: nn.Layer) -> dict[str, str]:
    """The layer's names of weights -> the program's."""
    known = set(program.weights)
    found = {name: name for name in layer.state_dict() if name in known}
    for name, value in layer.state_dict().items():
        if name not in found and value.name in known:
            found[name] = value.name
    return found


def by_purdist(example: Example, expected: Reference, answers: list[Array]) -> None:
    """Trains with purdist, and compares as it goes."""
    teacher_layer, student_layer = layers(example)
    origins, dtype = example.origins, example.dtype
    teacher, _ = entered(example.teacher, teacher_layer, origins[0], "photo", dtype)
    student, names_of = entered(example.student, student_layer, origins[1], "x", dtype)
    merged = purdist.merge(teacher, student, {"photo": "x"})
    names = ("teacher_output.0", "output.0", "teacher_output.1", "output.1")
    specs = [LOSSES[name][1](*names) for name in example.losses]

    def started(network: purdist.Program) -> tuple[purdist.Training, list[Arrays]]:
        return start(example, purdist.apply(network, specs))

    training, fed = started(merged)
    losses = []
    for step, feed in enumerate(fed):
        known = {*training.program.inputs, "teacher_sample"}
        needed = {name: array for name, array in feed.items() if name in known}
        losses += [step.loss for step in purdist.train(training, [needed])]
        for event in example.between[step : step + 1]:
            training = happened(
                event,
                training,
                lambda program: started(purdist.merge(teacher, program, {"photo": "x"}))[0],
                student,
                example,
            )
    trained_alike(training, losses, expected, names_of)
    fetched = purdist.student_of(training).run({"x": fed[0]["x"]}, ["output.0", "output.1"])
    for k, wanted in enumerate(answers):
        close(fetched[f"output.{k}"], wanted, f"answer {k} of the trained student")


def start(
    example: Example, distillation: purdist.Distillation
) -> tuple[purdist.Training, list[Arrays]]:
    """The training, and its feeds."""
    fed: list[Arrays] = list(feeds(example))
    optimizer = OPTIMIZERS[example.optimizer]
    if example.way != "cache":
        return purdist.minimize(distillation, optimizer, teacher=example.way), fed
    folder = tempfile.TemporaryDirectory()
    cache = purdist.cache_teacher(
        distillation, [{"x": feed["x"]} for feed in fed], Path(folder.name) / "cache"
    )
    training = purdist.minimize(distillation, optimizer, teacher=cache)
    weakref.finalize(training, folder.cleanup)  # its blocks are read in the steps
    sampled: list[Arrays] = [
        {**feed, "teacher_sample": np.arange(k * ROWS, (k + 1) * ROWS)}
        for k, feed in enumerate(fed)
    ]
    return training, sampled


def happened(
    event: Event,
    training: purdist.Training,
    again: Callable[[purdist.Program], purdist.Training],
    student: purdist.Program,
    example: Example,
) -> purdist.Training:
    """What happens between two steps; the training to go on with."""
    sample = {"x": example.student.samples(2, 99, example.dtype)}
    if event == "run":
        bare = purdist.student_of(training)
        bare.run(sample, ["output.0"])
    elif event == "student_of":
        purdist.student_of(training).run({}, student.weights)
    elif event == "another":
        another_training()
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "kept"
            if event == "export":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    purdist.export(training, path, ["output.0"])
            else:
                purdist.save_weights(purdist.student_of(training), path)
                return again(purdist.load_weights(student, path))
    return training


def another_training() -> None:
    """Some other trainings, with maps in both formats, their teachers in the engine."""
    made = [
        nn.Sequential(whole.nn.Conv2D(2, 3, 3, data_format=format), nn.ReLU(), nn.Flatten())
        for format in ("NCHW", "NHWC")  # noqa: A001
    ]
    for layer, sizes in zip(made, ([2, 5, 5], [5, 5, 2]), strict=True):
        dtype = paddle.get_default_dtype()
        student, teacher = (
            purdist.from_layer(layer, [paddle.static.InputSpec([None, *sizes], dtype, name)])
            for name in "xt"
        )
        merged = purdist.merge(teacher, student, {"t": "x"})
        distilled = purdist.apply(merged, [purdist.L2Loss("teacher_output", "output")])
        with contextlib.suppress(purdist.EngineError):
            training = purdist.minimize(distilled, OPTIMIZERS["sgd"], teacher="inference")
            list(purdist.train(training, [{"x": np.ones((2, *sizes), dtype)}] * 2))
