"""One example of the fuzzer: a distillation run by purdist, and by hand in dygraph."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import attrs
import numpy as np
import paddle
from hypothesis import strategies as st
from paddle import nn
from paddle.utils import unique_name

import purdist
from tests.adversarial import whole
from tests.adversarial.formulas import LOSSES, ON_MAPS
from tests.adversarial.networks import NOT_OLD, Net, Part, Same, Zoo, pieces, shapes, train
from tests.adversarial.reference import (
    Arrays,
    DiffersError,
    Reference,
    close,
    near,
    trained,
    trained_alike,
)
from tests.nets import Array, old_form

Door: TypeAlias = Literal["layer", "static", "old", "file", "jit"]
Way: TypeAlias = Literal["graph", "inference", "cache"]
Event: TypeAlias = Literal["run", "student_of", "weights", "another", "export"]

ROWS = 3
STEPS = 3
SEED = 11


@attrs.frozen
class Example:
    """What is trained, and how.

    Attributes:
        teacher: The teacher.
        student: The student.
        losses: Of `LOSSES`.
        optimizer: Of `OPTIMIZERS`.
        way: Where the teacher computes.
        doors: By which teacher and student come in.
        between: What happens before the second step, and before the third.
        dtype: Of all numbers.
    """

    teacher: Net
    student: Net
    losses: tuple[str, ...] = ("kd",)
    optimizer: str = "sgd"
    way: Way = "graph"
    doors: tuple[Door, Door] = ("layer", "layer")
    between: tuple[Event, ...] = ()
    dtype: str = "float32"


RATE = 0.05
OPTIMIZERS: Mapping[str, Callable[..., paddle.optimizer.Optimizer]] = {
    "sgd": lambda **p: paddle.optimizer.SGD(RATE, **p),
    "momentum": lambda **p: paddle.optimizer.Momentum(RATE, 0.8, **p),
    "adam": lambda **p: paddle.optimizer.Adam(RATE / 5, epsilon=1e-2, **p),
    "adamw": lambda **p: paddle.optimizer.AdamW(
        RATE / 5, epsilon=1e-2, weight_decay=0.1, grad_clip=nn.ClipGradByGlobalNorm(0.5), **p
    ),
    "scheduled": lambda **p: paddle.optimizer.SGD(
        whole.paddle.optimizer.lr.ExponentialDecay(RATE, 0.5), **p
    ),
    "decayed": lambda **p: paddle.optimizer.Momentum(
        RATE,
        weight_decay=paddle.regularizer.L2Decay(0.1),
        grad_clip=whole.nn.ClipGradByNorm(0.2),
        **p,
    ),
}


# --- by hand ----------------------------------------------------------------------------


def feeds(example: Example) -> list[dict[str, Array]]:
    """A batch for each step."""
    return [
        {
            "x": example.student.samples(ROWS, step, example.dtype),
            "label": np.random.RandomState(step).randint(0, example.student.classes, ROWS),
        }
        for step in range(STEPS)
    ]


def by_hand(example: Example, *, nudge: float = 0.0) -> tuple[Reference, list[Array]]:
    """What dygraph trains, and what the trained student answers.

    Args:
        example: What is trained.
        nudge: How far each number of what is fed and put out is moved, relative to itself.
    """
    teacher, student = layers(example)
    teacher.eval()
    renewed = [k for k, event in enumerate(example.between) if event == "weights"]
    losses = _losses(example, teacher, student, Nudge(nudge))
    reference = trained(student, losses, OPTIMIZERS[example.optimizer], renewed)
    student.eval()
    answers = student(paddle.to_tensor(feeds(example)[0]["x"]))
    return reference, [np.array(answer) for answer in answers]


def _losses(
    example: Example, teacher: nn.Layer, student: nn.Layer, nudged: Nudge
) -> Iterator[paddle.Tensor]:
    for feed in feeds(example):
        train(student)
        x = nudged(paddle.to_tensor(feed["x"]))
        with paddle.no_grad():
            taught = dict(zip(("logits", "features"), map(nudged, teacher(x)), strict=True))
        got = dict(zip(("logits", "features"), map(nudged, student(x)), strict=True))
        got["label"] = paddle.to_tensor(feed["label"])
        loss: Any = sum(LOSSES[name][0](taught, got) for name in example.losses)
        yield loss


class Nudge:
    """Moves each number of a tensor, as rounding might."""

    def __init__(self, by: float) -> None:
        self.by, self._random = by, np.random.RandomState(SEED)

    def __call__(self, value: paddle.Tensor) -> paddle.Tensor:
        if not self.by:
            return value
        moved = 1 + self.by * self._random.standard_normal(value.shape)
        return value * paddle.to_tensor(moved, value.dtype)


def layers(example: Example) -> tuple[nn.Layer, nn.Layer]:
    return example.teacher.layer(2, example.dtype), example.student.layer(1, example.dtype)


# --- by purdist -------------------------------------------------------------------------


def entered(
    net: Net, layer: nn.Layer, door: Door, feed: str, dtype: str
) -> tuple[purdist.Program, dict[str, str]]:
    """A network through a door; and the layer's names of weights -> the program's."""
    train(layer)
    spec = net.spec(feed, dtype)
    if door == "layer":
        program = purdist.from_layer(layer, {feed: spec})
        return program, names_in(program, layer)
    if door in ("static", "old"):
        return built_statically(net, layer, feed, dtype, old=door == "old")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model"
        if door == "file":
            program = purdist.from_layer(layer, {feed: spec})
            purdist.export(program, path, ["output.0", "output.1"])
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
    doors, dtype = example.doors, example.dtype
    teacher, _ = entered(example.teacher, teacher_layer, doors[0], "photo", dtype)
    student, names_of = entered(example.student, student_layer, doors[1], "x", dtype)
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
        losses += [told.loss for told in purdist.train(training, [needed])]
        for event in example.between[step : step + 1]:
            training = happened(
                event,
                training,
                lambda program: started(purdist.merge(teacher, program, {"photo": "x"}))[0],
                student,
                example,
            )
    trained_alike(training, losses, expected, names_of)
    told = purdist.student_of(training).run({"x": fed[0]["x"]}, ["output.0", "output.1"])
    for k, wanted in enumerate(answers):
        close(told[f"output.{k}"], wanted, f"answer {k} of the trained student")


def start(
    example: Example, distillation: purdist.Distillation
) -> tuple[purdist.Training, list[Arrays]]:
    """The training, and its feeds."""
    fed: list[Arrays] = list(feeds(example))
    optimizer = OPTIMIZERS[example.optimizer]
    if example.way != "cache":
        return purdist.minimize(distillation, optimizer, teacher=example.way), fed
    with tempfile.TemporaryDirectory() as folder:
        cache = purdist.cache_teacher(
            distillation, [{"x": feed["x"]} for feed in fed], Path(folder) / "cache"
        )
        training = purdist.minimize(distillation, optimizer, teacher=cache)
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


def differs(example: Example) -> Iterator[str]:
    """What of an example is not as by hand; nothing if it is no example."""
    paddle.disable_static()
    warnings.simplefilter("ignore")
    try:
        expected, answers = by_hand(example)
        nudged, moved = by_hand(example, nudge=1e-6)
        near(expected, nudged)
        list(map(close, moved, answers, ("answer", "answer")))
    except Exception:
        return  # dygraph cannot, or what it computes hangs on its rounding
    if not np.isfinite(expected.losses).all() or max(expected.losses) > 1e3:
        return
    yield "expected"
    try:
        by_purdist(example, expected, answers)
    except purdist.EngineError:
        yield "no engine"
    except purdist.PurdistError as error:
        yield f"refused: {type(error).__name__}: {error}"
    except DiffersError as error:
        yield f"differs: {error}"


# --- strategies -------------------------------------------------------------------------


def _fitting(example: Example) -> Example:
    """The example without what cannot be asked of it."""
    teacher, student = (
        _door(net, door)
        for net, door in zip((example.teacher, example.student), example.doors, strict=True)
    )
    stays = {piece.how for piece in example.student.everything if isinstance(piece, Part)}
    if "eval" in stays or ("frozen" in stays and student == "jit"):
        student = "layer"  # no file tells of parts in eval mode, Paddle's not of what learns
    losses = example.losses
    if len(example.student.shape) != 3:
        losses = tuple(name for name in losses if name not in ON_MAPS) or ("kd",)
    if example.way == "cache" and losses == ("cross_entropy",):
        losses = ("kd", "cross_entropy")
    return attrs.evolve(example, doors=(teacher, student), losses=losses)


def _door(net: Net, door: Door) -> Door:
    """The door, or another where Paddle itself does not bring the network there."""
    written = any(isinstance(p, Same) and p.is_converted for p in net.everything)
    if written and door in ("static", "old", "jit"):
        return "layer"  # only a conversion follows writes and sizes; paddle.jit.save loses writes
    if door == "old" and any(isinstance(p, Zoo) or p in NOT_OLD for p in net.everything):
        return "static"
    return door


@st.composite
def examples(draw: st.DrawFn) -> Example:
    shape = draw(shapes)
    last = st.booleans()
    nets = st.builds(Net, st.just(shape), pieces, last)
    door: st.SearchStrategy[Door] = st.sampled_from(get_args(Door))
    events: st.SearchStrategy[Event] = st.sampled_from(get_args(Event))
    losses = draw(st.lists(st.sampled_from(tuple(LOSSES)), min_size=1, max_size=3, unique=True))
    example = Example(
        draw(nets),
        draw(nets),
        tuple(losses),
        draw(st.sampled_from(tuple(OPTIMIZERS))),
        draw(st.sampled_from(get_args(Way))),
        draw(st.tuples(door, door)),
        tuple(draw(st.lists(events, max_size=2))),
        draw(st.sampled_from(("float32", "float64"))),
    )
    return _fitting(example)
