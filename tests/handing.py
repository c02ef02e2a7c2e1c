"""Every public function, what it is handed, and how a user may change that afterwards."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import attrs
import numpy as np
import paddle
from paddle.static import InputSpec
from paddle.utils import unique_name

import purdist
from purdist import graphs
from purdist.program import internals_of
from purdist.sources.weights import held_by
from tests import nets

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")

MUTABLE = re.compile(r"Mapping|Iterable|Iterator|Sequence|Collection|Names|Inputs|Feed|Layer|L\b")
"""What annotations say of arguments that may change."""

VALUES = ("Program", "Distillation", "Training", "TeacherCache")
"""Public classes that functions make, and a user does not."""


@attrs.frozen
class Hand:
    """What a user hands over and keeps.

    Attributes:
        folder: Where files go.
        around: In what a function is called.
        things: What was handed over.
    """

    folder: Path
    around: Callable[[], AbstractContextManager[object]] = nullcontext
    things: list[object] = attrs.field(factory=list)

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What ``function`` returns, called in what is to be ``around`` it."""
        with self.around():
            return function(*args, **kwargs)

    def __call__(self, thing: T) -> T:
        self.things.append(thing)
        return thing

    def spoil(self) -> None:
        """Changes all that was handed over."""
        for thing in self.things:
            spoil(thing)


def spoil(thing: object) -> None:
    """Changes whatever can be changed in ``thing``, which stays what it is."""
    for kind, change in _SPOILS.items():
        if isinstance(thing, kind):
            change(thing)
            return


def _spoil_dict(thing: dict[Any, Any]) -> None:
    for part in thing.values():
        spoil(part)
    thing.clear()
    thing["spoilt"] = "spoilt"


def _spoil_list(thing: list[Any]) -> None:
    for part in thing:
        spoil(part)
    thing[:] = ["spoilt"]


def _spoil_parts(parts: Iterable[object]) -> None:
    for part in parts:
        spoil(part)


def _spoil_array(thing: np.ndarray[Any, Any]) -> None:
    if thing.flags.writeable:
        thing[...] = 3


def _spoil_tensor(thing: paddle.Tensor) -> None:
    with graphs.dynamic():
        thing.set_value(np.full(thing.shape, 3, thing.numpy().dtype))


def _spoil_layer(layer: paddle.nn.Layer) -> None:
    for _, tensor, _ in held_by(layer):
        _spoil_tensor(tensor)
        tensor.stop_gradient = not tensor.stop_gradient
        spoil(getattr(tensor, "regularizer", None))
        if getattr(tensor, "optimize_attr", None):
            tensor.optimize_attr["learning_rate"] = 30.0
    for name, held in vars(layer).items():
        if not name.startswith("_"):
            spoil(held)
    (layer.eval if layer.training else layer.train)()
    for sublayer in layer.sublayers(include_self=True):
        vars(sublayer)["_sub_layers"].clear()


def _spoil_scope(scope: paddle.static.Scope) -> None:
    for name in nets.read(scope):
        tensor = scope.var(name).get_tensor()
        tensor.set(np.full(tensor.shape(), 3, np.array(tensor).dtype), paddle.CPUPlace())


def _spoil_program(main: paddle.static.Program) -> None:
    old = nullcontext() if graphs.is_program(main) else nets.old_form()
    with old, paddle.static.program_guard(main):
        paddle.static.data("spoilt", [1])


def _spoil_spec(spec: InputSpec) -> None:
    spec.shape, spec.name = (3, 3), "spoilt"


def _spoil_path(path: Path) -> None:
    for file in [path, *path.parent.glob(f"{path.name}.*"), *path.glob("*")]:
        if file.is_file():
            with file.open("r+b") as opened:  # in place: who has it mapped sees it
                opened.write(b"\0" * file.stat().st_size)


def _spoil_optimizer(thing: object) -> None:
    for name, held in vars(thing).items():
        if isinstance(held, float):
            setattr(thing, name, 30.0)
        elif name.startswith(("_grad_clip", "_learning_rate", "regularization", "coeff")):
            _spoil_optimizer(held) if hasattr(held, "__dict__") else None


_SPOILS: dict[Any, Callable[[Any], None]] = {
    dict: _spoil_dict,
    list: _spoil_list,
    tuple: _spoil_parts,
    Mapping: lambda mapping: _spoil_parts(mapping.values()),
    set: set.clear,
    np.ndarray: _spoil_array,
    paddle.nn.Layer: _spoil_layer,
    paddle.optimizer.Optimizer: _spoil_optimizer,
    paddle.regularizer.L2Decay: _spoil_optimizer,
    InputSpec: _spoil_spec,
    Path: _spoil_path,
    paddle.static.Program: _spoil_program,
    type(paddle.static.global_scope()): _spoil_scope,
}


# --- what is handed over ----------------------------------------------------------------------


class Holding(paddle.nn.Layer):
    """Weights, statistics, and what ``forward`` finds elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        decayed = paddle.ParamAttr(learning_rate=0.5, regularizer=paddle.regularizer.L2Decay(0.5))
        self.linear = paddle.nn.Linear(4, 3, weight_attr=decayed)
        self.norm = paddle.nn.BatchNorm1D(3)
        self.array = np.full(3, 2.0, "float32")
        self.numbers = {"scale": 2.0}

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        hidden = self.norm(self.linear(x)) * self.numbers["scale"]
        return hidden * paddle.to_tensor(self.array)


def layer(seed: int = 0) -> Holding:
    with graphs.dynamic(), unique_name.guard(f"seed{seed}_"):
        paddle.seed(seed)
        return Holding()


@functools.cache
def network(feed: str = "x", seed: int = 0) -> purdist.Program:
    return purdist.from_layer(layer(seed), {feed: InputSpec([None, 4])}, check=False)


def x(rows: int = 2, seed: int = 0) -> nets.Array:
    return nets.numbers(seed, rows, 4)


@functools.cache
def merged() -> purdist.Program:
    return purdist.merge(network("y", 1), network(), {"y": "x"})


@functools.cache
def distilled() -> purdist.Distillation:
    return purdist.apply(merged(), [purdist.L2Loss("teacher_output", "output")])


def sgd() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.SGD(0.1)


def frozen() -> paddle.optimizer.Optimizer:
    """Takes steps that move nothing."""
    return paddle.optimizer.SGD(0.0)


def _from_layer(hand: Hand) -> object:
    return hand.call(purdist.from_layer, hand(layer()), hand({"x": InputSpec([None, 4])}))


def _from_layer_named(hand: Hand) -> object:
    inputs = hand([InputSpec([None, 4], "float32", "x")])
    return hand.call(purdist.from_layer, hand(layer()), inputs)


def _net() -> nets.Net:
    """A static network, in the form that the process is set to."""
    dynamic = paddle.in_dynamic_mode()
    paddle.enable_static()
    try:
        return nets.Net.of(nets.linear() if paddle.framework.in_pir_mode() else _connected, seed=1)
    finally:
        if dynamic:
            paddle.disable_static()


def _connected() -> dict[str, paddle.Tensor]:
    return {"out": paddle.static.nn.fc(paddle.static.data("x", [None, 4]), 3)}


def _from_static(hand: Hand) -> object:
    net = _net()
    names = hand(dict(net.names))
    return hand.call(purdist.from_static, hand(net.main), scope=hand(net.scope), names=names)


def _from_static_old(hand: Hand) -> object:
    with nets.old_form():
        net = _net()
        return hand.call(purdist.from_static, hand(net.main), scope=hand(net.scope))


def _from_exported(hand: Hand) -> object:
    purdist.export(network(), hand.folder / "m", ["output"], check=False)
    return hand.call(purdist.from_exported, hand(hand.folder / "m"))


def _beside(function: Callable[..., purdist.Program], hand: Hand) -> purdist.Program:
    teacher, student, mapped = network("y", 1), network(), hand({"y": "x"})
    return hand.call(function, teacher, student, mapped, keep_inputs=hand([]))


def _kept(hand: Hand) -> object:
    return hand.call(purdist.merge, network("y", 1), network(), hand({}), keep_inputs=hand(["y"]))


def _apply(hand: Hand) -> object:
    with graphs.dynamic():
        tensor = hand(paddle.full([3], 2.0))
    array, factors = hand(x(1)[0, :3]), hand([2.0])

    def own(student: paddle.Tensor, shift: paddle.Tensor) -> paddle.Tensor:
        mean: paddle.Tensor = ((student * array + shift) * tensor * factors[0]).mean()
        return mean

    shift = purdist.NewInput("shift", hand([-1, 3]), "float32")
    variables: dict[str, str | purdist.NewInput] = {"student": "output", "shift": shift}
    custom = purdist.CustomLoss(own, hand(variables))
    specs = hand([purdist.L2Loss("teacher_output", "output"), custom])
    return hand.call(purdist.apply, merged(), specs)


def _minimize(hand: Hand) -> object:
    names = hand(["linear.weight"])

    def make_optimizer() -> paddle.optimizer.Optimizer:
        clip = paddle.nn.ClipGradByGlobalNorm(0.5)
        schedule = paddle.optimizer.lr.StepDecay(0.1, step_size=1)
        return hand(
            paddle.optimizer.AdamW(
                schedule, grad_clip=clip, apply_decay_param_fun=lambda name: name in names
            )
        )

    chosen: dict[str, Any] = hand({"teacher_": "graph"})
    return hand.call(purdist.minimize, distilled(), make_optimizer, teacher=chosen)


def _train(teacher: Any, hand: Hand) -> object:
    distillation = distilled()
    batches: list[Any] = [{"x": x(seed=k)} for k in range(3)]
    if teacher == "cache":
        teacher = purdist.cache_teacher(distillation, batches, hand.folder / "cache")
        for k, feed in enumerate(batches):
            feed["teacher_sample"] = np.arange(2 * k, 2 * k + 2)
    training = purdist.minimize(distillation, sgd, teacher=teacher, seed=0)

    def one_by_one() -> Iterator[purdist.Feed]:
        """A batch, spoilt when the next one is asked for."""
        for feed in batches:
            yield feed
            spoil(feed)

    fetch = hand(["output"])

    def trained() -> list[purdist.Step]:
        steps = purdist.train(training, one_by_one(), fetch=fetch)
        spoil(fetch)
        return list(steps)

    return hand.call(trained)


def _evaluate(hand: Hand) -> object:
    batches = hand([hand({"x": x(seed=k), "label": np.arange(2)}) for k in range(2)])
    of_metric = hand((paddle.metric.Accuracy(), hand(["output", "label"])))
    metrics: dict[str, purdist.MetricSpec] = hand({"mean": "output", "acc": of_metric})
    return hand.call(purdist.evaluate, network(), batches, metrics)


def _feeds(hand: Hand) -> object:
    names = hand(["x", "label"])
    batches = [[x(seed=k), np.arange(2)] for k in range(2)]
    return list(hand.call(purdist.feeds, batches, names, start=1))


def _run(hand: Hand) -> object:
    return hand.call(network().run, hand({"x": x()}), hand(["output"]))


def _export(hand: Hand) -> object:
    hand.call(purdist.export, network(), hand.folder / "m", hand(["output"]), check=False)
    return [(hand.folder / f"m{end}").read_bytes() for end in (".json", ".pdiparams")]


def _save_weights(hand: Hand) -> object:
    hand.call(purdist.save_weights, network(), hand.folder / "w")
    return (hand.folder / "w").read_bytes()


def _load_weights(hand: Hand) -> object:
    purdist.save_weights(network("x", 1), hand.folder / "w")
    names = hand({"linear.weight": "linear.weight", "norm.bias": "norm.bias"})
    return hand.call(purdist.load_weights, network(), hand(hand.folder / "w"), names=names)


def _save_checkpoint(hand: Hand) -> object:
    training = purdist.minimize(distilled(), sgd, seed=0)
    hand.call(purdist.save_checkpoint, training, hand.folder / "c")
    ends = (".json", ".safetensors")
    return [(hand.folder / f"c.checkpoint{end}").read_bytes() for end in ends], training


def _resume(hand: Hand) -> object:
    training = purdist.minimize(distilled(), sgd, seed=0)
    list(purdist.train(training, [{"x": x()}]))
    purdist.save_checkpoint(training, hand.folder / "c")
    other = purdist.minimize(distilled(), sgd)
    resumed = hand.call(purdist.resume, other, hand(hand.folder / "c"))
    assert other.steps == 0
    return resumed


def _train_to_disk(hand: Hand) -> object:
    training = purdist.minimize(distilled(), sgd, seed=0)
    checkpoints = purdist.Checkpoints(hand(hand.folder / "run"))
    batches = hand([hand({"x": x()})])
    return hand.call(lambda: list(purdist.train(training, batches, checkpoints=checkpoints)))


def _cache_teacher(hand: Hand) -> object:
    batches = hand([hand({"x": x(seed=k)}) for k in range(2)])
    rows = hand(np.array([2, 0]))
    cache = hand.call(purdist.cache_teacher, distilled(), batches, hand.folder / "cache")
    return hand.call(lambda: (cache[:], cache[rows], cache[hand([0, 1])]))


def _from_data(hand: Hand) -> object:
    weight = {"kind": "linear", "start": 0.0, "end": 1.0, "steps": 3}
    table = {"kind": "cross_entropy", "student_var": "s", "label": {"name": "l", "shape": [-1]}}
    return hand.call(purdist.losses_from_data, hand([{**table, "weight": weight}]), own=hand([]))


def mean_square(value: paddle.Tensor) -> paddle.Tensor:
    return value.square().mean()


SPECS = [purdist.ReviewKDLoss([("t", "s")]), purdist.L2Loss("t", "s")]

CALLS: dict[str, Callable[[Hand], object]] = {
    "from_layer": _from_layer,
    "from_layer, a list": _from_layer_named,
    "from_static": _from_static,
    "from_static, old": _from_static_old,
    "from_exported": _from_exported,
    "merge": lambda hand: _beside(purdist.merge, hand),
    "merge, kept": _kept,
    "join": lambda hand: _beside(purdist.join, hand),
    "cut": lambda hand: hand.call(purdist.cut, merged(), hand(["teacher_output"])),
    "apply": _apply,
    "minimize": _minimize,
    "train": lambda hand: _train("graph", hand),
    "train, ahead": lambda hand: _train("inference", hand),
    "train, of a cache": lambda hand: _train("cache", hand),
    "evaluate": _evaluate,
    "train, to disk": _train_to_disk,
    "feeds": _feeds,
    "cache_teacher": _cache_teacher,
    "student_of": lambda hand: hand.call(purdist.student_of, merged()),
    "export": _export,
    "save_weights": _save_weights,
    "load_weights": _load_weights,
    "save_checkpoint": _save_checkpoint,
    "resume": _resume,
    "to_layer": lambda hand: hand.call(purdist.to_layer, network("x", 1), hand(layer())),
    "losses_to_data": lambda hand: hand.call(purdist.losses_to_data, hand([*SPECS])),
    "losses_from_data": _from_data,
    "Program.run": _run,
    "Schedule.piecewise": lambda hand: hand.call(purdist.Schedule.piecewise, hand({0: 1.0})),
    "NewInput": lambda hand: hand.call(purdist.NewInput, "l", hand([-1, 3])),
    "CustomLoss": lambda hand: hand.call(purdist.CustomLoss, mean_square, hand({"value": "v"})),
    "ReviewKDLoss": lambda hand: hand.call(purdist.ReviewKDLoss, hand([hand(["t", "s"])])),
    "MiniLMLoss": lambda hand: hand.call(purdist.MiniLMLoss, *"abcdef", relations=hand(["qq"])),
    "Variable": lambda hand: hand.call(purdist.Variable, "v", hand([1]), "float32", "input"),
    "Step": lambda hand: hand.call(purdist.Step, 0, 1.0, hand({"a": 1.0}), hand({"a": 1.0}), 0.1),
}
"""Each public function, by its name, or its name and what is special about this call."""


def public() -> set[str]:
    """The public functions, and the classes that are made of what may change."""
    found = set()
    for name in vars(purdist)["__all__"]:
        thing = getattr(purdist, name)
        if inspect.isfunction(thing):
            found.add(name)
        elif inspect.isclass(thing) and not issubclass(thing, Exception) and name not in VALUES:
            signature = inspect.signature(thing)
            annotations = [str(p.annotation) for p in signature.parameters.values()]
            if any(map(MUTABLE.search, annotations)):
                found.add(name)
    return found


def contents(result: object) -> object:
    """What ``result`` holds and computes, to compare. A training is one step on after it."""
    if isinstance(result, purdist.Program):
        feed = {
            name: x()[:, : result.variables[name].shape[-1]]
            if result.variables[name].shape[-1] <= 4
            else nets.numbers(0, 2, 6)
            for name in result.inputs
        }
        fetch = [n for n, v in result.variables.items() if v.mode != "training"]
        numbers = {name: array.tobytes() for name, array in result.run(feed, fetch).items()}
        return (
            nets.held(result),
            dict(result.variables),
            numbers,
            None if result.teachers else _learned(result),
        )
    if isinstance(result, purdist.Distillation):
        training = purdist.minimize(result, sgd, seed=0)
        return len(result.specs), nets.held(result.program), contents(training)
    if isinstance(result, purdist.Training):
        feed = {name: nets.numbers(0, 2, *v.shape[1:]) for name, v in _fed(result.program)}
        steps = list(purdist.train(result, [feed] * 2))
        return contents(steps), nets.held(result.program)
    if isinstance(result, paddle.nn.Layer):
        return {name: tensor.numpy().tobytes() for name, tensor, _ in held_by(result)}
    if isinstance(result, purdist.Step):
        return result.index, result.loss, dict(result.terms), contents(dict(result.fetched))
    if isinstance(result, Mapping):
        return {name: contents(part) for name, part in result.items()}
    if isinstance(result, list | tuple):
        return [contents(part) for part in result]
    return result.tobytes() if isinstance(result, np.ndarray) else repr(result)


def _learned(program: purdist.Program) -> object:
    """What a training makes of ``program``, if it learns: its options of parameters count."""
    learning = [
        name
        for name, v in program.variables.items()
        if v.mode == "both"
        and v.role == "activation"
        and internals_of(program).takes_gradient(name)
    ]
    if not learning:
        return None
    spec = purdist.CustomLoss(mean_square, {"value": learning[-1]}, name="mean_square")
    return contents(purdist.minimize(purdist.apply(program, [spec], prune=False), sgd, seed=0))


def _fed(program: purdist.Program) -> Iterable[tuple[str, purdist.Variable]]:
    return ((name, program.variables[name]) for name in program.inputs)


def called(
    name: str,
    folder: Path,
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> tuple[object, Hand]:
    """What the function returns, and what it was handed."""
    folder.mkdir()
    hand = Hand(folder, around)
    with unique_name.guard():
        return CALLS[name](hand), hand
