"""A user's module, typed strictly: every step has the type it promises.

It never runs. mypy checks it against this project's stubs of Paddle, and `test_types`
against the types that Paddle itself ships, which are what a user has.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, assert_type

import attrs
import numpy as np
import numpy.typing as npt
import paddle

import purdist
from purdist import (
    CrossEntropyLoss,
    CustomLoss,
    FspLoss,
    L2Loss,
    LossSpec,
    NewInput,
    PairLoss,
    Schedule,
    SoftLabelLoss,
    Step,
    Variable,
)
from purdist.graphs import Scope
from purdist.testing import StaticNetwork


def network(width: int) -> purdist.Program:
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup):
        image = paddle.static.data("image", [None, 1, 28, 28], "float32")
        features = paddle.nn.functional.relu(paddle.nn.Conv2D(1, width, 3)(image))
        logits = paddle.nn.Linear(width * 26 * 26, 10)(features.flatten(1))
    # Paddle leaves a part of what it takes untyped.
    paddle.static.Executor().run(startup)  # pyright: ignore[reportUnknownMemberType]
    return purdist.from_static(main, names={"features": features, "logits": logits})


@attrs.frozen
class HuberLoss(PairLoss):
    kind: ClassVar[str] = "huber"

    delta: float = 1.0

    def check(self, variables: Mapping[str, Variable]) -> None:
        if variables["teacher_var"].shape != variables["student_var"].shape:
            raise purdist.ShapeMismatchError("Expected one shape, got two.")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        distance = (values["teacher_var"] - values["student_var"]).abs()
        near, far = 0.5 * distance.square(), self.delta * (distance - 0.5 * self.delta)
        return paddle.where(distance < self.delta, near, far).mean()


def cosine(teacher: paddle.Tensor, student: paddle.Tensor) -> paddle.Tensor:
    return (1 - paddle.nn.functional.cosine_similarity(teacher, student)).mean()


def batches(steps: int) -> Iterator[dict[str, npt.NDArray[Any]]]:
    numbers = np.random.default_rng(0)
    for _ in range(steps):
        yield {
            "image": numbers.normal(size=(8, 1, 28, 28)).astype(np.float32),
            "label": numbers.integers(0, 10, 8),
        }


def make_optimizer() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.Adam(paddle.optimizer.lr.CosineAnnealingDecay(1e-3, T_max=100))


# --- the steps ----------------------------------------------------------------------------

teacher, student = network(32), network(8)
assert_type(teacher, purdist.Program)

merged = purdist.merge(teacher, student, {"image": "image"}, place="cpu", name_prefix="t_")
assert_type(merged, purdist.Program)

losses: list[LossSpec] = [
    0.5 * SoftLabelLoss("t_logits", "logits", teacher_temperature=4.0),
    HuberLoss("t_logits", "logits", delta=2.0, weight=0.1, name="near") * 2,
    CustomLoss(cosine, {"teacher": "t_logits", "student": "logits"}),
    CrossEntropyLoss("logits", NewInput("label"), label_smoothing=0.1),
]
distillation = purdist.apply(merged, losses)
assert_type(distillation, purdist.Distillation)
assert_type(purdist.apply(distillation, losses), purdist.Distillation)
assert_type(distillation.source, purdist.Program)
assert_type(purdist.apply(student, [CrossEntropyLoss("logits", "label")]), purdist.Distillation)

training = purdist.minimize(distillation, make_optimizer, seed=0, scheduler_every=2)
assert_type(training.steps, int)
assert_type(training, purdist.Training)
assert_type(purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1)), purdist.Training)
assert_type(purdist.minimize(distillation, make_optimizer, teacher="inference"), purdist.Training)
factory: purdist.MakeOptimizer = make_optimizer
factories: list[purdist.MakeOptimizer] = [factory, lambda: paddle.optimizer.AdamW(1e-3)]

steps = purdist.train(training, batches(10), fetch=["logits"], progress=True)
assert_type(steps, Iterator[Step])

accuracy = (paddle.metric.Accuracy(topk=(1, 5)), ["logits", "label"])
metrics: dict[str, purdist.MetricSpec] = {"loss": "loss", "acc": accuracy}
assert_type(purdist.evaluate(training, batches(10), metrics), dict[str, float])
assert_type(
    purdist.evaluate(student, batches(10), {"acc": (*accuracy, "mask"), "loss": "logits"}),
    dict[str, float],
)

holders: tuple[purdist.Program | purdist.Training, ...] = (training, merged)
for holder in holders:
    assert_type(purdist.student_of(holder), purdist.Program)
    purdist.export(holder, "student", ["logits"])
assert_type(purdist.from_exported("student"), purdist.Program)
before, after = purdist.cut(merged, ["t_logits"])
assert_type(before, purdist.Program)
assert_type(after, purdist.Program)

cache = purdist.cache_teacher(distillation, batches(10), "teacher", name_prefix="t_")
assert_type(cache, purdist.TeacherCache)
for rows in ([0, 2], 0, slice(2), np.arange(2), np.int64(1), np.array([True, False])):
    assert_type(cache[rows], dict[str, npt.NDArray[Any]])
for sample in cache:
    assert_type(sample, dict[str, npt.NDArray[Any]])
for backend in (cache, purdist.InGraph(), purdist.Inference()):
    purdist.minimize(distillation, make_optimizer, teacher=backend)
purdist.minimize(distillation, make_optimizer, teacher={"t_": cache, "u_": "graph"})

# --- layers -------------------------------------------------------------------------------


class Perceptron(paddle.nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = paddle.nn.Linear(784, 32)
        self.logits = paddle.nn.Linear(32, 10)

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        hidden: paddle.Tensor = self.hidden(image.flatten(1))
        logits: paddle.Tensor = self.logits(paddle.tanh(hidden))
        return logits


layer = Perceptron()
traced = purdist.from_layer(layer, {"image": paddle.static.InputSpec([None, 1, 28, 28])})
assert_type(traced, purdist.Program)
assert_type(purdist.to_layer(traced, layer), Perceptron)
purdist.save_weights(traced, "weights.safetensors")
assert_type(purdist.load_weights(traced, "weights.safetensors"), purdist.Program)
purdist.load_weights(traced, "weights.safetensors", partial=True)
purdist.load_weights(traced, "weights.safetensors", names={"hidden.weight": "fc1.weight"})

checkpoints = purdist.Checkpoints("run", every=100, keep=1)
assert_type(checkpoints.directory, Path)
assert_type(purdist.train(training, [], checkpoints=checkpoints), Iterator[Step])
assert_type(purdist.resume(training, checkpoints.directory), purdist.Training)
purdist.save_checkpoint(training, "best")

# --- what the values hold -----------------------------------------------------------------

assert_type(merged.graph, paddle.static.Program)
assert_type(merged.inference_graph, paddle.static.Program)
assert_type(merged.scope, Scope)
assert_type(merged.place, paddle.CPUPlace | paddle.CUDAPlace)
assert_type(merged.variables, Mapping[str, Variable])
assert_type(merged.inputs, tuple[str, ...])
assert_type(merged.parameters, tuple[str, ...])
assert_type(merged.run(next(batches(1)), ["logits"]), dict[str, npt.NDArray[Any]])
assert_type(merged.describe("t_*"), str)

tensors: purdist.Feed = {"image": paddle.rand([8, 1, 28, 28]), "label": np.zeros(8, np.int64)}
assert_type(merged.run(tensors, ["logits"]), dict[str, npt.NDArray[Any]])
purdist.train(training, [tensors, *batches(1)])
pairs: list[tuple[paddle.Tensor, npt.NDArray[Any]]] = []
assert_type(purdist.feeds(pairs, ["image", "label"], epochs=3, start=2), Iterator[purdist.Feed])
purdist.train(training, purdist.feeds(pairs, ("image", "label")))
purdist.cache_teacher(distillation, [tensors], "teacher")


def of_a_static_network(built: StaticNetwork) -> None:
    assert_type(built.scope, Scope)
    assert_type(built.main, paddle.static.Program)
    assert_type(built.names, Mapping[str, paddle.Tensor])


variable = merged.variables["logits"]
role: purdist.Role = "buffer"
assert_type(variable.role, purdist.Role)
assert_type(variable.name, str)
assert_type(variable.shape, tuple[int, ...])
assert_type(variable.dtype, purdist.Dtype)
assert_type(variable.trainable, bool)

assert_type(distillation.program, purdist.Program)
assert_type(distillation.loss, str)
assert_type(distillation.terms, tuple[str, ...])
assert_type(training.program, purdist.Program)
assert_type(training.loss, str)
assert_type(training.terms, tuple[str, ...])

for step in steps:
    assert_type(step.index, int)
    assert_type(step.loss, float)
    assert_type(step.terms, Mapping[str, float])
    assert_type(step.weights, Mapping[str, float])
    assert_type(step.learning_rate, float)
    assert_type(step.fetched, Mapping[str, npt.NDArray[Any]])

# --- losses keep their kind ---------------------------------------------------------------

l2 = L2Loss("t_features", "features")
assert_type(0.5 * l2, L2Loss)
assert_type(l2 * 2, L2Loss)
assert_type(3 * (l2 * 0.5), L2Loss)
assert_type(0.5 * FspLoss("t1", "t2", "s1", "s2"), FspLoss)
assert_type(0.5 * HuberLoss("t", "s"), HuberLoss)
assert_type(0.5 * CustomLoss(cosine, {"teacher": "t", "student": "s"}), CustomLoss)
assert_type((2 * HuberLoss("t", "s")).delta, float)
assert_type(l2.renamed({"t_features": "u_features", "features": NewInput("fed")}), L2Loss)
assert_type(HuberLoss("t", "s").renamed({"t": "u"}).delta, float)
assert_type(l2.map_variables(lambda name: name.removeprefix("t_")), L2Loss)
moved = CustomLoss(cosine, {"teacher": "t", "student": "s"}).map_variables(str.upper)
assert_type(0.5 * moved, CustomLoss)
assert_type(attrs.evolve(HuberLoss("t", "s"), delta=2.0, weight=0), HuberLoss)
assert_type(l2.name, str | None)
assert_type(l2.weight, float | Schedule)
assert_type(Schedule.constant(0.5) * 2, Schedule)
assert_type(l2.variables, Mapping[str, str | NewInput])
specs: Sequence[LossSpec] = [l2, 0.5 * HuberLoss("t", "s")]
assert_type({l2: "hashable"}, dict[L2Loss, str])

# --- errors are also the built-ins that fit -----------------------------------------------


def as_builtin(error: purdist.UnknownVariableError) -> KeyError:
    assert_type(error.problem, str)
    assert_type(error.remedy, str)
    assert_type(error.faults, tuple[purdist.PurdistError, ...])
    return error


def as_data(warning: purdist.PartialWeightsWarning) -> UserWarning:
    assert_type(warning.missing, tuple[str, ...])
    assert_type(warning.unexpected, tuple[str, ...])
    assert_type(warning.mismatched, tuple[str, ...])
    return warning


def each_kind(error: purdist.SeveralFaultsError) -> ExceptionGroup[purdist.PurdistError]:
    assert_type(error.faults, tuple[purdist.PurdistError, ...])
    assert_type(error.derive(error.faults), purdist.SeveralFaultsError)
    assert_type(error.subgroup(KeyError), ExceptionGroup[KeyError] | None)
    try:
        raise error
    except* purdist.UnknownVariableError as group:
        assert_type(group, ExceptionGroup[purdist.UnknownVariableError])
    return error
