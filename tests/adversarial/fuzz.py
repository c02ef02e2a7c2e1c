"""One example of the fuzzer: a distillation run by purdist, and by hand in dygraph."""

from __future__ import annotations

import contextlib
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import attrs
import numpy as np
import paddle
from hypothesis import strategies as st
from paddle import nn
from paddle.nn import functional as F  # noqa: N812
from paddle.utils import unique_name

import purdist
from purdist import NewInput
from tests.adversarial import whole
from tests.adversarial.battery import Arrays, DiffersError, close, held, names_of_one
from tests.adversarial.networks import Net, Part, pieces, shapes, train
from tests.nets import Array, old_form

Door: TypeAlias = Literal["layer", "static", "old", "file", "jit"]
Way: TypeAlias = Literal["graph", "inference", "cache"]
Event: TypeAlias = Literal["run", "student_of", "weights", "another", "export"]
Tensors: TypeAlias = Mapping[str, paddle.Tensor]

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


# --- losses, and the same by the plain formula ------------------------------------------


def kd(t: Tensors, s: Tensors) -> paddle.Tensor:
    p, log_q = F.softmax(t["logits"] / 4.0), F.log_softmax(s["logits"] / 4.0)
    return 16.0 * (p * (p.log() - log_q)).sum(-1).mean()


def soft_label(t: Tensors, s: Tensors) -> paddle.Tensor:
    return -(F.softmax(t["logits"] / 2.0) * F.log_softmax(s["logits"])).sum(-1).mean()


def l2(t: Tensors, s: Tensors) -> paddle.Tensor:
    return ((t["logits"] - s["logits"]) ** 2).mean()


def cross_entropy(_: Tensors, s: Tensors) -> paddle.Tensor:
    chosen = F.one_hot(s["label"], s["logits"].shape[-1]).astype(s["logits"].dtype)
    return -(chosen * F.log_softmax(s["logits"])).sum(-1).mean()


def features(t: Tensors, s: Tensors) -> paddle.Tensor:
    return ((t["features"] - s["features"]) ** 2).mean()


def attention(t: Tensors, s: Tensors) -> paddle.Tensor:
    maps = [(v["features"] ** 2).mean(1).flatten(1) for v in (t, s)]
    units = [m / (m**2).sum(1, keepdim=True).sqrt() for m in maps]
    return ((units[0] - units[1]) ** 2).mean()


def fsp(t: Tensors, s: Tensors) -> paddle.Tensor:
    flat = [v["features"].flatten(2) for v in (t, s)]
    flows = [m.matmul(m.transpose([0, 2, 1])) / float(m.shape[2]) for m in flat]
    return ((flows[0] - flows[1]) ** 2).mean()


Plain: TypeAlias = Callable[[Tensors, Tensors], paddle.Tensor]
LOSSES: Mapping[str, tuple[Plain, Callable[[str, str, str, str], purdist.LossSpec]]] = {
    "kd": (kd, lambda t, s, tf, sf: purdist.KDLoss(t, s)),
    "soft_label": (soft_label, lambda t, s, tf, sf: purdist.SoftLabelLoss(t, s, 2.0, 1.0)),
    "l2": (l2, lambda t, s, tf, sf: purdist.L2Loss(t, s)),
    "cross_entropy": (
        cross_entropy,
        lambda t, s, tf, sf: purdist.CrossEntropyLoss(s, NewInput("label")),
    ),
    "features": (features, lambda t, s, tf, sf: purdist.L2Loss(tf, sf)),
    "attention": (attention, lambda t, s, tf, sf: purdist.AttentionTransferLoss(tf, sf)),
    "fsp": (fsp, lambda t, s, tf, sf: purdist.FspLoss(tf, tf, sf, sf)),
}
ON_MAPS = ("attention", "fsp")

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


@attrs.frozen(eq=False)
class Expected:
    """What dygraph computes: losses, weights before and after, answers of the trained student."""

    losses: list[float]
    before: Arrays
    after: Arrays
    same: Mapping[str, list[str]]
    answers: list[Array]


def feeds(example: Example) -> list[dict[str, Array]]:
    """A batch for each step."""
    return [
        {
            "x": example.student.samples(ROWS, step, example.dtype),
            "label": np.random.RandomState(step).randint(0, example.student.classes, ROWS),
        }
        for step in range(STEPS)
    ]


def by_hand(example: Example) -> Expected:
    """Trains in dygraph."""
    teacher, student = layers(example)
    teacher.eval()
    before = held(student)
    optimizer = made_optimizer(example, student)
    losses = []
    for step, feed in enumerate(feeds(example)):
        train(student)
        x = paddle.to_tensor(feed["x"])
        with paddle.no_grad():
            taught = dict(zip(("logits", "features"), teacher(x), strict=True))
        got = dict(zip(("logits", "features"), student(x), strict=True))
        got["label"] = paddle.to_tensor(feed["label"])
        loss: Any = sum(LOSSES[name][0](taught, got) for name in example.losses)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        if isinstance(optimizer._learning_rate, paddle.optimizer.lr.LRScheduler):
            optimizer._learning_rate.step()
        losses.append(float(loss))
        if example.between[step : step + 1] == ("weights",):
            optimizer = made_optimizer(example, student)
    student.eval()
    answers = [np.array(v) for v in student(paddle.to_tensor(feeds(example)[0]["x"]))]
    return Expected(losses, before, held(student), names_of_one(student), answers)


def made_optimizer(example: Example, student: nn.Layer) -> paddle.optimizer.Optimizer:
    learning = [p for p in student.parameters() if not p.stop_gradient]
    return OPTIMIZERS[example.optimizer](parameters=learning)


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
    main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    paddle.enable_static()
    try:
        with (
            old_form() if old else contextlib.nullcontext(),
            paddle.static.program_guard(main, startup),
            unique_name.guard(),
        ):
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


def by_purdist(example: Example, expected: Expected) -> None:
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
        needed = {k: v for k, v in feed.items() if k in training.program.inputs}
        losses += [told.loss for told in purdist.train(training, [needed])]
        for event in example.between[step : step + 1]:
            training = happened(
                event,
                training,
                lambda program: started(purdist.merge(teacher, program, {"photo": "x"}))[0],
                student,
                example,
            )
    close(np.array(losses), np.array(expected.losses), "losses")
    trained = purdist.student_of(training)
    got = trained.run({}, trained.weights)
    for name, value in expected.after.items():
        moved = float(np.abs(value - expected.before[name]).max(initial=0.0))
        known = [same for same in expected.same[name] if same in names_of]
        if known:
            close(got[names_of[known[0]]], value, name, scale=moved)
        elif moved:
            raise DiffersError(f"{name} is no weight of the student")
    answers = trained.run({"x": fed[0]["x"]}, ["output.0", "output.1"])
    for k, wanted in enumerate(expected.answers):
        close(answers[f"output.{k}"], wanted, f"answer {k} of the trained student")


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
        heard = [cache[slice(k * ROWS, (k + 1) * ROWS)] for k in range(STEPS)]
    both = [{**feed, **more} for feed, more in zip(fed, heard, strict=True)]
    return purdist.minimize(cache.distillation, optimizer), list(both)


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
    """Some other training, with maps in both formats, in the graph and in the engine."""
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
        for way in ("graph", "inference"):
            with contextlib.suppress(purdist.EngineError):
                training = purdist.minimize(distilled, OPTIMIZERS["sgd"], teacher=way)
                list(purdist.train(training, [{"x": np.ones((2, *sizes), dtype)}] * 2))


def differs(example: Example) -> Iterator[str]:
    """What of an example is not as by hand; nothing if all is."""
    paddle.disable_static()
    warnings.simplefilter("ignore")
    try:
        expected = by_hand(example)
    except Exception:
        return  # it is no example
    if not np.isfinite(expected.losses).all() or max(expected.losses) > 1e3:
        return
    yield "expected"
    try:
        by_purdist(example, expected)
    except purdist.EngineError:
        return
    except purdist.PurdistError:
        yield f"refused: {traceback.format_exc(limit=-2)}"
    except DiffersError as error:
        yield f"differs: {error}"


# --- strategies -------------------------------------------------------------------------


def _fitting(example: Example) -> Example:
    """The example without what cannot be asked of it."""
    doors = example.doors
    if any(isinstance(piece, Part) for piece in example.student.everything):
        doors = (doors[0], "layer")  # a file does not tell what was frozen
    losses = example.losses
    if len(example.student.shape) != 3:
        losses = tuple(name for name in losses if name not in ON_MAPS) or ("kd",)
    if example.way == "cache" and losses == ("cross_entropy",):
        losses = ("kd", "cross_entropy")
    return attrs.evolve(example, doors=doors, losses=losses)


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
