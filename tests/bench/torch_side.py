"""Eager PyTorch's side, run by the Python of an environment that has it.

``python tests/bench/torch_side.py NAME``: says when it is ready, then takes a step for each line
it reads and says how long it took.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


class BasicBlock(nn.Module):
    """As in networks.py."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.short = None
        if stride != 1 or before != after:
            self.short = nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x):
        inside = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(inside + (x if self.short is None else self.short(x)))


class CifarResNet(nn.Module):
    """As in networks.py."""

    def __init__(self, n, classes=100):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        blocks, width = [], 16
        for stage, after in enumerate((16, 32, 64)):
            for k in range(n):
                blocks.append(BasicBlock(width, after, 2 if stage and not k else 1))
                width = after
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(64, classes)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean([2, 3]))


class Encoder(nn.Module):
    """As in networks.py."""

    def __init__(self, layers, width=768, heads=12, classes=100):
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.encoder(x).mean(1))


def mlp(layers, width=16, classes=10):
    """As in networks.py."""
    hidden = [part for _ in range(layers) for part in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(width, classes))


class Residual(nn.Module):
    """A block of ResNet-18, or with three convolutions of ResNet-50."""

    def __init__(self, before, width, after, stride):
        super().__init__()
        sizes = [(before, width, 3, stride), (width, after, 3, 1)]
        if after != width:
            sizes = [(before, width, 1, 1), (width, width, 3, stride), (width, after, 1, 1)]
        parts = []
        for a, b, size, step in sizes:
            parts += [nn.Conv2d(a, b, size, step, size // 2, bias=False), nn.BatchNorm2d(b)]
            parts += [nn.ReLU()]
        self.inside = nn.Sequential(*parts[:-1])
        self.short = nn.Identity()
        if stride != 1 or before != after:
            self.short = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x):
        return F.relu(self.inside(x) + self.short(x))


def resnet(depths, factor, classes=100):
    """ResNet-18 with factor 1, ResNet-50 with factor 4, as in torchvision and paddle.vision."""
    parts = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    parts += [nn.MaxPool2d(3, 2, 1)]
    before = 64
    for stage, depth in enumerate(depths):
        width = 64 << stage
        for k in range(depth):
            parts.append(Residual(before, width, width * factor, 2 if stage and not k else 1))
            before = width * factor
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


PAIRS = {
    "resnet": (
        lambda: resnet((3, 4, 6, 3), 4),
        lambda: resnet((2, 2, 2, 2), 1),
        (8, 3, 64, 64),
    ),
    "cifar": (lambda: CifarResNet(9), lambda: CifarResNet(3), (64, 3, 32, 32)),
    "encoder": (lambda: Encoder(12), lambda: Encoder(4), (8, 64, 768)),
    "mlp": (lambda: mlp(100), lambda: mlp(20), (64, 16)),
}


def main(name):
    """Takes a step per line."""
    make_teacher, make_student, shape = PAIRS[name]
    teacher, student = make_teacher().eval(), make_student().train()
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-4, momentum=0.9)
    batch = torch.randn(shape)
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        with torch.no_grad():
            soft = F.softmax(teacher(batch) / 4.0, -1)
        loss = 16.0 * F.kl_div(F.log_softmax(student(batch) / 4.0, -1), soft, reduction="batchmean")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        print(json.dumps(time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
