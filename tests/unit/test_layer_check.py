"""`from_layer`: both graphs are tried against the layer itself."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

import purdist
from purdist import graphs
from tests.nets import in_a_process, numbers

pytestmark = pytest.mark.usefixtures("dynamic")

X = numbers(0, 3, 4)
CALLS: list[int] = []

# Typed as Any, for what our stubs leave out.
F: Any = nn.functional


class Computing(nn.Layer):
    """A linear layer, a function, and another one."""

    def __init__(self, function: Callable[[Computing, Any], Any]) -> None:
        super().__init__()
        self.function = function
        self.first = nn.Linear(4, 4)
        self.last = nn.Linear(4, 4)
        self.calls = 0

    def forward(self, x: Any) -> Any:
        return self.last(self.function(self, self.first(x)))


def counting(_: Computing, h: Any) -> Any:
    CALLS.append(1)
    return h * float(len(CALLS))


def counting_in_itself(self: Computing, h: Any) -> Any:
    self.calls += 1
    return h * float(self.calls)


def drawing(_: Computing, h: Any) -> Any:
    return h * random.choice([2.0])


def drawing_from_numpy(_: Computing, h: Any) -> Any:
    return h * float(np.random.rand())


def otherwise_in_a_graph(_: Computing, h: Any) -> Any:
    return h * 2.0 if paddle.in_dynamic_mode() else h


def otherwise_in_inference(self: Computing, h: Any) -> Any:
    return h if self.training else otherwise_in_a_graph(self, h)


def of_another_shape(_: Computing, h: Any) -> Any:
    return h[:1] if paddle.in_dynamic_mode() else h


def entered(function: Callable[[Computing, Any], Any], **options: Any) -> purdist.Program:
    return purdist.from_layer(Computing(function), {"x": InputSpec([None, 4])}, **options)


@pytest.mark.parametrize(
    ("function", "mode", "how"),
    [
        (otherwise_in_a_graph, "training", "off by"),
        (otherwise_in_inference, "inference", "off by"),
        (of_another_shape, "training", "["),
    ],
)
def test_a_graph_that_is_not_the_layer_is_refused(
    function: Callable[[Computing, Any], Any], mode: str, how: str
) -> None:
    with pytest.raises(purdist.TracingError) as caught:
        entered(function)
    assert str(caught.value).startswith(
        f"Expected Computing to compute the same as a graph, in {mode} mode it does not: the "
        "first to differ is what its sublayer 'last', Linear, puts out, the variable 'last': " + how
    )


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (counting, "it does not"),
        (counting_in_itself, "it does not"),
        (drawing, "it draws from Python's random or numpy.random"),
        (drawing_from_numpy, "it draws from Python's random or numpy.random"),
    ],
)
def test_a_layer_that_computes_something_else_at_each_call_is_refused(
    function: Callable[[Computing, Any], Any], why: str
) -> None:
    before = graphs.generators()
    with pytest.raises(purdist.TracingError) as caught:
        entered(function)
    assert str(caught.value).startswith(
        "Expected Computing to compute the same at each call with the same inputs, in training "
        f"mode {why}: "
    )
    assert graphs.generators() == before


def test_without_the_check_the_graph_is_taken_as_it_is() -> None:
    program = entered(otherwise_in_a_graph, check=False)
    assert program.run({"x": X}, ["output"])["output"].shape == (3, 4)


def test_buffers_and_what_a_layer_notes_down_are_put_back() -> None:
    def noting(self: Computing, h: Any) -> Any:
        self.calls = self.calls + 1
        return h

    layer = nn.Sequential(Computing(noting), nn.BatchNorm1D(4), nn.Dropout(0.5))
    found = {name: np.array(value) for name, value in layer.state_dict().items()}
    purdist.from_layer(layer, {"x": InputSpec([None, 4])})
    purdist.from_layer(layer, {"x": InputSpec([None, 4])}, share=True)
    now = {name: np.array(value) for name, value in layer.state_dict().items()}
    assert found.keys() == now.keys()
    assert all(found[name].tobytes() == now[name].tobytes() for name in found)
    assert layer[0].calls == 0
    assert layer.training


def test_hooks_fire_twice_for_the_graphs_and_twice_for_the_check() -> None:
    layer = nn.Sequential(nn.Linear(4, 4))
    seen: list[bool] = []
    layer[0].register_forward_post_hook(
        lambda _, __, output: seen.append(isinstance(output, paddle.Tensor))
    )
    purdist.from_layer(layer, {"x": InputSpec([None, 4])}, check=False)
    assert len(seen) == 2
    purdist.from_layer(layer, {"x": InputSpec([None, 4])})
    assert len(seen) == 6


def test_unknown_sizes_grow_until_the_layer_takes_them() -> None:
    sizes: list[list[int]] = []

    class Sized(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2D(1, 2, 20)

        def forward(self, x: Any) -> Any:
            return self.conv(x)

    def note(_: nn.Layer, given: Any) -> None:
        if not graphs.is_value(given[0]):
            sizes.append(list(given[0].shape))

    layer = Sized()
    layer.conv.register_forward_pre_hook(note)
    purdist.from_layer(layer, {"x": InputSpec([None, 1, None, None])})
    # Paddle crashes where nothing is left of an image.
    assert sizes == [[2, 1, 32, 32]] * 2


def test_a_layer_that_takes_no_random_input_is_not_checked() -> None:
    class Choosy(nn.Layer):
        def forward(self, x: Any) -> Any:
            if paddle.in_dynamic_mode():
                raise ValueError("not this")
            return x * 2.0

    program = purdist.from_layer(Choosy(), {"x": InputSpec([None, 4])})
    np.testing.assert_array_equal(program.run({"x": X}, ["output"])["output"], X * 2.0)


def test_a_network_whose_rounding_grows_is_no_difference() -> None:
    layers: list[nn.Layer] = []
    for _ in range(12):
        layers += [nn.Linear(4, 4), nn.BatchNorm1D(4), nn.ReLU()]
    purdist.from_layer(nn.Sequential(*layers), {"x": InputSpec([None, 4])})


def test_static_mode_is_checked_too() -> None:
    printed = in_a_process(
        """
        import paddle, purdist
        from paddle.static import InputSpec
        from tests.unit.test_layer_check import Computing, counting
        layer = Computing(counting)
        paddle.enable_static()
        try:
            purdist.from_layer(layer, {"x": InputSpec([None, 4])})
        except purdist.TracingError:
            print("refused", paddle.in_dynamic_mode())
        """
    )
    assert printed == "refused False\n"


class Resizing(nn.Layer):
    """A convolution, and what ``function`` makes of it and of the input."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.function = function
        self.conv = nn.Conv2D(2, 3, 3, 2)

    def forward(self, x: Any) -> Any:
        return self.function(self.conv(x), x)


def as_large_as_the_input(h: Any, x: Any) -> Any:
    if h.shape[2:] != x.shape[2:]:
        h = F.interpolate(h, size=x.shape[2:])
    return h


def of_eight(h: Any, x: Any) -> Any:
    if h.shape[2:] != [8, 8]:
        h = F.interpolate(h, size=[8, 8])
    return h


def of_one_shape(h: Any, x: Any) -> Any:
    assert list(h.shape) == list((h * 2.0).shape)
    return h * 2.0


def by_lists(h: Any, x: Any) -> Any:
    if list(h.shape[2:]) != list(x.shape[2:]):
        h = F.interpolate(h, size=x.shape[2:])
    return h


def of_eight_by_tuples(h: Any, x: Any) -> Any:
    return h if tuple(h.shape[2:]) == (8, 8) else h * 2.0


def half(h: Any, x: Any) -> Any:
    return h[: max(1, h.shape[0] // 2)]


SIZED = {"x": InputSpec([None, 2, None, None])}


@pytest.mark.parametrize("function", [as_large_as_the_input, of_eight, of_one_shape, half])
def test_a_layer_may_compare_sizes_that_are_not_known(function: Callable[[Any, Any], Any]) -> None:
    layer = Resizing(function)
    program = purdist.from_layer(layer, SIZED)
    for rows, size in ((2, 9), (5, 17)):  # the convolution makes 4 and 8 of it
        x = numbers(0, rows, 2, size, size)
        expected = layer(paddle.to_tensor(x)).numpy()
        np.testing.assert_allclose(
            program.run({"x": x}, ["output"])["output"], expected, rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("function", [by_lists, of_eight_by_tuples])
def test_what_goes_wrong_with_the_number_of_a_size_is_refused(
    function: Callable[[Any, Any], Any],
) -> None:
    with pytest.raises(purdist.TracingError, match="which a graph has not before it runs"):
        purdist.from_layer(Resizing(function), SIZED)


def test_numbers_of_sizes_are_guessed_only_where_it_is_checked() -> None:
    with pytest.raises(purdist.TracingError, match="which a graph has not before it runs"):
        purdist.from_layer(Resizing(of_one_shape), SIZED, check=False)
