"""PaddleSlim 2.6.0's side, run by the Python of an environment that has it.

``python tests/bench/paddleslim_side.py NAME``, where NAME is that of a pair, or ``mlp-1000``, say:
merges and says how long it took, then takes a step for each line it reads and says how long.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import time
import types
from pathlib import Path

import numpy as np
import paddle

sys.path.insert(0, str(Path(__file__).parent))
import networks

SHAPES = {"resnet": (8, 3, 64, 64), "cifar": (64, 3, 32, 32), "encoder": (8, 64, 768)}


def distiller():
    """PaddleSlim's static distillation alone: the package's own ``__init__`` needs much more."""
    root = Path(paddle.__file__).parent.parent / "paddleslim"
    for name in ("paddleslim", "paddleslim.dist", "paddleslim.common"):
        module = types.ModuleType(name)
        module.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        module.get_logger = lambda name, *_, **__: logging.getLogger(name)
        sys.modules[name] = module
    return importlib.import_module("paddleslim.dist.single_distiller")


def pair(name):
    """What makes teacher and student, and the shape of a batch."""
    if name.startswith("mlp"):
        layers = int(name.partition("-")[2] or 100)
        return (lambda: networks.mlp(layers)), (lambda: networks.mlp(20)), (64, 16)
    makers = {
        "resnet": (paddle.vision.models.resnet50, paddle.vision.models.resnet18),
        "cifar": (lambda: networks.CifarResNet(9), lambda: networks.CifarResNet(3)),
        "encoder": (lambda: networks.Encoder(12), lambda: networks.Encoder(4)),
    }[name]
    if name == "resnet":
        makers = tuple(lambda make=make: make(num_classes=100) for make in makers)
    return (*makers, SHAPES[name])


def static(make, feed, shape):
    """A static program of a layer, in a scope of its own."""
    main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        value = paddle.static.data(feed, [None, *shape[1:]])
        output = make()(value)
    with paddle.static.scope_guard(scope):
        paddle.static.Executor(paddle.CPUPlace()).run(startup)
    return main, startup, scope, output.name


def main(name):
    """Merges, and takes a step per line."""
    paddle.enable_static()
    slim = distiller()
    teacher, student, shape = pair(name)
    teacher_main, _, teacher_scope, teacher_out = static(teacher, "y", shape)
    main, _, scope, out = static(student, "x", shape)
    start = time.perf_counter()
    slim.merge(
        teacher_main.clone(for_test=True),
        main,
        {"y": "x"},
        paddle.CPUPlace(),
        scope=scope,
        teacher_scope=teacher_scope,
    )
    print(json.dumps(time.perf_counter() - start), flush=True)
    step = None
    for _ in sys.stdin:
        step = step or stepping(slim, main, scope, (f"teacher_{teacher_out}", out), shape)
        start = time.perf_counter()
        step()
        print(json.dumps(time.perf_counter() - start), flush=True)


def stepping(slim, main, scope, outputs, shape):
    """What takes a step of the merged program."""
    startup = paddle.static.Program()
    executor = paddle.static.Executor(paddle.CPUPlace())
    # Names of its own, or Paddle takes the loss's variables for the networks'.
    names = paddle.utils.unique_name.guard("step_")
    with names, paddle.static.program_guard(main, startup), paddle.static.scope_guard(scope):
        loss = slim.soft_label(*outputs, main, 4.0, 4.0)
        paddle.optimizer.Momentum(1e-4).minimize(loss)
        executor.run(startup)
    batch = np.random.RandomState(0).standard_normal(shape).astype("float32")
    return lambda: executor.run(main, feed={"x": batch}, fetch_list=[loss], scope=scope)


if __name__ == "__main__":
    main(sys.argv[1])
