"""What may be moved to oneDNN: the table, walked over every attribute that an op has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F  # noqa: N812

import purdist
from purdist import graphs
from purdist.graphs.learning.kernels import SHOWN, Allowed, Each
from purdist.trying import agree
from tests.nets import Array, linear, numbers, program, read

Build = Callable[..., paddle.Tensor]
Feeds = Mapping[str, Array]

CONVOLUTION: dict[str, Any] = {
    "strides": [1, 1],
    "paddings": [0, 0],
    "padding_algorithm": "EXPLICIT",
    "dilations": [1, 1],
    "groups": 1,
    "data_format": "NCHW",
}
PLAIN = {"transpose_x": False, "transpose_y": False}
KINDS = {"conv2d": CONVOLUTION, "depthwise_conv2d": {**CONVOLUTION, "groups": 4}, "matmul": PLAIN}


@pytest.fixture(autouse=True)
def _an_executor() -> None:
    """Before one is made Paddle knows of no oneDNN ops."""
    paddle.static.Executor().run(paddle.static.Program())


def differentiated(build: Build, feeds: Feeds, *, unknown: int | None = None) -> graphs.Graph:
    """What is built from feeds, and the gradient of each of them."""
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()):
        given = {
            name: paddle.static.data(
                name,
                [unknown if name == "x" and axis == 0 else s for axis, s in enumerate(a.shape)],
                str(a.dtype),
            )
            for name, a in feeds.items()
        }
        for value in given.values():
            value.stop_gradient = False
        out = build(**given)
        loss = (out.square() + out.sin()).mean()
        gradients = paddle.static.gradients([loss], list(given.values()))
        named = {f"{n}'": g for n, g in zip(given, gradients, strict=True) if g is not None}
    return graphs.Graph(main, {"out": out, **named})


def moved(graph: graphs.Graph) -> Counter[str]:
    return Counter(op.name() for op in graphs.operations(graph.program) if "onednn" in op.name())


def fast(graph: graphs.Graph) -> graphs.Graph:
    with graphs.building():
        return graphs.with_fast_kernels(graph)


def compare(graph: graphs.Graph, feeds: Feeds) -> None:
    """Holds a graph on oneDNN against the same on Paddle's own kernels, twice."""
    place, scope, names = paddle.CPUPlace(), paddle.static.Scope(), list(graph.values)
    own, quick = (graphs.Runner(g, names, scope, place) for g in (graph, fast(graph)))
    nothing = {name: array * np.nan for name, array in feeds.items()}
    for _ in range(2):
        expected = own(feeds)
        quick(nothing)  # what is not written shows
        for name, right, got in zip(names, expected, quick(feeds), strict=True):
            assert agree(got, right), f"{name}: {np.abs(got - right).max()}"


def convolution(kind: str, **given: Any) -> tuple[Build, Feeds]:
    """A convolution with some attributes, over maps that are large enough for them."""
    attributes = {**KINDS[kind], **given}
    groups = attributes["groups"]
    channels = max(groups, 4)
    size = 2 * max(attributes["dilations"]) + max(attributes["strides"]) + 2
    feeds = {
        "x": numbers(1, 2, channels, size, size),
        "w": numbers(2, channels, channels // groups, 3, 3),
    }
    order = ("groups", "dilations") if kind == "depthwise_conv2d" else ("dilations", "groups")
    names = ["strides", "paddings", "padding_algorithm", *order, "data_format"]

    def build(x: paddle.Tensor, w: paddle.Tensor) -> paddle.Tensor:
        out: paddle.Tensor = getattr(paddle._C_ops, kind)(x, w, *(attributes[n] for n in names))
        return out

    return build, feeds


def values(allowed: Allowed) -> Iterator[object]:
    """All that a row of the table allows, of a range its ends."""
    if isinstance(allowed, Each):
        least, most = allowed.numbers[0], allowed.numbers[-1]
        for length in sorted(allowed.lengths):
            yield from ([least] * length, [most] * length, [least + 1, *[least] * (length - 1)])
    elif isinstance(allowed, range):
        yield from (allowed[0], allowed[1], allowed[-1])
    else:
        yield from sorted(allowed, key=str)


CONVOLUTIONS = [
    pytest.param(kind, name, value, id=f"{kind}, {name}={value}")
    for kind in ("conv2d", "depthwise_conv2d")
    for name, allowed in SHOWN[f"pd_op.{kind}"].items()
    for value in values(allowed)
    if (kind, name) != ("depthwise_conv2d", "groups") or value != 1
]


@pytest.mark.parametrize(("kind", "name", "value"), CONVOLUTIONS)
def test_a_convolution_is_the_same_with_all_that_the_table_allows(
    kind: str, name: str, value: object
) -> None:
    build, feeds = convolution(kind, **{name: value})
    graph = differentiated(build, feeds)
    assert moved(fast(graph)) == {f"onednn_op.{kind}": 1, f"onednn_op.{kind}_grad": 1}
    compare(graph, feeds)


def test_every_attribute_that_an_op_has_is_in_the_table() -> None:
    walked = set()
    for kind in KINDS:
        graph = differentiated(*_plain(kind))
        for op in graphs.operations(graph.program):
            if op.name() in SHOWN:
                attributes = op.attrs().keys() - {"op_callstack", "struct_name", "stop_gradient"}
                assert attributes == SHOWN[op.name()].keys()
                walked.add(op.name())
    assert walked == SHOWN.keys()


def _plain(kind: str) -> tuple[Build, Feeds]:
    if kind == "matmul":
        return paddle.matmul, {"x": numbers(1, 5, 128), "y": numbers(2, 128, 160)}
    return convolution(kind)


def test_an_op_with_an_attribute_that_nobody_knows_stays() -> None:
    for kind in KINDS:
        graph = differentiated(*_plain(kind))
        assert moved(fast(graph))
        for op in graphs.operations(graph.program):
            if op.name() in SHOWN:
                op.set_str_attr("accumulator", "float16")
        assert not moved(fast(graph))


CHANNELS_LAST = {"x": numbers(1, 2, 7, 7, 4), "w": numbers(2, 4, 4, 3, 3)}
STAYS: dict[str, tuple[Build, Feeds]] = {
    "NHWC": (lambda x, w: F.conv2d(x, w, data_format="NHWC"), CHANNELS_LAST),
    "NHWC, depthwise": (
        lambda x, w: F.conv2d(x, w, data_format="NHWC", groups=4),
        {**CHANNELS_LAST, "w": numbers(2, 4, 1, 3, 3)},
    ),
    "NLC": (
        lambda x, w: F.conv1d(x, w, data_format="NLC"),
        {"x": numbers(1, 2, 7, 4), "w": numbers(2, 5, 4, 3)},
    ),
    "a long stride": convolution("conv2d", strides=[33, 1]),
    "a wide padding": convolution("conv2d", paddings=[65, 0]),
    "a wide dilation": convolution("conv2d", dilations=[37, 1]),
    "a transposed convolution": (
        F.conv2d_transpose,
        {"x": numbers(1, 2, 4, 5, 5), "weight": numbers(2, 4, 3, 3, 3)},
    ),
    "a volume": (F.conv3d, {"x": numbers(1, 2, 2, 4, 4, 4), "weight": numbers(2, 3, 2, 3, 3, 3)}),
    "doubles": (
        F.conv2d,
        {"x": numbers(1, 2, 3, 5, 5, dtype="float64"), "weight": np.ones((2, 3, 3, 3))},
    ),
    "a turned product": (
        lambda x, y: paddle.matmul(x, y, transpose_y=True),
        {"x": numbers(1, 5, 128), "y": numbers(2, 160, 128)},
    ),
    "a turned first": (
        lambda x, y: paddle.matmul(x, y, transpose_x=True),
        {"x": numbers(1, 128, 5), "y": numbers(2, 128, 160)},
    ),
    "products of many": (paddle.matmul, {"x": numbers(1, 3, 5, 128), "y": numbers(2, 3, 128, 160)}),
    "one column": (paddle.matmul, {"x": numbers(1, 5, 20000), "y": numbers(2, 20000, 1)}),
    "one row": (paddle.matmul, {"x": numbers(1, 5, 1), "y": numbers(2, 1, 20000)}),
    "a row of numbers": (paddle.matmul, {"x": numbers(1, 128), "y": numbers(2, 128, 160)}),
}


@pytest.mark.parametrize("name", STAYS)
def test_what_is_not_in_the_table_stays(name: str) -> None:
    assert not moved(fast(differentiated(*STAYS[name])))


SIZES: dict[str, tuple[Build, Feeds]] = {
    "one sample": (paddle.matmul, {"x": numbers(1, 1, 128), "y": numbers(2, 128, 160)}),
    "two columns": (paddle.matmul, {"x": numbers(1, 5, 10000), "y": numbers(2, 10000, 2)}),
    "two rows": (paddle.matmul, {"x": numbers(1, 1, 2), "y": numbers(2, 2, 20000)}),
    "one channel": (F.conv2d, {"x": numbers(1, 1, 1, 5, 5), "weight": numbers(2, 1, 1, 3, 3)}),
    "one pixel": (F.conv2d, {"x": numbers(1, 1, 3, 3, 3), "weight": numbers(2, 4, 3, 3, 3)}),
    "many to one": (F.conv2d, {"x": numbers(1, 3, 17, 5, 5), "weight": numbers(2, 1, 17, 1, 1)}),
}


@pytest.mark.parametrize("name", SIZES)
def test_what_is_moved_is_the_same_at_the_smallest_sizes(name: str) -> None:
    build, feeds = SIZES[name]
    for unknown in (None, len(feeds["x"])):
        graph = differentiated(build, feeds, unknown=unknown)
        assert moved(fast(graph)).total() == 2
        compare(graph, feeds)


PRODUCERS: dict[str, tuple[Build, Feeds]] = {
    "matmul": _plain("matmul"),
    "one map": (F.conv2d, {"x": numbers(1, 2, 3, 6, 6), "weight": numbers(2, 1, 3, 3, 3)}),
    "maps of one": (F.conv2d, {"x": numbers(1, 2, 3, 6, 6), "weight": numbers(2, 4, 3, 6, 6)}),
    "maps": (F.conv2d, {"x": numbers(1, 2, 3, 6, 6), "weight": numbers(2, 4, 3, 3, 3)}),
}
IN_PLACE: dict[str, Callable[[paddle.Tensor], paddle.Tensor]] = {
    "square": paddle.square,
    "relu": F.relu,
    "scale": lambda value: value * 2.0,
    "add": lambda value: value + paddle.ones([1]),
    "clip": lambda value: value.clip(-1.0, 1.0),
    "softmax": F.softmax,
    "flat": lambda value: paddle.exp(value.flatten() * 0.1),
}


@pytest.mark.parametrize("after", IN_PLACE)
@pytest.mark.parametrize("producer", PRODUCERS)
def test_no_op_writes_over_what_others_have_yet_to_read(producer: str, after: str) -> None:
    build, feeds = PRODUCERS[producer]

    def twice(**given: paddle.Tensor) -> paddle.Tensor:
        before = [value * 1.0 for value in given.values()]
        out = build(*before)
        read = [IN_PLACE[after](value).sum() for value in (*before, out)]
        return out + read[0] * read[1] + read[2]

    compare(differentiated(twice, feeds), feeds)


def test_gradients_that_are_clipped_are_those_of_plain_paddle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = program(linear(sizes=(128, 160, 128)))
    loss = purdist.CustomLoss(lambda x: x.square().mean(), {"x": "logits"})

    def trained() -> dict[str, Array]:
        training = purdist.minimize(
            purdist.apply(source, [loss]),
            lambda: paddle.optimizer.Momentum(
                0.5, weight_decay=0.1, grad_clip=paddle.nn.ClipGradByNorm(0.01)
            ),
        )
        list(purdist.train(training, [{"x": numbers(k, 4, 128)} for k in range(3)]))
        held = read(training.program.scope)
        return {name: held[name] for name in training.program.weights}

    got = trained()
    monkeypatch.setattr(graphs, "has_fast_kernels", lambda _: False)
    for name, right in trained().items():
        assert agree(got[name], right), name
