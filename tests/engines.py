"""Networks that Paddle Inference computes, each with the first way in which it does so rightly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paddle

import purdist

nn: Any = paddle.nn  # more of it than the stubs know


class Calls(paddle.nn.Layer):
    """What ``function`` computes with ``layers`` of one input."""

    def __init__(self, function: Callable[..., object], *layers: paddle.nn.Layer) -> None:
        super().__init__()
        self.layers = nn.LayerList(layers)
        self.function = function

    def forward(self, x: paddle.Tensor) -> object:
        return self.function(x, *self.layers)


def patches(x: paddle.Tensor, convolution: paddle.nn.Layer, linear: paddle.nn.Layer) -> object:
    return linear(convolution(x).reshape([-1, 8, 16]).transpose([0, 2, 1]))


def normalised(x: paddle.Tensor, linear: paddle.nn.Layer) -> object:
    hidden = linear(x)
    return hidden / (hidden.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()


def pyramid(x: paddle.Tensor, first: paddle.nn.Layer, second: paddle.nn.Layer) -> object:
    fine = first(x)
    return fine + nn.functional.interpolate(second(fine), scale_factor=2)


def yolo(x: paddle.Tensor, first: paddle.nn.Layer, second: paddle.nn.Layer) -> object:
    leaky = nn.functional.leaky_relu
    fine = leaky(first(x))
    return fine + nn.functional.interpolate(leaky(second(fine)), scale_factor=2)


def squeezed(x: paddle.Tensor, convolution: paddle.nn.Layer) -> object:
    return convolution(x).squeeze(3)


def doubled(x: paddle.Tensor, convolution: paddle.nn.Layer) -> object:
    value = convolution(x)
    return paddle.concat([value, value], 1)


def convolved(**options: object) -> Any:
    return nn.Conv2D(3, 8, 3, padding=1, **options)


def stride() -> Any:
    return nn.Conv2D(8, 8, 3, stride=2, padding=1)


IMAGE, LAST = (3, 16, 16), (6, 6, 3)
ONEDNN, PLAIN = "oneDNN", "no oneDNN"
CASES: dict[str, tuple[Callable[[], paddle.nn.Layer], tuple[int, ...], str]] = {
    "MLP": (lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)), (6,), ONEDNN),
    "convolutions": (
        lambda: nn.Sequential(convolved(), nn.BatchNorm2D(8), nn.ReLU(), stride(), nn.Flatten()),
        IMAGE,
        ONEDNN,
    ),
    "RMSNorm": (lambda: Calls(normalised, nn.Linear(6, 8)), (5, 6), "oneDNN without inplace_pass"),
    "patches reshaped": (
        lambda: Calls(patches, nn.Conv2D(3, 8, 4, stride=4), nn.Linear(8, 4)),
        IMAGE,
        "oneDNN without inplace_pass, reshape_transpose_matmul_fuse_pass",
    ),
    "leaky ReLU": (
        lambda: nn.Sequential(convolved(), nn.LeakyReLU()),
        IMAGE,
        "oneDNN without inplace_pass, conv_activation_onednn_fuse_pass",
    ),
    "feature pyramid": (
        lambda: Calls(pyramid, convolved(), stride()),
        IMAGE,
        "oneDNN without inplace_pass, onednn_placement_pass",
    ),
    "YOLO": (
        lambda: Calls(yolo, convolved(), stride()),
        IMAGE,
        "oneDNN without inplace_pass, reshape_transpose_matmul_fuse_pass, "
        "conv_activation_onednn_fuse_pass, onednn_placement_pass",
    ),
    "layer norm of a map": (
        lambda: nn.Sequential(convolved(), nn.LayerNorm([8, 16, 16])),
        IMAGE,
        "oneDNN without inplace_pass, onednn_placement_pass",
    ),
    "NHWC": (
        lambda: nn.Sequential(convolved(data_format="NHWC"), nn.ReLU(), nn.Flatten()),
        LAST,
        PLAIN,
    ),
    "NHWC squeezed": (
        lambda: Calls(squeezed, nn.Conv2D(3, 1, (6, 3), data_format="NHWC")),
        LAST,
        PLAIN,
    ),
    "NHWC batch norm": (
        lambda: nn.Sequential(
            nn.BatchNorm2D(3, data_format="NHWC"), nn.Flatten(), nn.Linear(108, 4)
        ),
        LAST,
        PLAIN,
    ),
    "NLC joined": (lambda: Calls(doubled, nn.Conv1D(3, 4, 3, data_format="NLC")), (16, 3), PLAIN),
    "NDHWC": (
        lambda: nn.Sequential(nn.Conv3D(3, 4, 3, padding=1, data_format="NDHWC"), nn.ReLU()),
        (5, 5, 5, 3),
        PLAIN,
    ),
}


def cells() -> Any:
    """A recurrent network that Paddle builds as a while loop."""
    return Calls(
        lambda x, cell, linear: linear(cell(x)[0]), nn.RNN(nn.GRUCell(6, 8)), nn.Linear(8, 3)
    )


def network(
    make: Callable[[], paddle.nn.Layer], feed: str, shape: tuple[int, ...]
) -> purdist.Program:
    paddle.disable_static()
    paddle.seed(ord(feed))
    layer = make()
    return purdist.from_layer(layer, {feed: paddle.static.InputSpec([None, *shape], "float32")})
