"""Small networks of what people put together."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import paddle
from paddle import nn

from tests.adversarial import whole
from tests.adversarial.cases import IMAGE, Case, Cases, Made, Operand, i, new, x
from tests.adversarial.whole import F


def _quantised() -> nn.Layer:
    """A student whose quantisation is trained, as ``paddle.quantization`` makes one."""
    quantization: Any = importlib.import_module("paddle.quantization")
    quanters: Any = importlib.import_module("paddle.quantization.quanters")
    quanter = quanters.FakeQuanterWithAbsMaxObserver(moving_rate=0.9)
    net = nn.Sequential(whole.nn.Conv2D(4, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5))
    config = quantization.QuantConfig(activation=quanter, weight=quanter)
    made: nn.Layer = quantization.QAT(config).quantize(net)
    return made


class _RMSNorm(nn.Layer):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = self.create_parameter([width])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        size: paddle.Tensor = whole.paddle.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        return x * size * self.weight


class _Patches(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.cut, self.head = whole.nn.Conv2D(4, 5, 3, stride=3), nn.Linear(5, 3)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.head(self.cut(x).reshape([-1, 5, 4]).transpose([0, 2, 1]))


class _Tied(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.words = whole.nn.Embedding(7, 5)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        hidden = F.tanh(self.words(x))
        logits: paddle.Tensor = hidden.matmul(self.words.weight, transpose_y=True)
        return logits


class _Aligned(nn.Layer):
    """The losses that align sequences: [N, 5, C] to labels [N, 2]."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        rows = x[:, 0, 0]
        lengths = whole.paddle.full_like(rows, 5, "int64")
        wanted = whole.paddle.full_like(rows, 2, "int64")
        if self.kind == "ctc":
            per_sample = F.ctc_loss(
                x.transpose([1, 0, 2]), labels, lengths, wanted, reduction="none"
            )
        else:
            maps = x.unsqueeze(2) * whole.paddle.ones([1, 1, 3, 1])
            per_sample = F.rnnt_loss(
                maps, labels, lengths.astype("int32"), wanted.astype("int32"), reduction="none"
            )
        losses: paddle.Tensor = per_sample.reshape([-1, 1])
        return losses


def _net(make: Callable[[], nn.Layer], *on: Operand) -> Case:
    return new(Made(make), on=on or (IMAGE,))


labels = Operand((2,), "feed", "int32", 4, 1)

NETS: Cases = {
    "quantised": _net(_quantised),
    "rms_norm": _net(lambda: nn.Sequential(nn.Linear(6, 8), _RMSNorm(8), nn.Linear(8, 4)), x(6)),
    "patches": _net(_Patches),
    "tied": _net(_Tied, i(7, 3)),
    "ctc": _net(lambda: _Aligned("ctc"), x(5, 4), labels),
    "rnnt": _net(lambda: _Aligned("rnnt"), x(5, 4), labels),
    "weight_norm": _net(lambda: whole.nn.utils.weight_norm(nn.Linear(6, 4)), x(6)),
    "spectral_norm": _net(lambda: whole.nn.utils.spectral_norm(nn.Linear(6, 4)), x(6)),
    "leaky": _net(
        lambda: nn.Sequential(
            whole.nn.Conv2D(4, 4, 3), whole.nn.LeakyReLU(0.1), whole.nn.Conv2D(4, 2, 1)
        )
    ),
    "last": _net(
        lambda: nn.Sequential(
            whole.nn.Conv2D(4, 4, 3, data_format="NHWC"),
            whole.nn.Conv2D(4, 3, 3, data_format="NHWC"),
            nn.Flatten(),
            nn.Softmax(),
        ),
        x(6, 6, 4),
    ),
}
