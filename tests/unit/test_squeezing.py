"""squeeze takes an axis of unknown size off in a graph, and leaves it there when that runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

import purdist
from purdist import CustomLoss, NewInput
from tests import nets

F: Any = nn.functional  # more of it than purdist has types for
X = nets.numbers(0, 3, 6, 4)
LABEL = np.arange(18).reshape(3, 6) % 5
MASK = (LABEL % 2).astype("float32")


def weighed(o: Any, y: Any) -> Any:
    return (F.cross_entropy(o, y, reduction="none").squeeze(-1) * y.astype("float32")).mean()


def masked(o: Any, y: Any, m: Any) -> Any:
    return (F.cross_entropy(o, y, reduction="none").squeeze(-1) * m).sum() / m.sum()


def summed(o: Any, y: Any) -> Any:
    return (o.sum(-1).squeeze(-1) * y.astype("float32")).mean()


def averaged(o: Any, y: Any) -> Any:
    return F.cross_entropy(o, y, reduction="none").squeeze(-1).mean()


def row_by_row(o: Any, y: Any) -> Any:
    return F.cross_entropy(o, y, reduction="none").squeeze(-1).mean(0)


def of_columns(o: Any, y: Any) -> Any:
    return F.cross_entropy(o[:, 0], y.squeeze(-1))


def trained(function: Callable[..., Any], label: Any) -> tuple[float, Any]:
    """The loss of ``function`` at the first step, and the same in dynamic mode."""
    paddle.disable_static()
    layer = nn.Linear(4, 5)
    network = purdist.from_layer(layer, {"x": InputSpec([None, None, 4])})
    variables: dict[str, str | NewInput] = {"o": "output", "y": NewInput("label", [-1, -1])}
    feed = {"x": X, "label": label}
    tensors = [paddle.to_tensor(label)]
    if function is masked:
        variables["m"] = NewInput("mask", [-1, -1], "float32")
        feed["mask"] = MASK
        tensors.append(paddle.to_tensor(MASK))
    expected = function(layer(paddle.to_tensor(X)), *tensors)
    paddle.enable_static()
    distilled = purdist.apply(network, [CustomLoss(function, variables)])
    training = purdist.minimize(distilled, lambda: paddle.optimizer.SGD(0.1))
    before = nets.weights(training.program)
    try:
        return next(purdist.train(training, [feed])).loss, expected.numpy()
    except purdist.PurdistError:
        assert not nets.moved(before, nets.weights(training.program))
        raise


@pytest.mark.parametrize("function", [weighed, masked, summed, averaged])
def test_a_loss_is_what_it_is_in_dynamic_mode(function: Callable[..., Any]) -> None:
    got, expected = trained(function, LABEL)
    assert got == pytest.approx(float(expected), rel=1e-5)


def test_an_axis_of_size_1_is_taken_off() -> None:
    got, expected = trained(of_columns, LABEL[:, :1])
    assert got == pytest.approx(float(expected), rel=1e-5)


def test_sizes_that_would_be_broadcast_are_refused_by_the_line_where_they_meet() -> None:
    with pytest.raises(purdist.PurdistError) as caught:
        trained(summed, LABEL[:, :1])
    assert type(caught.value) is purdist.ShapeMismatchError
    text = str(caught.value)
    assert text.startswith("custom_0: Expected sizes that meet in 'return (o.sum(-1).squeeze(-1)")
    assert f"{__file__}:" in text
    assert "label [3, 1], x [3, 6, 4]" in text


def test_what_is_no_scalar_when_it_runs_is_refused() -> None:
    with pytest.raises(purdist.InvalidArgumentError, match="custom_0: Expected a scalar, got more"):
        trained(row_by_row, LABEL)


class Weighing(nn.Layer):
    def forward(self, x: Any, y: Any) -> Any:
        return x.sum(-1).squeeze(-1) * y


def test_a_network_takes_what_its_layer_takes() -> None:
    paddle.disable_static()
    specs = {"x": InputSpec([None, None, 4]), "y": InputSpec([None, None])}
    network = purdist.from_layer(Weighing(), specs)
    out = network.run({"x": X, "y": MASK}, ["output"])["output"]
    paddle.enable_static()
    np.testing.assert_allclose(out, X.sum(-1) * MASK, rtol=1e-5)
