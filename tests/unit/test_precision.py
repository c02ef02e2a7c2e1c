"""bfloat16 on the CPU: trained without a crash, and right to its digits."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

import purdist
from purdist import graphs
from purdist.program import internals_of
from purdist.trying import agree
from tests import operands
from tests.nets import Array, numbers, program


@pytest.mark.parametrize(
    "name",
    [
        "add",
        "conv2d",
        "conv2d_transpose",
        "cosine_similarity",
        "divide",
        "layer_norm",
        "linear",
        "matmul",
        "multiply",
        "PReLU",
    ],
)
def test_an_operand_learns_in_bfloat16_as_in_float32(name: str) -> None:
    outcome = graphs.tried(operands.in_bfloat16, name)
    assert outcome.failure == ""
    expected, alone, together = outcome.value
    for k, right in enumerate(expected):
        assert agree(alone[k], right, "bfloat16"), f"operand {k} alone"
        assert agree(together[k], right, "bfloat16"), f"operand {k}"


class Images(nn.Layer):
    """Under auto_cast in forward, as users write it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4)
        self.second, self.head = nn.Conv2D(4, 4, 3), nn.Linear(4, 3)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        with paddle.amp.auto_cast(level="O1", dtype="bfloat16"):
            inner = nn.functional.relu(self.norm(self.first(x)))
            out: paddle.Tensor = self.head(self.second(inner).mean([2, 3]))
        return out.astype("float32")


class Encoder(nn.Layer):
    """The products of an encoder layer in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0)
        self.head = nn.Linear(16, 3)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        with paddle.amp.auto_cast(level="O1", dtype="bfloat16"):
            out: paddle.Tensor = self.head(self.layer(x)).mean(1)
        return out.astype("float32")


def trained(make: str, sample: tuple[int, ...]) -> tuple[list[float], Array, list[float], Array]:
    """Losses and an answer of ours, and those of dygraph, which computes in float32 there."""
    paddle.disable_static()
    paddle.seed(1)
    layer: nn.Layer = {"Images": Images, "Encoder": Encoder}[make]()
    network = purdist.from_layer(layer, {"x": InputSpec([None, *sample])})
    feed = {"x": numbers(1, 4, *sample)}
    answer = network.run(feed, ["output"])["output"]
    loss = purdist.CustomLoss(lambda out: (out - 0.3).square().mean(), {"out": "output"})
    training = purdist.minimize(purdist.apply(network, [loss]), lambda: paddle.optimizer.SGD(0.05))
    losses = [step.loss for step in purdist.train(training, [feed] * 3)]
    layer.eval()
    with paddle.no_grad():
        by_hand = np.array(layer(paddle.to_tensor(feed["x"])))
    layer.train()
    optimizer, expected = paddle.optimizer.SGD(0.05, parameters=layer.parameters()), []
    for _ in range(3):
        value = (layer(paddle.to_tensor(feed["x"])) - 0.3).square().mean()
        value.backward()
        optimizer.step()
        optimizer.clear_grad()
        expected.append(float(value))
    return losses, answer, expected, by_hand


@pytest.mark.parametrize(("make", "sample"), [("Images", (3, 8, 8)), ("Encoder", (5, 16))])
def test_a_forward_under_auto_cast_trains_and_infers(make: str, sample: tuple[int, ...]) -> None:
    outcome = graphs.tried(trained, make, sample)
    assert outcome.failure == ""
    losses, answer, expected, by_hand = outcome.value
    np.testing.assert_allclose(losses, expected, rtol=5e-2)
    assert agree(answer, by_hand, "bfloat16")


def test_what_has_kernels_of_its_own_stays_in_bfloat16() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        low = paddle.static.data("x", [None, 4]).astype("bfloat16")
        return {
            "turned": paddle.transpose(low, [1, 0]),
            "product": paddle.matmul(low, low, transpose_y=True),
        }

    network = program(forward)
    widened = internals_of(network).modes.training.copy()
    with graphs.building():
        graphs.in_float32_where_needed(widened)
    kinds = {
        op.name(): graphs.dtype_name(op.operand_source(0).dtype)
        for op in graphs.operations(widened.program)
        if op.name() in ("pd_op.transpose", "pd_op.matmul")
    }
    assert kinds == {"pd_op.transpose": "bfloat16", "pd_op.matmul": "float32"}
    assert graphs.dtype_name(widened.values["product"].dtype) == "bfloat16"


@pytest.mark.usefixtures("dynamic")
@pytest.mark.parametrize("rows", [1, 5, 15, 16])
def test_a_bias_learns_in_bfloat16_whatever_the_number_of_rows(rows: int) -> None:
    """oneDNN takes the gradient of n rows of n numbers along the wrong axis, and one row not."""
    paddle.seed(0)
    layer = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 5))
    low = copy.deepcopy(layer).to(dtype="bfloat16")
    layer.set_state_dict({k: w.astype("float32") for k, w in low.state_dict().items()})
    x, label = paddle.to_tensor(numbers(rows, rows, 8)).astype("bfloat16"), np.arange(rows) % 5
    network = purdist.from_layer(low, {"x": InputSpec([None, 8], "bfloat16")})
    loss = purdist.CrossEntropyLoss("output", purdist.NewInput("label"))
    training = purdist.minimize(purdist.apply(network, [loss]), lambda: paddle.optimizer.SGD(1.0))
    list(purdist.train(training, [{"x": x, "label": label}]))
    nn.functional.cross_entropy(layer(x.astype("float32")), paddle.to_tensor(label)).backward()
    paddle.optimizer.SGD(1.0, parameters=layer.parameters()).step()
    trained_ = purdist.to_layer(training, low).state_dict()
    for name, weight in layer.state_dict().items():
        got = trained_[name].astype("float32").numpy()
        np.testing.assert_allclose(got, weight.numpy(), atol=0.01, err_msg=name)


@pytest.mark.parametrize(
    "make",
    [
        lambda: paddle.optimizer.Adam(0.1),
        lambda: paddle.optimizer.AdamW(0.1, multi_precision=True),
    ],
)
def test_an_optimizer_that_does_not_take_low_weights_is_told_as_such(
    make: Callable[[], paddle.optimizer.Optimizer],
) -> None:
    def forward() -> dict[str, paddle.Tensor]:
        weight = paddle.create_parameter(
            [4, 3], "bfloat16", default_initializer=nn.initializer.Constant(0.1)
        )
        return {"out": paddle.matmul(paddle.static.data("x", [None, 4], "bfloat16"), weight)}

    loss = purdist.CustomLoss(lambda out: out.astype("float32").mean(), {"out": "out"})
    distillation = purdist.apply(program(forward), [loss])
    with pytest.raises(purdist.InvalidArgumentError, match="bfloat16 learn with SGD alone"):
        purdist.minimize(distillation, make)
