"""Long programs, in sections and as a whole: the same to the bit, and no longer in a square."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.autograd import ir_backward
from paddle.jit.dy2static import program_translator
from paddle.nn import functional as F  # noqa: N812
from paddle.static import InputSpec

import purdist
from purdist import graphs
from purdist.graphs.running import sections
from purdist.training.values import session_of
from tests import nets
from tests.nets import Array, numbers, read


class Images(nn.Layer):
    """Convolutions on oneDNN, statistics that move, dropout, and a list that is taken apart."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2D(3, 8, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2D(8, 8, 3, padding=1), nn.BatchNorm2D(8), nn.ReLU())
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(8, 5)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = F.relu(self.stem(x))
        x = self.drop(x + self.body(self.body(x)))
        first, second = paddle.split(x, 2, axis=1)
        return self.head(paddle.concat([second, first], axis=1).mean([2, 3]))


class Words(nn.Layer):
    """A table, attention, a recurrent layer, and products that are wide enough for oneDNN."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 16)
        self.attention = nn.TransformerEncoderLayer(16, 2, 32, 0.1)
        self.recurrent = nn.LSTM(16, 128)
        self.head = nn.Sequential(nn.Linear(128, 128), nn.LayerNorm(128), nn.Linear(128, 5))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.head(self.recurrent(self.attention(self.table(x)))[0].mean(1))


NETWORKS: dict[str, tuple[Callable[[], nn.Layer], InputSpec, Array]] = {
    "images": (Images, InputSpec([None, 3, 8, 8]), numbers(1, 4, 3, 8, 8)),
    "words": (Words, InputSpec([None, 6], "int64"), np.arange(24).reshape(4, 6) % 9),
}

OPTIMIZERS: dict[str, Callable[[], paddle.optimizer.Optimizer]] = {
    "images": lambda: paddle.optimizer.Momentum(1e-2, grad_clip=nn.ClipGradByGlobalNorm(1.0)),
    "words": lambda: paddle.optimizer.AdamW(paddle.optimizer.lr.StepDecay(1e-2, 1)),
}


def distillation(name: str) -> purdist.Distillation:
    make, spec, _ = NETWORKS[name]
    paddle.seed(7)
    teacher, student = (purdist.from_layer(make(), {k: spec}, check=False) for k in ("y", "x"))
    losses = [
        purdist.KDLoss("teacher_output", "output"),
        purdist.CrossEntropyLoss("output", purdist.NewInput("label")),
    ]
    return purdist.apply(purdist.merge(teacher, student, {"y": "x"}), losses)


def trained(distilled: purdist.Distillation, name: str) -> list[Array]:
    """Everything that three steps tell and leave behind, and what the network is then."""
    training = purdist.minimize(distilled, OPTIMIZERS[name], seed=5)
    feed = {"x": NETWORKS[name][2], "label": np.arange(4)}
    found: list[Array] = []
    for step in purdist.train(training, [feed] * 3, fetch=["output", "teacher_output"]):
        found += [np.array([step.loss, *step.terms.values()]), *step.fetched.values()]
    found += training.program.run({"x": feed["x"]}, ["output"]).values()
    return [*found, *(array for _, array in sorted(read(training.program.scope).items()))]


@pytest.mark.usefixtures("dynamic")
@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_step_in_sections_is_the_step_to_the_bit(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    distilled = distillation(name)
    whole = trained(distilled, name)
    monkeypatch.setattr(sections, "LONG", 1)
    for size in (1, 23):
        monkeypatch.setattr(sections, "SECTION", size)
        cut = trained(distilled, name)
        assert len(cut) == len(whole)
        for one, other in zip(cut, whole, strict=True):
            np.testing.assert_array_equal(one, other)


def branching() -> dict[str, paddle.Tensor]:
    x = paddle.static.data("x", [None, 6])
    hidden, other = nn.Linear(6, 6)(x), nn.Linear(6, 6)
    hidden = paddle.static.nn.cond(
        hidden.mean() > 0, lambda: other(hidden), lambda: F.dropout(other(hidden) * 2.0, 0.3)
    )
    return {"logits": nn.Linear(6, 4)(nn.BatchNorm1D(6)(hidden))}


def test_loops_and_ifs_are_run_in_sections_too(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, student = nets.program(nets.looping("y"), seed=1), nets.program(branching)
    losses = [purdist.KDLoss("teacher_logits", "logits")]
    distilled = purdist.apply(purdist.merge(teacher, student, {"y": "x"}), losses)

    def run() -> list[Array]:
        training = purdist.minimize(distilled, OPTIMIZERS["images"], seed=5)
        feeds = [{"x": numbers(k, 5, 6) * (-1) ** k} for k in range(4)]
        told = [np.array(step.loss) for step in purdist.train(training, feeds)]
        return [*told, *(array for _, array in sorted(read(training.program.scope).items()))]

    whole = run()
    monkeypatch.setattr(sections, "LONG", 1)
    for size in (1, 9):
        monkeypatch.setattr(sections, "SECTION", size)
        for one, other in zip(run(), whole, strict=True):
            np.testing.assert_array_equal(one, other)


def chain(layers: int) -> graphs.Graph:
    program = paddle.static.Program()
    with paddle.static.program_guard(program):
        value = paddle.static.data("x", [None, 2])
        for _ in range(layers):
            value = paddle.tanh(value)
    return graphs.Graph(program, {"y": value})


def test_a_long_program_is_cut_and_a_short_one_is_not() -> None:
    lengths = {n: len(sections.plan_of(chain(n).program).job_list()) for n in (1499, 1500, 2001)}
    assert lengths == {1499: 1, 1500: 3, 2001: 5}


def test_what_an_op_writes_to_in_place_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "LONG", 1)
    monkeypatch.setattr(sections, "SECTION", 1)
    program = paddle.static.Program()
    with paddle.static.program_guard(program):
        x = paddle.static.data("x", [3])
        first, second = paddle.exp(x), paddle.tanh(x)
        written = paddle._C_ops.assign_out_(second, first)
        sums = {"written": x + written, "first": x + first, "second": x + second}
    runner = graphs.Runner(
        graphs.Graph(program, sums), list(sums), paddle.static.Scope(), paddle.CPUPlace()
    )
    fed = numbers(3, 3)
    for got in runner({"x": fed}):
        np.testing.assert_allclose(got, fed + np.tanh(fed), rtol=1e-6)


@pytest.mark.usefixtures("dynamic")
@pytest.mark.parametrize("name", list(NETWORKS))
def test_gradients_are_those_of_paddles_own_backward(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    distilled = distillation(name)

    def step() -> str:
        training = purdist.minimize(distilled, OPTIMIZERS[name], seed=5)
        return graphs.signature(session_of(training).step.program)

    found = ir_backward.append_backward_ops
    ours = step()
    assert ir_backward.append_backward_ops is found
    monkeypatch.setattr(
        "purdist.training.updating.graphs.gradients",
        lambda optimizer, loss: optimizer.backward(loss),
    )
    assert ours == step()


class Residual(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x + self.inner(x)


@pytest.mark.usefixtures("dynamic")
def test_a_forward_is_converted_once_for_all_layers_of_its_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    converted: list[str] = []
    convert = program_translator.FunctionCache._convert

    def noticed(self: program_translator.FunctionCache, function: Callable[..., object]) -> object:
        converted.append(function.__qualname__)
        return convert(self, function)

    monkeypatch.setattr(program_translator.FunctionCache, "_convert", noticed)
    layers = nn.Sequential(*(Residual() for _ in range(5)))
    purdist.from_layer(layers, {"x": InputSpec([None, 2])})
    assert converted.count("Residual.forward") == 1
