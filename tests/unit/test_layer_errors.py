"""`from_layer`: what it says when it cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

import purdist

pytestmark = pytest.mark.usefixtures("dynamic")

ROW = InputSpec([None, 4])
Paddle: Any = paddle  # more of it than purdist has types for


class Computing(nn.Layer):
    """Wants numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        answer: paddle.Tensor = self.linear(x)
        return answer * float(np.asarray(x).sum())


class Taking(nn.Layer):
    def forward(self, x: paddle.Tensor, y: paddle.Tensor, scale: float = 1.0) -> paddle.Tensor:
        return (x + y) * scale


def refused(layer: Any, inputs: Any) -> tuple[type[purdist.PurdistError], str]:
    with pytest.raises(purdist.PurdistError) as caught:
        purdist.from_layer(layer, inputs)
    return type(caught.value), str(caught.value)


def test_a_forward_that_wants_numbers() -> None:
    assert refused(Computing(), {"x": ROW}) == (
        purdist.TracingError,
        "Expected Computing to compute with graph values, it failed: NumbersError: the "
        "numbers of a value, which a graph has not before it runs\n"
        "In forward and hooks, use Paddle's ops on tensors: their numbers are not there yet.",
    )


def test_the_sublayer_that_wants_numbers_is_named() -> None:
    layer = nn.Sequential(nn.Linear(4, 4), nn.Sequential(Computing()))
    kind, text = refused(layer, {"x": ROW})
    assert kind is purdist.TracingError
    assert text.startswith(
        "Expected Sequential to compute with graph values, it failed at its sublayer '1.0', "
        "Computing: NumbersError: the numbers of a value"
    )


def test_a_shape_that_does_not_fit() -> None:
    kind, text = refused(nn.Sequential(nn.Linear(4, 4), nn.Linear(5, 2)), {"x": ROW})
    assert kind is purdist.TracingError
    assert "at its sublayer '1', Linear: ValueError: " in text
    assert "matmul" in text


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        (
            [ROW],
            "Expected each InputSpec to have a name, got InputSpec(shape=(-1, 4), "
            "dtype=paddle.float32, name=None, stop_gradient=False).\n"
            "Write InputSpec(shape, dtype, name='x'), or inputs={'x': InputSpec(shape, dtype)}.",
        ),
        (
            {"x": np.zeros([2, 4])},
            "Expected an InputSpec for each feed, got ndarray for 'x'.\n"
            "Write paddle.static.InputSpec([None, 3, 224, 224], 'float32'), None for a size that "
            "varies.",
        ),
        (
            {},
            "Expected inputs to be a mapping from feed name to InputSpec, got {}.\n"
            "Write inputs={'x': paddle.static.InputSpec([None, 3, 224, 224])}.",
        ),
        (
            InputSpec([None, 4], name="x"),
            "Expected inputs to be a mapping from names or a list, got an InputSpec [-1, 4] "
            "paddle.float32.\n"
            "from_layer says of inputs: Feed name -> InputSpec: a name that is a parameter of "
            "forward is passed as that, the others fill the remaining parameters in order.",
        ),
        (
            {"a": ROW},
            "Expected inputs for Taking.forward(x: 'paddle.Tensor', y: 'paddle.Tensor', "
            "scale: 'float' = 1.0) -> 'paddle.Tensor', got 'a': missing a required argument: "
            "'y'.\n"
            "Give an InputSpec for each tensor that forward needs.",
        ),
        (
            {"a": ROW, "b": ROW, "c": ROW, "d": ROW},
            "Expected inputs for Taking.forward(x: 'paddle.Tensor', y: 'paddle.Tensor', "
            "scale: 'float' = 1.0) -> 'paddle.Tensor', got 'a', 'b', 'c', 'd': too many "
            "positional arguments.\n"
            "Give an InputSpec for each tensor that forward needs.",
        ),
    ],
)
def test_inputs_that_do_not_fit(inputs: Any, text: str) -> None:
    assert refused(Taking(), inputs) == (purdist.InvalidArgumentError, text)


@pytest.mark.parametrize(
    ("layer", "inputs", "name", "why"),
    [
        (nn.Sequential(("fc", nn.Linear(4, 2))), {"fc": ROW}, "fc", "a sublayer or weight"),
        (nn.Linear(4, 2), {"weight": ROW}, "weight", "a sublayer or weight"),
        (Taking(), [InputSpec([4], name="x")] * 2, "x", "another feed"),
    ],
)
def test_feed_names_that_are_taken(layer: nn.Layer, inputs: Any, name: str, why: str) -> None:
    assert refused(layer, inputs) == (
        purdist.NameClashError,
        f"Expected each feed to have a name of its own, got {name!r}, which is that of {why}.\n"
        "Choose another feed name.",
    )


class Returning(nn.Layer):
    def __init__(self, output: Callable[[paddle.Tensor], Any]) -> None:
        super().__init__()
        self.output = output
        self.register_buffer("offset", paddle.ones([4]))

    def forward(self, x: paddle.Tensor) -> Any:
        return self.output(x)


class Box:
    def __init__(self, value: paddle.Tensor) -> None:
        self.value = value


@pytest.mark.parametrize(
    ("output", "got"),
    [
        (Box, "tensors, in lists, tuples, dictionaries or dataclasses, got Box as 'output'."),
        (
            lambda x: {"a": x * 2.0, "b": (Box(x),)},
            "tensors, in lists, tuples, dictionaries or dataclasses, got Box as 'b.0'.",
        ),
        (lambda _: None, "tensors, got None."),
        (lambda _: [], "tensors, got []."),
    ],
)
def test_what_forward_returns_without_a_name(output: Any, got: str) -> None:
    kind, text = refused(Returning(output), {"x": ROW})
    assert kind is purdist.TracingError
    assert text.splitlines()[0] == f"Expected Returning to return {got}"


class Holding(Returning):
    def forward(self, x: paddle.Tensor) -> Any:
        return self.output(x + self.offset)


@pytest.mark.parametrize("name", ["x", "offset"])
def test_what_forward_returns_under_the_name_of_a_feed_or_weight(name: str) -> None:
    assert refused(Holding(lambda x: {name: x * 2.0}), {"x": ROW}) == (
        purdist.NameClashError,
        f"Expected what Holding returns to have names of its own, got {name!r}, which is that of "
        "a feed or weight.\nReturn it under another key, or choose another feed name.",
    )


def test_what_is_no_layer() -> None:
    assert refused("resnet18", {"x": ROW}) == (
        purdist.InvalidArgumentError,
        "Expected layer to be a paddle.nn.Layer, got 'resnet18'.\n"
        "A static program goes to from_static, a path to from_exported.",
    )


def test_a_layer_that_was_made_in_static_mode() -> None:
    paddle.enable_static()
    layer = nn.Sequential(nn.Linear(4, 2))
    assert refused(layer, {"x": ROW}) == (
        purdist.InvalidArgumentError,
        "Expected a layer made in dynamic mode, got Sequential made in static mode.\n"
        "Make it under paddle.disable_static(), or hand the program it is part of to "
        "from_static.",
    )


def test_a_layer_without_memory() -> None:
    with paddle.LazyGuard():
        layer = nn.Linear(4, 2)
    assert refused(layer, {"x": ROW}) == (
        purdist.UninitializedWeightsError,
        "Expected Linear to hold 2 weights, got no memory for 2 of them: weight, bias.\n"
        "Initialise the layer first: it was made under paddle.LazyGuard.",
    )


class Drawing(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.noise = nn.Sequential(Noise())

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.noise(x)


class Noise(nn.Layer):
    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x + paddle.rand([4])


def test_a_layer_that_is_random_in_eval_mode() -> None:
    kind, text = refused(Drawing(), {"x": ROW})
    assert kind is purdist.RandomInferenceError
    assert text.startswith(
        "Expected a network that infers without random numbers, got the op 'uniform' in the "
        "layer 'noise.0', which inference mode does not switch off.\n"
    )


def test_casting_around_a_layer() -> None:
    layer = nn.Linear(4, 2)
    paddle.enable_static()  # on a CPU Paddle casts nothing in dynamic mode
    with paddle.amp.auto_cast(dtype="bfloat16"):
        kind, text = refused(layer, {"x": ROW})
    assert kind is purdist.InvalidArgumentError
    assert text.splitlines()[0] == (
        "Expected from_layer to be called outside paddle.amp.auto_cast, got it inside."
    )


@pytest.mark.filterwarnings("ignore:amp_guard can only be enabled")
def test_casting_inside_forward_does_what_it_does_in_dynamic_mode() -> None:
    class Casting(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 2)

        def forward(self, x: paddle.Tensor) -> Any:
            with paddle.amp.auto_cast(dtype="bfloat16"):
                return self.linear(x)

    layer = Casting()
    layer.eval()
    x = np.random.RandomState(0).rand(3, 4).astype("float32")
    got = purdist.from_layer(layer, {"x": ROW}).run({"x": x}, ["output"])["output"]
    np.testing.assert_array_equal(got, layer(paddle.to_tensor(x)).numpy())


def rounded(_: Any, x: Any) -> Any:
    return x.round()


def handed_back(_: Any, gradient: Any) -> Any:
    return gradient


Rounded: Any = type(
    "Rounded",
    (Paddle.autograd.PyLayer,),
    {"forward": staticmethod(rounded), "backward": staticmethod(handed_back)},
)
LAMBDA = type("N", (nn.Layer,), {"forward": lambda self, x: x * 2})


class Handing(nn.Layer):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("buffer", paddle.zeros([4]))
        self.function = function

    def forward(self, x: paddle.Tensor) -> Any:
        return self.function(self, self.linear(x))


def set_by_numbers(self: Any, h: Any) -> Any:
    self.buffer.set_value(h.mean(0))
    return h


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (
            LAMBDA,
            "Write forward with def: Paddle converts its source, and finds none of a lambda.",
        ),
        (
            lambda: Handing(set_by_numbers),
            "set_value writes numbers, which are not there yet: write paddle.assign(value, "
            "output=self.buffer).",
        ),
        (
            lambda: Handing(lambda self, h: Rounded.apply(h)),
            "Write Name.apply(x), of the PyLayer's own name, in forward: handed on as a function, "
            "its apply is called as in dynamic mode.",
        ),
    ],
    ids=["a lambda", "set_value", "a PyLayer"],
)
def test_what_is_not_converted_is_refused_with_what_to_write(make: Any, remedy: str) -> None:
    kind, text = refused(make(), {"x": ROW})
    assert kind is purdist.TracingError
    assert text.endswith(f"\n{remedy}"), text
