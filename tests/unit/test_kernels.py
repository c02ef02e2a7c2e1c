"""Kernels of oneDNN, each held against Paddle's own: value and gradient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F  # noqa: N812

import purdist
from purdist import graphs
from purdist.training.values import session_of
from tests.nets import Array, Net, images, numbers, program, read

Build = Callable[[paddle.Tensor], paddle.Tensor]


def conv(before: int, after: int, size: int, **options: Any) -> Build:
    def build(value: paddle.Tensor) -> paddle.Tensor:
        return paddle.nn.Conv2D(before, after, size, **options)(value)

    return build


def chain(*parts: Build) -> Build:
    def build(value: paddle.Tensor) -> paddle.Tensor:
        for part in parts:
            value = part(value)
        return value

    return build


def norm(channels: int) -> Build:
    def build(value: paddle.Tensor) -> paddle.Tensor:
        return paddle.nn.BatchNorm2D(channels)(value)

    return build


def round_about(value: paddle.Tensor) -> paddle.Tensor:
    inside = F.relu(paddle.nn.BatchNorm2D(3)(paddle.nn.Conv2D(3, 3, 3, padding=1)(value)))
    return F.relu(value + paddle.nn.Conv2D(3, 3, 3, padding=1)(inside))


CASES: dict[str, Build] = {
    "plain": conv(3, 4, 3),
    "padded": conv(3, 4, 3, padding=1),
    "same": conv(3, 4, 3, padding="SAME"),
    "strided": conv(3, 8, 3, stride=2, padding=1),
    "dilated": conv(3, 4, 3, dilation=2),
    "one by one": conv(3, 16, 1),
    "without bias": conv(3, 4, 3, bias_attr=False),
    "grouped": chain(conv(3, 8, 1), conv(8, 16, 3, groups=4)),
    "depthwise": chain(conv(3, 8, 1), conv(8, 8, 3, padding=1, groups=8)),
    "two, with relu": chain(conv(3, 16, 3), F.relu, conv(16, 16, 3)),
    "batch norm": chain(conv(3, 16, 3), norm(16), F.relu, conv(16, 8, 3)),
    "pooled": chain(conv(3, 16, 3), lambda value: F.max_pool2d(value, 2), conv(16, 4, 2)),
    "a way round": round_about,
    "flat after": chain(conv(3, 4, 3), lambda value: value.flatten(1), paddle.nn.functional.gelu),
}


def differentiated(build: Build, *, dtype: str = "float32") -> tuple[graphs.Graph, Net]:
    """A graph of what is built, its square's mean, and all gradients of that."""
    values: dict[str, paddle.Tensor] = {}

    def forward() -> dict[str, paddle.Tensor]:
        image = paddle.static.data("x", [None, 3, 9, 9], dtype)
        image.stop_gradient = False
        values["out"] = build(image)
        values["loss"] = (values["out"].square() + values["out"].sin()).mean()
        weights = paddle.static.default_main_program().global_block().all_parameters()
        learned = [image, *(w for w in weights if w.trainable)]
        gradients = paddle.static.gradients([values["loss"]], learned)
        values.update({f"gradient {k}": g for k, g in enumerate(gradients) if g is not None})
        return values

    net = Net.of(forward)
    return graphs.Graph(net.main, values), net


def moved(graph: graphs.Graph) -> Counter[str]:
    return Counter(op.name() for op in graphs.operations(graph.program) if "onednn" in op.name())


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients_are_those_of_paddles_own_kernels(name: str) -> None:
    graph, net = differentiated(CASES[name])
    place = paddle.CPUPlace()
    with graphs.building():
        fast = graphs.with_fast_kernels(graph)
    kinds = {kind.removeprefix("onednn_op.") for kind in moved(fast)}
    assert kinds in ({"conv2d", "conv2d_grad"}, kinds | {"depthwise_conv2d_grad"})
    feed = {"x": numbers(1, 5, 3, 9, 9)}
    names = list(graph.values)
    expected = graphs.Runner(graph, names, net.scope, place)(feed)
    got = graphs.Runner(fast, names, net.scope, place)(feed)
    for value, right, result in zip(names, expected, got, strict=True):
        np.testing.assert_allclose(
            result, right, rtol=1e-4, atol=1e-7 + 3e-6 * np.abs(right).max(), err_msg=value
        )


def test_other_dtypes_stay() -> None:
    def build(value: paddle.Tensor) -> paddle.Tensor:
        filters = paddle.create_parameter([4, 3, 3, 3], "float64")
        return F.conv2d(value, filters)

    graph, _ = differentiated(build, dtype="float64")
    with graphs.building():
        assert not moved(graphs.with_fast_kernels(graph))


def test_training_is_that_of_plain_paddle_over_many_steps() -> None:
    """Filters move at each step; a kernel that kept a copy of the first would drift off."""
    feeds = [{"x": numbers(k, 8, 1, 4, 4), "label": np.arange(8) % 4} for k in range(30)]
    net = Net.of(images(dropout=0.0))
    loss = purdist.CrossEntropyLoss("logits", purdist.NewInput("label"))
    training = purdist.minimize(
        purdist.apply(net.program(), [loss]), lambda: paddle.optimizer.SGD(0.1)
    )
    assert moved(session_of(training).step) == {"onednn_op.conv2d": 1, "onednn_op.conv2d_grad": 1}
    losses = [step.loss for step in purdist.train(training, feeds)]

    with paddle.static.program_guard(net.main, net.startup):
        label = paddle.static.data("label", [None], "int64")
        plain = F.cross_entropy(net.names["logits"], label)
        paddle.optimizer.SGD(0.1).minimize(plain)
    executor = paddle.static.Executor()
    fresh = paddle.static.Scope()
    paddle.seed(0)
    executor.run(net.startup, scope=fresh)
    expected = [
        float(executor.run(net.main, feed=dict(feed), fetch_list=[plain], scope=fresh)[0])
        for feed in feeds
    ]
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    for name, weight in read(training.program.scope).items():
        if name in training.program.weights:
            np.testing.assert_allclose(weight, read(fresh)[name], rtol=1e-3, atol=1e-5)


def test_what_a_convolution_computes_can_be_fetched_in_training() -> None:
    network = program(images())
    loss = purdist.CrossEntropyLoss("logits", purdist.NewInput("label"))
    training = purdist.minimize(purdist.apply(network, [loss]), lambda: paddle.optimizer.SGD(0.1))
    feed = {"x": numbers(1, 8, 1, 4, 4), "label": np.arange(8) % 4}
    step = next(purdist.train(training, [feed], fetch=["convolved"]))
    expected = network.run({"x": feed["x"]}, ["convolved"])["convolved"]
    np.testing.assert_allclose(step.fetched["convolved"], expected, rtol=1e-5, atol=1e-6)


def linear(before: int, after: int) -> Build:
    def build(value: paddle.Tensor) -> paddle.Tensor:
        return paddle.nn.Linear(before, after)(value)

    return build


def transformer(value: paddle.Tensor) -> paddle.Tensor:
    return paddle.nn.TransformerEncoderLayer(128, 4, 256, dropout=0.0)(value)


def turned(value: paddle.Tensor) -> paddle.Tensor:
    weight = paddle.create_parameter([128, 128], "float32", name="turned")
    return paddle.matmul(value, weight, transpose_y=True)


def with_itself(value: paddle.Tensor) -> paddle.Tensor:
    value = paddle.nn.Linear(128, 128)(value)
    return paddle.matmul(value, value, transpose_y=True)


LINEAR: dict[str, tuple[tuple[int | None, ...], Build, Counter[str]]] = {
    "rows": (
        (None, 128),
        chain(linear(128, 128), F.relu, linear(128, 160)),
        # The first takes no gradient to the feed, without which the kernel would crash.
        Counter({"onednn_op.matmul": 2, "onednn_op.matmul_grad": 1}),
    ),
    "sequences": (
        (None, 6, 128),
        chain(linear(128, 128), F.relu, linear(128, 160)),
        Counter({"onednn_op.matmul": 2, "onednn_op.matmul_grad": 1}),
    ),
    "sequences of a known batch": (
        (5, 6, 128),
        chain(linear(128, 128), F.relu, linear(128, 160)),
        Counter({"onednn_op.matmul": 2, "onednn_op.matmul_grad": 1}),
    ),
    "of unknown length": (
        (None, None, 128),
        linear(128, 128),
        Counter(),
    ),
    "a transformer": (
        (None, 6, 128),
        transformer,
        Counter({"onednn_op.matmul": 6, "onednn_op.matmul_grad": 3}),
    ),
    "a turned weight": ((None, 128), turned, Counter()),
    "with itself": (
        (None, 6, 128),
        with_itself,
        Counter({"onednn_op.matmul": 1}),
    ),
    "small": ((None, 16), linear(16, 16), Counter()),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_layers_train_as_on_paddles_own_kernels(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape, build, expected = LINEAR[name]

    def forward() -> dict[str, paddle.Tensor]:
        return {"out": build(paddle.static.data("x", list(shape)))}

    network = program(forward)
    loss = purdist.CustomLoss(lambda x: (x.square() + x.sin()).mean(), {"x": "out"})
    sizes = [5 if k == 0 else 6 if size is None else size for k, size in enumerate(shape)]
    feeds = [{"x": numbers(k, *sizes)} for k in range(5)]

    def trained() -> tuple[graphs.Graph, list[float], dict[str, Array], list[Array]]:
        training = purdist.minimize(
            purdist.apply(network, [loss]), lambda: paddle.optimizer.SGD(1e-4)
        )
        steps = list(purdist.train(training, feeds, fetch=["out"]))
        weights = read(training.program.scope)
        return (
            session_of(training).step,
            [step.loss for step in steps],
            {n: weights[n] for n in training.program.weights},
            [step.fetched["out"] for step in steps],
        )

    graph, losses, weights, outs = trained()
    assert moved(graph) == expected
    monkeypatch.setattr(graphs, "has_fast_kernels", lambda _: False)
    graph, own_losses, own_weights, own_outs = trained()
    assert not moved(graph)
    np.testing.assert_allclose(losses, own_losses, rtol=1e-5)
    for out, own in zip(outs, own_outs, strict=True):
        np.testing.assert_allclose(out, own, rtol=1e-4, atol=1e-5)
    for key, weight in weights.items():
        np.testing.assert_allclose(weight, own_weights[key], rtol=1e-4, atol=1e-5, err_msg=key)
