"""`from_layer`: a statement that writes over a tensor does so in the graph, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F  # noqa: N812
from paddle.static import InputSpec

import purdist
from tests.nets import Array, numbers, read

pytestmark = pytest.mark.usefixtures("dynamic")

X = numbers(0, 3, 4)
Forward = Callable[["Writing", Any], Any]


class Writing(nn.Layer):
    """Runs a function of itself and what came in."""

    def __init__(self, function: Forward) -> None:
        super().__init__()
        self.function = function
        self.first: Any = nn.Linear(4, 4)
        self.last: Any = nn.Linear(4, 4)
        self.register_buffer("offset", paddle.ones([4]))

    def forward(self, x: Any) -> Any:
        return self.function(self, x)


def entered(function: Forward) -> tuple[Array, Array]:
    """What comes out of the program, and of the layer."""
    paddle.seed(1)
    layer = Writing(function)
    layer.eval()
    program = purdist.from_layer(layer, {"x": InputSpec([None, 4])})
    got = program.run({"x": X}, ["output"])["output"]
    with paddle.no_grad():
        return got, layer(paddle.to_tensor(X)).numpy()


def relu(self: Writing, x: Any) -> Any:
    h = self.first(x)
    F.relu_(h)
    return h


def relu_between(self: Writing, x: Any) -> Any:
    h = self.first(x)
    F.relu_(x=h)
    return self.last(h)


def one_after_the_other(self: Writing, x: Any) -> Any:
    h = self.first(x)
    h.exp_()
    h.clip_(min=0.1)
    h.scale_(2.0)
    h.tanh_()
    h.add_(x).multiply_(h)
    return h


def under_another_name(self: Writing, x: Any) -> Any:
    h = self.first(x)
    r: Any = F.relu_(h)
    r.add_(x)
    return h


def in_a_list(self: Writing, x: Any) -> Any:
    maps = [self.first(x), self.last(x)]
    for h in maps:
        F.relu_(h)
    return maps[0] + maps[1]


def items(self: Writing, x: Any) -> Any:
    h = self.first(x)
    kept = [h]
    h[0] = 0.0
    h[:, 1] = h[:, 2] * 2.0
    return self.last(kept[0])


def items_by_mask(self: Writing, x: Any) -> Any:
    h = self.first(x)
    h[h > 0] = 0.5
    return h


def items_before_a_branch(self: Writing, x: Any) -> Any:
    h = self.first(x)
    h[0] = 3.0
    if x.mean() > -100.0:  # noqa: SIM108 - what is tested
        y = h + 1.0
    else:
        y = h * 2.0
    return h + y


def items_in_a_branch(self: Writing, x: Any) -> Any:
    h = self.first(x)
    if x.mean() > -100.0:
        h[:] = 5.0
    return h + 1.0


def inside_a_branch(self: Writing, x: Any) -> Any:
    h = self.first(x)
    if x.mean() > -100.0:
        y = h * 2.0
        F.relu_(y)
        y.add_(h)
    else:
        y = h
    return h + y


def inside_a_loop(self: Writing, x: Any) -> Any:
    h, count = self.first(x), paddle.zeros([1], "int32")
    while count < 3:
        h = h + x
        F.relu_(h)
        count = count + 1
    return h


def another_shape(self: Writing, x: Any) -> Any:
    h = self.first(x)
    h.unsqueeze_(0)
    return h.sum(0)


def a_view_alone(self: Writing, x: Any) -> Any:
    h = self.first(x).reshape([-1, 2, 2])
    F.relu_(h)
    return h.flatten(1)


def beside_a_copy(self: Writing, x: Any) -> Any:
    h = self.first(x)
    copied = h.clone()
    F.relu_(h)
    return h + copied


def assigned(self: Writing, x: Any) -> Any:
    h = self.first(x)
    paddle.assign(x, output=h)
    return h + 1.0


def a_buffer(self: Writing, x: Any) -> Any:
    self.offset.add_(paddle.ones([4]))
    return self.first(x) + self.offset


@pytest.mark.parametrize(
    "function",
    [
        relu,
        relu_between,
        one_after_the_other,
        under_another_name,
        in_a_list,
        items,
        items_by_mask,
        items_before_a_branch,
        items_in_a_branch,
        inside_a_branch,
        inside_a_loop,
        another_shape,
        a_view_alone,
        beside_a_copy,
        assigned,
        a_buffer,
    ],
)
def test_what_is_read_later_is_what_was_written(function: Forward) -> None:
    np.testing.assert_array_equal(*entered(function))


def in_a_branch(self: Writing, x: Any) -> Any:
    h = self.first(x)
    if x.mean() > -100.0:
        F.relu_(h)
    return h + 1.0


def in_a_loop(self: Writing, x: Any) -> Any:
    h, count = self.first(x), paddle.zeros([1], "int32")
    while count < 3:
        h.add_(x)
        count = count + 1
    return h


def through_a_view(self: Writing, x: Any) -> Any:
    h = self.first(x)
    h[:, 0].add_(paddle.ones([]))
    return h


def under_a_view(self: Writing, x: Any) -> Any:
    h = self.first(x)
    view = h[:, 0]
    F.relu_(h)
    return view


def under_what_is_detached(self: Writing, x: Any) -> Any:
    h = self.first(x)
    target = h.detach()
    F.relu_(h)
    return h - target


@pytest.mark.parametrize(
    ("function", "line", "why"),
    [
        (in_a_branch, "F.relu_(h)", "it writes in a branch to what was made outside"),
        (in_a_loop, "h.add_(x)", "it writes in a loop to what was made outside"),
        (
            through_a_view,
            "h[:, 0].add_(paddle.ones([]))",
            "it writes to memory that another tensor shares",
        ),
        (under_a_view, "F.relu_(h)", "it writes to memory that another tensor shares"),
        (under_what_is_detached, "F.relu_(h)", "it writes to memory that another tensor shares"),
    ],
)
def test_what_the_graph_cannot_follow_is_refused_with_its_line(
    function: Forward, line: str, why: str
) -> None:
    with pytest.raises(purdist.TracingError) as caught:
        entered(function)
    first, second = str(caught.value).splitlines()
    assert first.startswith(
        f"Expected Writing to compute the same as a graph, got the statement {line!r} ({__file__}:"
    )
    assert first.endswith(f"), which writes over a tensor that is read later: {why}.")
    assert second == (
        "Assign what it computes to a name instead, h = F.relu(h) for F.relu_(h), and "
        "h = h.clone() before h[0] = 0."
    )


def test_a_sublayer_puts_out_what_was_written_until_it_returned() -> None:
    class Outer(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.block = Writing(relu)

        def forward(self, x: Any) -> Any:
            h = self.block(x)
            h.scale_(2.0)
            return h

    layer = Outer()
    layer.eval()
    program = purdist.from_layer(layer, {"x": InputSpec([None, 4])})
    got = program.run({"x": X}, ["block.first", "block", "output"])
    linear = layer.block.first(paddle.to_tensor(X)).numpy()
    np.testing.assert_array_equal(got["block.first"], linear)
    np.testing.assert_array_equal(got["block"], np.maximum(linear, 0.0))
    np.testing.assert_array_equal(got["output"], np.maximum(linear, 0.0) * 2.0)


def test_gradients_are_those_of_what_was_read() -> None:
    def function(self: Writing, x: Any) -> Any:
        h: Any = F.sigmoid(self.first(x))
        kept = h * h
        h[0] = 0.0
        return self.last(h) + kept

    layer = Writing(function)
    program = purdist.from_layer(layer, {"x": InputSpec([None, 4])})
    distillation = purdist.apply(
        program, [purdist.CustomLoss(lambda s: s.square().mean(), {"s": "output"})]
    )
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(1.0))
    next(purdist.train(training, [{"x": X}]))
    h = F.sigmoid(layer.first(paddle.to_tensor(X)))
    mask = paddle.to_tensor([[0.0], [1.0], [1.0]])
    (layer.last(h * mask) + h * h).square().mean().backward()
    assert layer.first.weight.grad is not None
    expected = layer.first.weight.numpy() - layer.first.weight.grad.numpy()
    got = read(training.program.scope)["first.weight"]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


TWO_TENSORS = """
add_ copysign_ div_ divide_ equal_ floor_divide_ floor_mod_ gammainc_ gammaincc_ greater_equal_
greater_than_ hypot_ ldexp_ less_ less_equal_ less_than_ mod_ mul_ multiply_ not_equal_
remainder_ sub_ subtract_
"""
ARGUMENTS: dict[str, Callable[[], tuple[Any, ...]]] = {
    **dict.fromkeys(TWO_TENSORS.split(), lambda: (paddle.full([3, 4], 2.0),)),
    **dict.fromkeys(["fill_", "geometric_", "pow_"], lambda: (0.5,)),
    **dict.fromkeys(
        ["logical_and_", "logical_or_", "logical_xor_"], lambda: (paddle.zeros([3, 4]),)
    ),
    "addmm_": lambda: (paddle.ones([3, 2]), paddle.ones([2, 4])),
    "cast_": lambda: ("float64",),
    "fill_diagonal_": lambda: (1.0,),
    "fill_diagonal_tensor_": lambda: (paddle.ones([3]),),
    "index_add_": lambda: (paddle.to_tensor([0, 1]), 0, paddle.ones([2, 4])),
    "index_fill_": lambda: (paddle.to_tensor([0, 1]), 0, 2.0),
    "index_put_": lambda: ((paddle.to_tensor([0, 1]),), paddle.ones([2, 4])),
    "lerp_": lambda: (paddle.ones([3, 4]), 0.5),
    "masked_fill_": lambda: (paddle.ones([3, 4]) > 0, 2.0),
    "masked_scatter_": lambda: (paddle.ones([3, 4]) > 0, paddle.ones([12])),
    "multigammaln_": lambda: (2,),
    "polygamma_": lambda: (1,),
    "put_along_axis_": lambda: (paddle.zeros([3, 1], "int64"), paddle.ones([3, 1]), 1),
    "renorm_": lambda: (2.0, 0, 1.0),
    "reshape_": lambda: ([-1, 2],),
    "scatter_": lambda: (paddle.to_tensor([0, 1]), paddle.ones([2, 4])),
    "scatter_add_": lambda: (0, paddle.zeros([1, 4], "int64"), paddle.ones([1, 4])),
    "squeeze_": lambda: (0,),
    "transpose_": lambda: ([1, 0],),
    "unsqueeze_": lambda: (0,),
}
"""What to call a function with, beside the tensor; nothing where it is not here."""

OTHERS = """
_apply_ _to_dist_ apply_ baddbmm_ bitwise_and_ bitwise_invert_ bitwise_left_shift_ bitwise_not_
bitwise_or_ bitwise_right_shift_ bitwise_xor_ clamp_ copy_ detach_ embedding_renorm_ gcd_ grad_ lcm_
reconstruct_from_ requires_grad_ resize_ set_
"""
"""Of integers, of other ranks, such as change no number, and one that crashes by itself."""


def writers() -> list[tuple[str, Any]]:
    """All of Paddle's functions that write over their first argument, by their names."""
    found: dict[str, Any] = {}
    for home in (paddle.Tensor, paddle, F):
        for name in dir(home):
            if name.endswith("_") and not name.endswith("__") and name not in OTHERS.split():
                found.setdefault(name, getattr(home, name))
    return sorted(found.items())


@pytest.mark.parametrize(("name", "function"), writers())
def test_every_function_that_writes_does_so_or_is_refused(
    name: str, function: Callable[..., Any]
) -> None:
    arguments = ARGUMENTS.get(name, lambda: ())

    def forward(self: Writing, x: Any) -> Any:
        h = F.sigmoid(self.first(x))
        if name == "where_":  # the condition comes first
            function(h > 0.5, h, x)
        else:
            function(h, *arguments())
        return h + 1.0

    paddle.seed(1)
    layer = Writing(forward)
    layer.eval()
    with paddle.no_grad():
        expected = layer(paddle.to_tensor(X)).numpy()
    try:
        program = purdist.from_layer(layer, {"x": InputSpec([None, 4])})
    except purdist.PurdistError:
        return
    got = program.run({"x": X}, ["output"])["output"]
    np.testing.assert_array_equal(got, expected)
