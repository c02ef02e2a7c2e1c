"""An export holds how a network infers: where it trains otherwise than that tells, it says so."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

import purdist
from purdist.errors import InvalidArgumentError
from tests.adversarial import whole
from tests.adversarial.whole import F

Make = Callable[[], nn.Layer]

pytestmark = pytest.mark.usefixtures("dynamic")


@attrs.frozen
class Kind:
    """A layer, and what of it a file does not tell.

    Attributes:
        make: Makes the layer, which takes [N, 3, 4, 4].
        named: What the refusal names, '' if the layer trains as the file tells.
    """

    make: Make
    named: str = ""


class Called(nn.Layer):
    """A convolution and what a function makes of it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.conv = whole.nn.Conv2D(3, 3, 1)
        self.function = function
        self.register_buffer("mean", paddle.zeros([3]))
        self.register_buffer("variance", paddle.ones([3]))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        made: paddle.Tensor = self.function(self, self.conv(x))
        return made


def beside(layer: Callable[[], Any]) -> Make:
    """The layer between two convolutions."""
    return lambda: nn.Sequential(whole.nn.Conv2D(3, 3, 1), layer(), whole.nn.Conv2D(3, 2, 3))


def called(function: Callable[..., Any]) -> Make:
    return lambda: Called(function)


def in_eval(layer: nn.Layer) -> nn.Layer:
    layer.eval()
    return layer


def partly_in_eval() -> nn.Layer:
    """A network in training mode, one part of which stays in eval mode."""
    network = beside(lambda: whole.nn.BatchNorm2D(3))()
    network.train()
    in_eval(network[1])  # type: ignore[index]
    return network


def quantised() -> nn.Layer:
    quantization: Any = importlib.import_module("paddle.quantization")
    quanters: Any = importlib.import_module("paddle.quantization.quanters")
    quanter = quanters.FakeQuanterWithAbsMaxObserver(moving_rate=0.9)
    config = quantization.QuantConfig(activation=quanter, weight=quanter)
    layer: nn.Layer = quantization.QAT(config).quantize(beside(nn.ReLU)())
    return layer


def counting(layer: Called, h: paddle.Tensor) -> paddle.Tensor:
    """Moves a buffer in both modes, which an inference graph does in a copy."""
    mean: Any = layer.mean
    paddle.assign(mean * 0.9 + h.mean([0, 2, 3]) * 0.1, mean)
    centred: paddle.Tensor = h - mean.reshape([1, 3, 1, 1])
    return centred


KINDS = {
    "nothing": Kind(beside(nn.ReLU)),
    "dropout": Kind(beside(lambda: nn.Dropout(0.4))),
    "batch norm": Kind(beside(lambda: whole.nn.BatchNorm2D(3))),
    "instance norm": Kind(beside(lambda: whole.nn.InstanceNorm2D(3))),
    "detached": Kind(called(lambda _, h: h + F.relu(h).detach())),
    "split": Kind(called(lambda _, h: h.split(3, 1)[1])),
    "einsum": Kind(called(lambda _, h: whole.paddle.einsum("bchw,bcde->bhwd", h, h))),
    "dropout by channels": Kind(beside(lambda: whole.nn.Dropout2D(0.4)), "the layer '1'"),
    "dropout along an axis": Kind(beside(lambda: whole.nn.Dropout(0.4, axis=1)), "the layer '1'"),
    "alpha dropout": Kind(beside(lambda: whole.nn.AlphaDropout(0.4)), "the layer '1'"),
    "batch norm that keeps its statistics": Kind(
        beside(lambda: whole.nn.BatchNorm2D(3, use_global_stats=True)), "the layer '1'"
    ),
    "part in eval mode": Kind(partly_in_eval, "the layer '1'"),
    "batch norm that infers": Kind(
        called(lambda layer, h: F.batch_norm(h, layer.mean, layer.variance)), "the op 'batch_norm'"
    ),
    "rrelu that infers": Kind(called(lambda _, h: F.rrelu(h, training=False)), "the op 'rrelu'"),
    "training alone": Kind(
        called(lambda layer, h: h * 2.0 if layer.training else h), "the op 'scale'"
    ),
    "inference alone": Kind(
        called(lambda layer, h: h if layer.training else F.relu(h)), "the op 'relu'"
    ),
    "detached in training": Kind(
        called(lambda layer, h: h.exp() + (h.detach() if layer.training else h)), "the op"
    ),
    "spectral norm": Kind(
        beside(lambda: whole.nn.utils.spectral_norm(whole.nn.Conv2D(3, 3, 1))),
        "the weight '1.weight_u'",
    ),
    "quantised": Kind(quantised, "the layer '0.activation_quanter'"),
    "buffer": Kind(called(counting), "the weight 'mean'"),
}


def network(make: Make, feed: str = "x") -> purdist.Program:
    paddle.seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Paddle's own, of batch norms
        return purdist.from_layer(make(), {feed: InputSpec([None, 3, 4, 4])}, check=False)


def reread(program: purdist.Program, path: Path) -> purdist.Program:
    purdist.export(program, path / "model", ["output"], check=False)
    return purdist.from_exported(path / "model")


def trained(program: purdist.Program) -> list[float]:
    """The losses of three steps, with the same random numbers for all."""
    loss = purdist.CustomLoss(lambda value: (value - 1.0).square().mean(), {"value": "output"})
    training = purdist.minimize(
        purdist.apply(program, [loss]), lambda: paddle.optimizer.SGD(0.1), seed=3
    )
    x = np.random.RandomState(0).standard_normal((2, 3, 4, 4)).astype("float32")
    return [step.loss for step in purdist.train(training, [{"x": x}] * 3)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_again_trains_as_it_did_or_is_refused(kind: str, tmp_path: Path) -> None:
    program = network(KINDS[kind].make)
    read = reread(program, tmp_path)
    if not KINDS[kind].named:
        assert np.allclose(trained(read), trained(program), rtol=1e-6)
        return
    with pytest.raises(InvalidArgumentError) as caught:
        trained(read)
    assert KINDS[kind].named in str(caught.value).splitlines()[0]
    # What was read and is written again has nothing to be compared with, and says so still.
    with pytest.raises(InvalidArgumentError) as caught:
        trained(reread(read, tmp_path))
    assert KINDS[kind].named in str(caught.value).splitlines()[0]


def test_the_refusal_says_what_to_do(tmp_path: Path) -> None:
    read = reread(network(KINDS["dropout by channels"].make), tmp_path)
    with pytest.raises(InvalidArgumentError) as caught:
        trained(read)
    assert str(caught.value) == (
        "Expected networks that learn to train as they did before they were exported, got one "
        "from a file that holds no more than how it infers, which is otherwise for the layer '1'.\n"
        "Trace the layer again with from_layer, and give it what save_weights wrote of the student "
        "with load_weights; or train on before you export. As a teacher the file will do."
    )


def test_it_is_refused_by_every_way_in_and_in_every_part(tmp_path: Path) -> None:
    read = reread(network(KINDS["dropout by channels"].make), tmp_path)
    peer = network(KINDS["nothing"].make, "photo")
    (first, *_) = [name for name, v in read.variables.items() if v.role == "activation"]
    for program in (
        *purdist.cut(read, [first])[1:],
        purdist.join(peer, read, {"photo": "x"}),
        purdist.student_of(purdist.merge(peer, read, {"photo": "x"})),
    ):
        with pytest.raises(InvalidArgumentError, match="the layer '1'"):
            trained(program)


def test_a_file_by_paddles_own_reader_says_so_too(tmp_path: Path) -> None:
    reread(network(KINDS["dropout by channels"].make), tmp_path)
    paddle.enable_static()
    scope = paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        loaded: Any = whole.paddle.static.load_inference_model(
            str(tmp_path / "model"), paddle.static.Executor()
        )
        read = purdist.from_static(loaded[0], scope=scope, names={"output": loaded[2][0]})
    with pytest.raises(InvalidArgumentError, match="the layer '1'"):
        trained(read)


@pytest.mark.parametrize("teacher", ["graph", "inference"])
def test_as_a_teacher_it_is_taken(teacher: Any, tmp_path: Path) -> None:
    make = KINDS["dropout by channels"].make
    student = network(make)
    read = reread(network(make, "photo"), tmp_path)
    merged = purdist.merge(read, student, {"photo": "x"})
    training = purdist.minimize(
        purdist.apply(merged, [purdist.L2Loss("teacher_output", "output")]),
        lambda: paddle.optimizer.SGD(0.1),
        teacher=teacher,
    )
    x = np.ones((2, 3, 4, 4), "float32")
    assert len(list(purdist.train(training, [{"x": x}]))) == 1
