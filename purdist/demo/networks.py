"""The networks of the demonstration: a large teacher and two small students.

Each is a function that builds a static graph, from the scans [N, 1, 8, 8] to the values
that have a name. By these names the losses of ``purdist/demo/catalogue.py`` read them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import paddle
from paddle import nn

import purdist

Build: TypeAlias = Callable[[paddle.Tensor], dict[str, paddle.Tensor]]
"""Scans -> what is named of the network: logits [N, 10] at least."""


def teacher(image: paddle.Tensor) -> dict[str, paddle.Tensor]:
    """A convolutional network of 53,002 weights."""
    early = nn.Sequential(nn.Conv2D(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2D(2))(image)
    late = nn.Sequential(nn.Conv2D(32, 64, 3, padding=1), nn.ReLU())(early)
    hidden = nn.Sequential(nn.MaxPool2D(2), nn.Flatten(), nn.Linear(256, 128), nn.ReLU())(late)
    logits = nn.Sequential(nn.Dropout(0.5), nn.Linear(128, 10))(hidden)
    return {
        "early": early,  # [N, 32, 4, 4]
        "late": late,  # [N, 64, 4, 4]
        "places": places_of(late),  # [N, 16, 64]
        "hidden": hidden,  # [N, 128]
        "logits": logits,
    }


def perceptron(image: paddle.Tensor) -> dict[str, paddle.Tensor]:
    """A student of 2,410 weights, a twentieth: 64 pixels, 32 hidden units, 10 digits."""
    hidden = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU())(image)
    return {"hidden": hidden, "logits": nn.Linear(32, 10)(hidden)}


def convolutional(image: paddle.Tensor) -> dict[str, paddle.Tensor]:
    """A student of 5,002 weights, a tenth, with maps as large as the teacher's."""
    early = nn.Sequential(nn.Conv2D(1, 32, 3, stride=2, padding=1), nn.ReLU())(image)
    late = nn.Sequential(nn.Conv2D(32, 64, 1), nn.ReLU())(early)
    logits = nn.Sequential(nn.MaxPool2D(2), nn.Flatten(), nn.Linear(256, 10))(late)
    return {"early": early, "late": late, "places": places_of(late), "logits": logits}


def places_of(feature_map: paddle.Tensor) -> paddle.Tensor:
    """A map [N, C, H, W] as a sequence [N, H * W, C], the form that tokens have."""
    return feature_map.flatten(2).transpose([0, 2, 1])


def network(build: Build, seed: int) -> purdist.Program:
    """A network with random weights, from an ordinary static program of Paddle's.

    It gets a scope of its own. In a shared one, the networks would overwrite each
    other's weights wherever two of them bear one name.
    """
    main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.static.program_guard(main, startup):
        named = build(paddle.static.data("image", [None, 1, 8, 8]))
    paddle.seed(seed)
    paddle.static.Executor().run(startup, scope=scope)
    return purdist.from_static(main, scope=scope, names=named)
