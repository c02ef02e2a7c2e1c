"""Where gradients flow: wherever something trainable lies upstream, whatever lies between."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

import purdist
from tests.nets import moved, numbers, weights

pytestmark = pytest.mark.usefixtures("dynamic")

Layers = Callable[[], nn.Layer]

SPEC = {"h": InputSpec([None, 6])}
FEED = {"x": numbers(0, 8, 6)}


class Of(nn.Layer):
    """A function of what comes in, before a linear layer."""

    def __init__(self, function: Callable[[paddle.Tensor], paddle.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, h: paddle.Tensor) -> paddle.Tensor:
        return self.function(h)


class Branching(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, h: paddle.Tensor) -> paddle.Tensor:
        if h.mean() > 0:  # noqa: SIM108 - what is tested
            h = self.one(h)
        else:
            h = self.other(h)
        return h


class Repeating(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(6, 6)

    def forward(self, h: paddle.Tensor) -> paddle.Tensor:
        count = paddle.zeros([1], "int32")
        while count < 3:
            h = paddle.tanh(self.step(h))
            count = count + 1
        return h


class Recurrent(nn.Layer):
    """Rows taken as two steps of three."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.recurrence, self.last = nn.LSTM(3, 3, 2, dropout=dropout), nn.Linear(3, 6)

    def forward(self, h: paddle.Tensor) -> paddle.Tensor:
        hidden, _ = self.recurrence(h.reshape([-1, 2, 3]))
        return self.last(hidden[:, -1])


class Maps(nn.Layer):
    """Convolution, batch norm and pooling of rows laid out as a map."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2D(1, 3, 3, padding=1), nn.BatchNorm2D(3)

    def forward(self, h: paddle.Tensor) -> paddle.Tensor:
        map_ = self.norm(self.convolution(h.reshape([-1, 1, 2, 3])))
        return nn.functional.relu(map_).mean(1).flatten(1)


def frozen(layer: nn.Layer) -> nn.Layer:
    for parameter in layer.parameters():
        parameter.stop_gradient = True
    return layer


def still(layer: nn.Layer) -> nn.Layer:
    """Frozen, and in eval mode while the network around it trains."""
    layer.eval()
    return frozen(layer)


def parts_stopped(h: paddle.Tensor) -> paddle.Tensor:
    with paddle.no_grad():
        gate = paddle.nn.functional.sigmoid(h)
    held = h * 2.0
    held.stop_gradient = True
    return h * gate + h.detach() * held


FIRST: dict[str, Layers] = {
    "linear": lambda: nn.Linear(6, 6),
    "tanh": nn.Tanh,
    "flatten": nn.Flatten,
    "frozen linear": lambda: frozen(nn.Linear(6, 6)),
    "frozen network": lambda: frozen(
        nn.Sequential(nn.Linear(6, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 6))
    ),
    "dropout": lambda: nn.Dropout(0.0),
    "batch norm": lambda: nn.BatchNorm1D(6),
    "frozen batch norm": lambda: still(nn.BatchNorm1D(6)),
    "maps": Maps,
    "frozen maps": lambda: frozen(Maps()),
    "condition": Branching,
    "frozen condition": lambda: frozen(Branching()),
    "loop": Repeating,
    "frozen loop": lambda: frozen(Repeating()),
    "recurrent": Recurrent,
    "split": lambda: Of(lambda h: paddle.concat(paddle.split(h, 3, axis=-1)[::-1], axis=-1)),
    "parts stopped": lambda: Of(parts_stopped),
    "parts rounded": lambda: Of(lambda h: h + h.astype("int64").astype("float32")),
    "parts chosen": lambda: Of(lambda h: h * (h > 0).astype("float32") + paddle.ones_like(h)),
    "largest": lambda: Of(lambda h: h + nn.functional.one_hot(paddle.argmax(h, -1), 6)),
}


def networks(first: str) -> tuple[nn.Layer, nn.Layer]:
    """One that computes, and one that reads it, the same at each call."""
    paddle.seed(7)
    return nn.Sequential(nn.Linear(6, 6), nn.Tanh()), nn.Sequential(FIRST[first](), nn.Linear(6, 3))


def loss_of(answer: paddle.Tensor) -> paddle.Tensor:
    return (answer - 1.0).square().mean()


def keep_for_gradients(layer: nn.Layer) -> None:
    """In eval mode a recurrence has no gradient in dygraph; without dropout the modes are one."""
    for sublayer in layer.sublayers():
        if isinstance(sublayer, nn.LSTM):
            sublayer.train()


def by_dygraph(lower: nn.Layer, upper: nn.Layer, learning: Iterable[nn.Layer]) -> None:
    """Three steps of whoever is learning."""
    parameters = [parameter for layer in learning for parameter in layer.parameters()]
    optimizer = paddle.optimizer.SGD(0.1, parameters=parameters)
    for _ in range(3):
        loss_of(upper(lower(paddle.to_tensor(FEED["x"])))).backward()
        optimizer.step()
        optimizer.clear_grad()


def by_purdist(merged: purdist.Program, answer: str) -> purdist.Training:
    losses = [purdist.CustomLoss(loss_of, {"answer": answer})]
    training = purdist.minimize(purdist.apply(merged, losses), lambda: paddle.optimizer.SGD(0.1))
    list(purdist.train(training, [FEED] * 3))
    return training


def assert_equal(training: purdist.Training, prefix: str, layer: nn.Layer) -> None:
    held = weights(training.program)
    for name, tensor in layer.state_dict().items():
        if "tracked" not in name:
            np.testing.assert_allclose(
                held[training.program.variables[prefix + name].name],
                tensor.numpy(),
                rtol=1e-5,
                atol=1e-6,
                err_msg=name,
            )


@pytest.mark.parametrize("first", FIRST)
def test_two_that_learn_one_reading_the_other_train_as_in_dygraph(first: str) -> None:
    lower, upper = networks(first)
    merged = purdist.join(
        purdist.from_layer(upper, SPEC),
        purdist.from_layer(lower, {"x": InputSpec([None, 6])}),
        {"h": "output"},
        name_prefix="upper_",
    )
    training = by_purdist(merged, "upper_output")
    keep_for_gradients(upper)
    by_dygraph(lower, upper, [lower, upper])
    assert_equal(training, "", lower)
    assert_equal(training, "upper_", upper)


@pytest.mark.parametrize("first", FIRST)
def test_a_network_is_taught_through_a_teacher_as_in_dygraph(first: str) -> None:
    lower, upper = networks(first)
    merged = purdist.merge(
        purdist.from_layer(upper, SPEC),
        purdist.from_layer(lower, {"x": InputSpec([None, 6])}),
        {"h": "output"},
    )
    training = by_purdist(merged, "teacher_output")
    upper.eval()
    keep_for_gradients(upper)
    by_dygraph(lower, upper, [lower])
    assert_equal(training, "", lower)
    assert_equal(training, "teacher_", upper)


def taught_through(teacher: nn.Layer, losses: Iterable[purdist.LossSpec]) -> purdist.Distillation:
    """A generator whose images the teacher reads."""
    merged = purdist.merge(
        purdist.from_layer(teacher, SPEC),
        purdist.from_layer(nn.Linear(6, 6), {"x": InputSpec([None, 6])}),
        {"h": "output"},
    )
    return purdist.apply(merged, losses)


TO_TEACHER = purdist.CustomLoss(loss_of, {"answer": "teacher_output"})


class Exchanging(nn.Layer):
    def forward(self, h: paddle.Tensor) -> paddle.Tensor:
        count, other = paddle.zeros([1], "int32"), h * 2.0
        while count < 3:
            h, other = other, paddle.tanh(h)
            count = count + 1
        return h + other


def test_a_teacher_whose_loop_paddle_cannot_differentiate_is_not_taught_through() -> None:
    with pytest.raises(purdist.InvalidArgumentError, match="carries 2 tensors that take gradients"):
        purdist.minimize(
            taught_through(Exchanging(), [TO_TEACHER]), lambda: paddle.optimizer.SGD(0.1)
        )


def test_a_recurrent_teacher_with_dropout_is_not_taught_through() -> None:
    distillation = taught_through(Recurrent(dropout=0.5), [TO_TEACHER])
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
    assert str(caught.value) == (
        "Expected a recurrent layer that infers, and that a gradient goes through, to have no "
        "dropout, got 0.5 in 'recurrence'.\n"
        "Make it with dropout=0.0: it drops nothing, and its weights are the same."
    )


def test_a_teacher_that_judges_lets_gradients_through() -> None:
    """DAFL: the classes that the teacher sees in a generator's images become sure ones."""
    label = purdist.NewInput("label")
    judged = purdist.CrossEntropyLoss("teacher_output", label)
    distillation = taught_through(nn.Linear(6, 3), [judged])
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
    feed = {**FEED, "label": np.zeros(8, "int64")}
    losses = [step.loss for step in purdist.train(training, [feed] * 5)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("parameter", ["answer", "teacher"])
def test_a_function_lets_gradients_through_whatever_its_parameters_are_called(
    parameter: str,
) -> None:
    def loss(**read: paddle.Tensor) -> paddle.Tensor:
        return loss_of(read[parameter])

    distillation = taught_through(
        nn.Linear(6, 3), [purdist.CustomLoss(loss, {parameter: "teacher_output"})]
    )
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
    before = weights(training.program)
    for _ in purdist.train(training, [FEED]):
        pass
    learns = {name for name in before if not name.startswith("teacher_")}
    assert moved(before, weights(training.program)) == learns
