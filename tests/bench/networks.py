"""The networks of the reference pairs, for any Paddle from 2.6 on: purdist is not imported."""

from __future__ import annotations

import paddle
from paddle import nn


class BasicBlock(nn.Layer):
    """Two 3x3 convolutions and a way round them, as in the CIFAR networks of He et al., 2016."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(before, after, 3, stride, 1, bias_attr=False)
        self.bn1 = nn.BatchNorm2D(after)
        self.conv2 = nn.Conv2D(after, after, 3, 1, 1, bias_attr=False)
        self.bn2 = nn.BatchNorm2D(after)
        self.short = None
        if stride != 1 or before != after:
            self.short = nn.Conv2D(before, after, 1, stride, bias_attr=False)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        inside = self.bn2(self.conv2(nn.functional.relu(self.bn1(self.conv1(x)))))
        return nn.functional.relu(inside + (x if self.short is None else self.short(x)))


class CifarResNet(nn.Layer):
    """ResNet of depth 6n + 2 on 32x32 images."""

    def __init__(self, n: int, classes: int = 100) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2D(3, 16, 3, 1, 1, bias_attr=False), nn.BatchNorm2D(16), nn.ReLU()
        )
        blocks, width = [], 16
        for stage, after in enumerate((16, 32, 64)):
            for k in range(n):
                blocks.append(BasicBlock(width, after, 2 if stage and not k else 1))
                width = after
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(64, classes)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.head(self.blocks(self.stem(x)).mean([2, 3]))


class Encoder(nn.Layer):
    """A transformer encoder over a sequence of vectors, and logits of their mean."""

    def __init__(self, layers: int, width: int = 768, heads: int = 12, classes: int = 100) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.head = nn.Linear(width, classes)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.head(self.encoder(x).mean(1))


def mlp(layers: int, width: int = 16, classes: int = 10) -> nn.Layer:
    """Linear layers and ReLU."""
    hidden = [part for _ in range(layers) for part in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(width, classes))
