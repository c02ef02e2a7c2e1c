"""`from_layer`: the program is the layer, in both of its modes, and the layer stays as it was."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping

import numpy as np
import paddle
import pytest
from paddle.static import InputSpec

import purdist
from purdist import graphs
from purdist.program import internals_of
from purdist.sources.weights import held_by
from tests import layers
from tests.layers import CASES
from tests.nets import Array, numbers, read

pytestmark = pytest.mark.usefixtures("dynamic")


def mean_square(value: paddle.Tensor) -> paddle.Tensor:
    return value.square().mean()


def total(outputs: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
    """The loss of `one_step`."""
    return functools.reduce(operator.add, map(mean_square, outputs.values()))


def one_step(
    program: purdist.Program, outputs: list[str], feed: dict[str, Array]
) -> purdist.Training:
    """A step of gradient descent at rate 1 on the squares of the outputs."""
    losses = [purdist.CustomLoss(mean_square, {"value": name}) for name in outputs]
    training = purdist.minimize(purdist.apply(program, losses), lambda: paddle.optimizer.SGD(1.0))
    list(purdist.train(training, [feed]))
    return training


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_the_layers_to_the_bit(name: str) -> None:
    case = CASES[name]
    expected = case.call(layers.layer(name))
    got = layers.program(name).run(case.feed, list(expected))
    for output, tensor in expected.items():
        np.testing.assert_array_equal(got[output], tensor.numpy())


@pytest.mark.parametrize("name", CASES)
def test_the_variable_of_a_sublayer_is_what_it_put_out(name: str) -> None:
    case, program = CASES[name], layers.program(name)
    expected = layers.outputs_of_sublayers(case, layers.layer(name))
    reachable = [path for path in expected if path in program.variables]
    got = program.run(case.feed, reachable) if reachable else {}
    for path in reachable:
        np.testing.assert_array_equal(got[path], expected[path], err_msg=path)
    # The calls from inside a loop or branch are one in the graph, and out of reach.
    assert {root(path) for path in expected.keys() - set(reachable)} <= set(
        map(root, internals_of(program).inner)
    )
    assert reachable or name in ("lstm", "gru", "cell")


def root(path: str) -> str:
    return path.partition("#")[0].partition(".")[0]


@pytest.mark.parametrize("name", CASES)
def test_a_step_changes_weights_and_statistics_as_in_dygraph(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A deep network that normalises few samples makes 1 of 1e-7: what is compared here is the
    # graph, on the same kernels. `test_kernels` holds the fast ones against these.
    monkeypatch.setattr(graphs, "has_fast_kernels", lambda _: False)
    case = CASES[name]
    layer = layers.without_dropout(layers.layer(name))
    layer.train()
    program = purdist.from_layer(layer, case.inputs())
    outputs = case.call(layer)
    sum((mean_square(tensor) for tensor in outputs.values()), paddle.zeros([])).backward()
    trained = one_step(program, list(outputs), dict(case.feed))
    before, after = read(program.scope), read(trained.program.scope)
    compared = 0
    for path, tensor, parameter in held_by(layer):
        if path not in program.weights:
            continue
        if parameter and tensor.grad is not None:
            gradient, expected = before[path] - after[path], tensor.grad.numpy()
            # Taken from the difference of two weights, it is no finer than they are.
            scale = max(1.0, np.abs(expected).max(), np.abs(before[path]).max())
            assert np.abs(gradient - expected).max() <= 1e-6 * scale, path
            compared += 1
        elif not parameter and tensor._is_initialized():
            np.testing.assert_allclose(after[path], tensor.numpy(), rtol=1e-6, atol=1e-6)
    assert compared > 0


class Made(paddle.nn.Layer):
    """Calls chained on what Paddle makes of sizes that are read within."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = paddle.nn.Linear(6, 6)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        h = self.linear(x) * paddle.full([x.shape[1]], 2.0).sqrt()
        h = h + paddle.arange(x.shape[0]).astype("float32").unsqueeze(-1)
        h = h * paddle.ones([x.shape[0], 1]).exp() + paddle.eye(x.shape[0]).sum()
        h = h + paddle.linspace(0, 1, x.shape[0]).unsqueeze(-1)
        grid = paddle.meshgrid(paddle.arange(x.shape[0]), paddle.arange(6))[0].astype("float32")
        rows: paddle.Tensor = h + grid + paddle.zeros([len(x.shape), 6]).sum()
        return rows


@pytest.mark.usefixtures("dynamic")
def test_a_call_may_be_chained_on_one_that_reads_sizes() -> None:
    """Paddle evaluates such source while it converts, which stopped for good."""
    layer = Made()
    program = purdist.from_layer(layer, {"x": InputSpec([None, 6])})
    for rows in (2, 5):
        x = numbers(0, rows, 6)
        expected = layer(paddle.to_tensor(x)).numpy()
        np.testing.assert_allclose(
            program.run({"x": x}, ["output"])["output"], expected, rtol=1e-5, atol=1e-5
        )
