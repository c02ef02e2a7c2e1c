"""`from_layer`: what a person can guess, names, arguments, and which weights train."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F  # noqa: N812
from paddle.static import InputSpec

import purdist
from purdist.graphs import op_of
from purdist.program import internals_of
from tests import layers
from tests.nets import moved, numbers, read, weights

pytestmark = pytest.mark.usefixtures("dynamic")

ROW = InputSpec([None, 4])


def from_rows(layer: nn.Layer, **options: Any) -> purdist.Program:
    return purdist.from_layer(layer, {"x": ROW}, **options)


def made_of(*parts: nn.Layer) -> nn.Sequential:
    return nn.Sequential(*parts)


def test_the_names_of_a_residual_network() -> None:
    program = layers.program("resnet18")
    for name in ("layer1.0.conv1", "layer4.1", "layer4", "fc", "output"):
        assert program.variables[name].role == "activation", name
    assert program.variables["layer1.0.conv1"].op == "conv2d"
    assert program.variables["layer1.0.conv1"].layer == "layer1.0.conv1"
    assert program.variables["layer1.0.conv1.weight"].role == "parameter"
    assert program.variables["layer1.0.bn1._mean"].role == "buffer"
    assert program.variables["layer2.1.relu#1"].layer == "layer2.1.relu"
    assert program.inputs == ("x",)
    layer = layers.layer("resnet18")
    own = dict(layer.named_parameters())  # Paddle has running statistics among them
    assert list(program.weights) == list(own)
    assert list(program.parameters) == [n for n in own if not own[n].stop_gradient]


def test_a_name_for_each_output() -> None:
    assert "output" in layers.program("looping").variables
    googlenet = layers.program("googlenet").variables
    assert {"output.0", "output.1", "output.2"} <= googlenet.keys()
    assert "output" not in googlenet
    lstm = layers.program("lstm").variables
    assert {"output.0", "output.1.0", "output.1.1"} <= lstm.keys()
    dictionaries = layers.program("dictionaries").variables
    assert {"logits", "maps.0", "maps.1", "head"} <= dictionaries.keys()
    assert not any(name.startswith(("output", "nothing")) for name in dictionaries)


def test_a_shared_sublayer_has_all_its_names() -> None:
    program = layers.program("shared")
    for one, other in (("first", "second"), ("first#1", "second#1"), ("first#2", "second#2")):
        assert program.variables[one] is program.variables[other]
        assert program.variables[one].layer == "first"
    assert program.variables["first"] is not program.variables["first#1"]
    weight = program.variables["first.weight"]
    assert weight is program.variables["second.weight"] is program.variables["back.weight"]
    assert program.parameters == ("first.weight", "first.bias", "back.bias")


def test_what_lies_inside_a_region_is_out_of_reach() -> None:
    program = layers.program("looping")
    assert internals_of(program).inner.keys() == {"step", "step#1"}
    with pytest.raises(purdist.UnknownVariableError, match="'step', which is inside a while or if"):
        program.variable("step")


def test_what_lies_inside_a_region_is_of_one_network() -> None:
    """Of which one names do not tell: ``p_1_step`` begins with ``p_``."""
    program = layers.program("looping")
    inputs = {name: name for name in program.inputs}
    both = purdist.join(program, from_rows(layers.Looping()), inputs, name_prefix="p_")
    taught = purdist.merge(program, both, inputs, name_prefix="p_1_")
    assert {internals_of(taught).inner[name] for name in ("p_step", "p_1_step")} == {"p_", "p_1_"}
    alone = purdist.student_of(taught, name_prefix="p_")
    assert internals_of(alone).inner == {"step": "", "step#1": ""}


class Clashing(nn.Layer):
    """Its outputs are called what its sublayers are."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(4, 4)
        self.pair = Pair()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return F.softmax(self.pair(self.output(x))[0])


class Pair(nn.LayerList):
    """Two outputs, and a sublayer called 0."""

    def __init__(self) -> None:
        super().__init__([nn.Linear(4, 4)])

    def forward(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        return x * 2.0, self[0](x)


def test_the_second_of_a_name_is_numbered() -> None:
    layer = Clashing()
    layer.eval()
    program = from_rows(layer)
    x = numbers(0, 2, 4)
    fetch = ["output", "output#1", "pair.0", "pair.0#1", "pair.1"]
    got = program.run({"x": x}, fetch)
    hidden = layer.output(paddle.to_tensor(x))
    np.testing.assert_array_equal(got["output#1"], hidden.numpy())
    np.testing.assert_array_equal(got["output"], layer(paddle.to_tensor(x)).numpy())
    np.testing.assert_array_equal(got["pair.0"], layer.pair[0](hidden).numpy())
    np.testing.assert_array_equal(got["pair.0#1"], (hidden * 2.0).numpy())
    assert program.variables["pair.1"] is program.variables["pair.0"]


class Classifying(nn.Layer):
    """What it returns while it trains is called what its sublayer is."""

    def __init__(self) -> None:
        super().__init__()
        self.cls = nn.Linear(4, 3)

    def forward(self, x: paddle.Tensor) -> Any:
        probabilities = F.softmax(self.cls(x))
        return {"cls": probabilities} if self.training else probabilities


def test_a_name_that_is_returned_in_either_mode_is_no_sublayers() -> None:
    program = from_rows(Classifying())
    assert program.variables["cls"].op == "softmax"
    assert program.variables["cls"].mode == "training"
    assert program.variables["cls#1"].layer == "cls"
    assert program.variables["cls#1"].mode == "both"
    assert program.variables["output"].mode == "inference"


@dataclasses.dataclass
class Answer:
    logits: Any
    maps: Any


class Pairs(NamedTuple):
    low: Any
    high: Any


class Answering(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.cls = nn.Linear(4, 3)

    def forward(self, x: paddle.Tensor) -> Answer:
        return Answer(self.cls(x), Pairs(x * 2.0, [x * 3.0]))


def test_dataclasses_and_named_tuples_are_named_by_field() -> None:
    program = from_rows(Answering())
    x = numbers(0, 2, 4)
    got = program.run({"x": x}, ["logits", "maps.low", "maps.high.0"])
    np.testing.assert_array_equal(got["maps.low"], x * 2.0)
    np.testing.assert_array_equal(got["maps.high.0"], x * 3.0)
    assert "output" not in program.variables


class NoisyInTraining(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.first(x) * 2.0
        if self.training:
            x = x * paddle.randn([4])
        x = x * 3.0
        return self.last(x + 1.0)


def test_a_made_name_means_the_same_in_both_modes() -> None:
    program = from_rows(NoisyInTraining())
    trained, inferred = (
        internals_of(program).modes.training.values,
        internals_of(program).modes.inference.values,
    )
    for name, variable in program.variables.items():
        if variable.mode == "both":
            assert op_of(trained[name]).name() == op_of(inferred[name]).name()
    # The sublayers do the same in both; what the network itself does cannot be told apart.
    assert {"matmul_0", "matmul_1"} <= trained.keys() & inferred.keys()
    scales = [name for name in program.variables if name.startswith("scale")]
    assert {program.variables[name].mode for name in scales} == {"training", "inference"}
    assert "training only" in program.describe("scale*")


class Switching(nn.Layer):
    """Does nothing in training, and something in eval mode."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x if self.training else F.softmax(x)


def test_one_value_in_one_mode_and_two_in_the_other_are_two_variables() -> None:
    program = from_rows(made_of(nn.Linear(4, 4), Switching(), nn.AlphaDropout(0.5)))
    names = ("0", "1", "2")
    assert [program.variables[name].name for name in names] == list(names)
    assert (
        internals_of(program).modes.training.values["1"].id
        == internals_of(program).modes.training.values["0"].id
    )
    assert (
        internals_of(program).modes.inference.values["2"].id
        == internals_of(program).modes.inference.values["1"].id
    )


# --- arguments --------------------------------------------------------------------------


class Arguments(nn.Layer):
    def forward(
        self,
        x: paddle.Tensor,
        y: paddle.Tensor | None = None,
        factor: float = 2.0,
        *others: paddle.Tensor,
        mask: paddle.Tensor | None = None,
    ) -> dict[str, paddle.Tensor]:
        given = {"first": x * factor}
        if y is not None:
            given["second"] = y * factor
        if mask is not None:
            given["third"] = mask * factor
        return given


class Anything(nn.Layer):
    def forward(self, *inputs: paddle.Tensor) -> paddle.Tensor:
        return inputs[0] - inputs[1]


class Nested(nn.Layer):
    def forward(
        self,
        pair: tuple[paddle.Tensor, Mapping[str, paddle.Tensor]],
        options: Mapping[str, paddle.Tensor],
    ) -> paddle.Tensor:
        return pair[0] - pair[1]["deep"] * options["weight"]


@pytest.mark.parametrize(
    ("layer", "inputs", "passed"),
    [
        (Arguments(), {"x": ROW}, {"first": "x"}),
        (Arguments(), [InputSpec([None, 4], name="a")], {"first": "a"}),
        (Arguments(), {"a": ROW, "b": ROW}, {"first": "a", "second": "b"}),
        (Arguments(), {"y": ROW, "x": ROW}, {"first": "x", "second": "y"}),
        (Arguments(), {"y": ROW, "a": ROW}, {"first": "a", "second": "y"}),
        (Arguments(), {"a": ROW, "mask": ROW}, {"first": "a", "third": "mask"}),
        (
            Arguments(),
            {"mask": ROW, "b": ROW, "a": ROW},
            {"first": "b", "second": "a", "third": "mask"},
        ),
    ],
)
def test_how_feeds_become_arguments(
    layer: nn.Layer, inputs: Any, passed: Mapping[str, str]
) -> None:
    program = purdist.from_layer(layer, inputs)
    feeds = {name: numbers(k, 2, 4) for k, name in enumerate(program.inputs)}
    got = program.run(feeds, list(passed))
    for argument, feed in passed.items():
        np.testing.assert_array_equal(got[argument], feeds[feed] * np.float32(2.0))
    assert set(program.inputs) == set(passed.values())


def test_arguments_without_names_and_nested_ones() -> None:
    feeds = {"b": numbers(0, 2, 4), "a": numbers(1, 2, 4), "weight": numbers(2, 2, 4)}
    difference = purdist.from_layer(Anything(), {"b": ROW, "a": ROW})
    assert difference.inputs == ("b", "a")
    got = difference.run({"a": feeds["a"], "b": feeds["b"]}, ["output"])
    np.testing.assert_array_equal(got["output"], feeds["b"] - feeds["a"])
    nested = purdist.from_layer(
        Nested(), [[InputSpec([None, 4], name="b"), {"deep": ROW}], {"weight": ROW}]
    )
    got = nested.run({"b": feeds["b"], "deep": feeds["a"], "weight": feeds["weight"]}, ["output"])
    np.testing.assert_array_equal(got["output"], feeds["b"] - feeds["a"] * feeds["weight"])


# --- weights ----------------------------------------------------------------------------


def test_a_snapshot_of_the_weights() -> None:
    layer = nn.Linear(4, 2)
    program = from_rows(layer)
    before = weights(program)
    layer.weight.set_value(paddle.zeros([4, 2]))
    assert moved(before, weights(program)) == set()


def test_shared_weights_are_those_of_the_layer() -> None:
    layer = nn.Linear(4, 2)
    program = from_rows(layer, share=True)
    shared = program.scope.var("weight").get_tensor()
    assert shared._ptr() == layer.weight.get_tensor()._ptr()
    optimizer = paddle.optimizer.SGD(1.0, parameters=layer.parameters())
    x = numbers(0, 3, 4)
    layer(paddle.to_tensor(x)).sum().backward()
    optimizer.step()
    got = program.run({"x": x}, ["output"])
    np.testing.assert_array_equal(got["output"], layer(paddle.to_tensor(x)).numpy())


class Views(nn.Layer):
    """Buffers that are views of other tensors: their memory is not in the order of their axes."""

    def __init__(self) -> None:
        super().__init__()
        table = paddle.arange(12, dtype="float32").reshape([3, 4])
        self.register_buffer("columns", table[:, 1:3])
        self.register_buffer("turned", table.T)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x.matmul(self.turned).matmul(self.columns)


@pytest.mark.parametrize("share", [False, True])
def test_views_are_taken_for_what_they_show(*, share: bool) -> None:
    layer = Views()
    program = from_rows(layer, share=share)
    held = read(program.scope)
    np.testing.assert_array_equal(held["columns"], layer.columns.numpy())
    np.testing.assert_array_equal(held["turned"], layer.turned.numpy())
    x = numbers(0, 2, 4)
    np.testing.assert_array_equal(
        program.run({"x": x}, ["output"])["output"], layer(paddle.to_tensor(x)).numpy()
    )


_ELSEWHERE = paddle.nn.Linear(4, 4)


class Particular(nn.Layer):
    """A weight of each kind."""

    def __init__(self) -> None:
        super().__init__()
        slow = paddle.ParamAttr(
            learning_rate=0.5, regularizer=paddle.regularizer.L2Decay(0.1), need_clip=False
        )
        self.slow = nn.Linear(4, 4, weight_attr=slow)
        self.frozen = nn.Linear(4, 4)
        self.frozen.weight.stop_gradient = True
        self.unused = nn.Linear(2, 2)
        self.register_buffer("position", paddle.ones([4]), persistable=False)
        self.kept = [paddle.create_parameter([4], "float32")]

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        moved: paddle.Tensor = self.frozen(self.slow(x)) * self.position
        return moved + self.kept[0] + _ELSEWHERE.bias


def test_which_weights_train_and_how() -> None:
    program = from_rows(Particular())
    trainable = {name for name in program.weights if program.variables[name].trainable}
    assert trainable == {
        *("slow.weight", "slow.bias", "frozen.bias", "unused.weight", "unused.bias"),
    }
    assert program.describe("frozen.weight").endswith("frozen")
    assert program.variables["position"].role == "parameter"
    others = set(program.parameters) - trainable - {"frozen.weight", "position"}
    assert len(others) == 2  # what forward finds outside the layer's parameters
    slow = internals_of(program).modes.training.values["slow.weight"]
    assert slow.optimize_attr == {"learning_rate": 0.5}
    assert slow.regularizer is not None
    assert slow.need_clip is False
    assert internals_of(program).modes.training.values["slow.bias"].need_clip is True


def test_a_part_that_is_frozen_in_eval_mode_trains_so() -> None:
    layer = made_of(nn.Linear(4, 4), nn.BatchNorm1D(4), nn.BatchNorm1D(4))
    layer[1].eval()
    assert layer.training
    program = from_rows(layer)
    assert program.variables["2._mean"].role == "buffer"
    assert program.variables["1._mean"].role == "parameter"
    layer.eval()
    assert from_rows(layer).variables["1._mean"].role == "buffer"


@pytest.mark.parametrize(
    "dropout",
    [
        nn.Dropout(0.5),
        nn.Dropout(0.5, axis=0),
        nn.Dropout(0.5, mode="downscale_in_infer"),
        nn.Dropout2D(0.5),
        nn.Dropout3D(0.5),
        nn.AlphaDropout(0.5),
        nn.FeatureAlphaDropout(0.5),
        nn.RReLU(),
    ],
    ids=str,
)
def test_a_teacher_is_still_and_a_student_drops(dropout: nn.Layer) -> None:
    layer = made_of(nn.Linear(4, 4), dropout)
    shape = [2, 2, 2] if isinstance(dropout, nn.Dropout3D) else [2, 2]
    program = purdist.from_layer(layer, {"x": InputSpec([None, *shape, 4])})
    feed = {"x": numbers(0, 8, *shape, 4)}
    layer.eval()
    expected = layer(paddle.to_tensor(feed["x"])).numpy()
    for _ in range(2):
        np.testing.assert_array_equal(program.run(feed, ["output"])["output"], expected)
    loss = purdist.CustomLoss(lambda value: value.square().mean(), {"value": "output"})
    rate = paddle.optimizer.SGD
    training = purdist.minimize(purdist.apply(program, [loss]), lambda: rate(0.0))
    one, other = purdist.train(training, [feed, feed], fetch=["output"])
    assert not np.array_equal(one.fetched["output"], other.fetched["output"])


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    program = from_rows(made_of(nn.AlphaDropout(0.3), nn.Linear(4, 4)))
    loss = purdist.CustomLoss(lambda value: value.mean(), {"value": "output"})
    training = purdist.minimize(purdist.apply(program, [loss]), lambda: paddle.optimizer.SGD(0.0))
    (step,) = purdist.train(training, [{"x": numbers(0, 50_000, 4)}], fetch=["0"])
    dropped = step.fetched["0"]
    _, times = np.unique(dropped, return_counts=True)
    assert abs(times.max() / dropped.size - 0.3) < 0.01  # all that is dropped is one value
    assert abs(dropped.mean()) < 0.01
    assert abs(dropped.std() - 1.0) < 0.01


def test_a_layer_that_was_made_static_already() -> None:
    layer = paddle.jit.to_static(layers.Looping(), full_graph=True)
    plain = copy.deepcopy(layer)
    plain.forward = layers.Looping.forward.__get__(plain)  # type: ignore[method-assign]  # undone
    program = from_rows(layer)
    plain.eval()
    x = numbers(0, 2, 4)
    np.testing.assert_array_equal(
        program.run({"x": x}, ["output"])["output"], plain(paddle.to_tensor(x)).numpy()
    )


# --- loops ------------------------------------------------------------------------------


class TwoStates(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(4, 4)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        count, total = paddle.zeros([1], "int32"), x * 0.0
        while count < 3:
            x = F.tanh(self.step(x))
            total = total + x
            count = count + 1
        return total


class Branching(TwoStates):
    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        count = paddle.zeros([1], "int32")
        while count < 3:
            if x.mean() > 0:  # noqa: SIM108 - what is tested
                x = self.step(x)
            else:
                x = self.step(x) * 2.0
            count = count + 1
        return x


@pytest.mark.parametrize(
    ("layer", "fault"),
    [
        (TwoStates(), "carries 2 tensors that take gradients"),
        (Branching(), "has an if or a loop inside that takes gradients"),
    ],
)
def test_a_loop_that_paddle_differentiates_wrongly_may_teach_alone(
    layer: nn.Layer, fault: str
) -> None:
    program = from_rows(made_of(layer, nn.Linear(4, 2)))
    layer.eval()
    x = numbers(0, 2, 4)
    np.testing.assert_array_equal(
        program.run({"x": x}, ["0"])["0"], layer(paddle.to_tensor(x)).numpy()
    )
    loss = purdist.CustomLoss(lambda value: value.mean(), {"value": "output"})
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        purdist.minimize(purdist.apply(program, [loss]), lambda: paddle.optimizer.SGD(1.0))
    assert caught.value.problem == (
        f"Expected while loops that Paddle differentiates, got one in the layer '0' that {fault}."
    )
    student = from_rows(nn.Linear(4, 2))
    merged = purdist.merge(program, student, {"x": "x"})
    l2 = purdist.L2Loss("teacher_output", "output")
    training = purdist.minimize(purdist.apply(merged, [l2]), lambda: paddle.optimizer.SGD(0.1))
    first, second = purdist.train(training, [{"x": x}, {"x": x}])
    assert second.loss < first.loss
