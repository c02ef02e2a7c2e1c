"""What a case must show: each way of running it computes what dygraph computes."""

from __future__ import annotations

import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import paddle
import paddle.inference
from paddle import nn

import purdist
from purdist.training.session import batch_seed
from tests.adversarial.around import Group, Named
from tests.adversarial.cases import ROWS
from tests.adversarial.reference import (
    Arrays,
    DiffersError,
    Reference,
    close,
    trained,
    trained_alike,
)
from tests.nets import Array

STEPS = 4
RATE = 0.05
SEED = 5


@attrs.frozen
class Shown:
    """What one way of running came to.

    Attributes:
        way: Which.
        error: The class of the error, '' if there was none.
        text: What the error says, or where the numbers differ; '' if all is well.
    """

    way: str
    error: str = ""
    text: str = ""


@attrs.frozen(eq=False)
class Scene:
    """A case as teacher and student, and what trains one by the other; and where to put files."""

    named: Named | Group
    teacher: nn.Layer
    student: nn.Layer
    feeds: Sequence[Arrays]
    folder: Path

    @classmethod
    def of(cls, named: Named | Group, folder: Path) -> Scene:
        """Made in dynamic mode."""
        feeds = [named.feed(seed) for seed in range(STEPS)]
        return cls(named, named.make(2), named.make(1), feeds, folder)

    def reference(self) -> Reference:
        """Trains the student's copy by hand."""
        student = self.named.make(1)
        student.train()
        self.teacher.eval()
        return trained(student, self._losses(student), sgd)

    def _losses(self, student: nn.Layer) -> Iterator[paddle.Tensor]:
        for k, feed in enumerate(self.feeds):
            paddle.seed(batch_seed(SEED, k))  # as our own step does
            with paddle.no_grad():
                wanted = self.teacher(*map(paddle.to_tensor, feed.values()))
            got = student(*map(_differentiable, feed.values()))
            loss: Any = sum(((s - t) ** 2).mean() for s, t in zip(got, wanted, strict=True))
            yield loss

    @cached_property
    def program(self) -> purdist.Program:
        """The student as a network."""
        return purdist.from_layer(self.student, self.named.specs("x"))

    @cached_property
    def taught(self) -> purdist.Distillation:
        """The student as a network, taught by the teacher."""
        return self.distillation(self.program)

    def distillation(self, student: purdist.Program) -> purdist.Distillation:
        """A student taught by the teacher, each output by its own."""
        teacher = self._teacher
        merged = purdist.merge(teacher, student, self._fed_by(teacher, student))
        names = outputs_of(student)
        losses = [purdist.L2Loss(f"teacher_{name}", name) for name in names]
        return purdist.apply(merged, losses)

    @cached_property
    def _teacher(self) -> purdist.Program:
        # What a check would find of it, that of the student does.
        return purdist.from_layer(self.teacher, self.named.specs("t"), check=False)

    def _fed_by(self, teacher: purdist.Program, student: purdist.Program) -> dict[str, str]:
        return {name: f"x{name[1:]}" for name in teacher.inputs if f"x{name[1:]}" in student.inputs}


def outputs_of(program: purdist.Program) -> list[str]:
    """What the network returns."""
    return sorted(
        (name for name in program.variables if name.startswith("output.")),
        key=lambda name: int(name.split(".")[1]),
    )


def _differentiable(array: Array) -> paddle.Tensor:
    """A feed that takes a gradient: some of Paddle's kernels end the process without."""
    return paddle.to_tensor(array, stop_gradient=array.dtype.kind != "f")


def sgd(**parameters: Any) -> paddle.optimizer.Optimizer:
    return paddle.optimizer.SGD(RATE, **parameters)


def _losses_of(training: purdist.Training, feeds: Sequence[Arrays]) -> list[float]:
    return [step.loss for step in purdist.train(training, feeds)]


# --- the ways ---------------------------------------------------------------------------


def graph(scene: Scene, by: Reference) -> None:
    training = purdist.minimize(scene.taught, sgd, seed=SEED)
    trained_alike(training, _losses_of(training, scene.feeds), by)


def cache(scene: Scene, by: Reference) -> None:
    teacher = purdist.cache_teacher(scene.taught, scene.feeds, scene.folder / "cache")
    training = purdist.minimize(scene.taught, sgd, teacher=teacher, seed=SEED)
    feeds = [
        {
            **{name: feed[name] for name in training.program.inputs if name in feed},
            "teacher_sample": np.arange(ROWS * k, ROWS * (k + 1)),
        }
        for k, feed in enumerate(scene.feeds)
    ]
    trained_alike(training, _losses_of(training, feeds), by)


def engine(scene: Scene, by: Reference) -> None:
    training = purdist.minimize(scene.taught, sgd, teacher="inference", seed=SEED)
    trained_alike(training, _losses_of(training, scene.feeds), by)


def exported(scene: Scene, by: Reference) -> None:
    """Paddle Inference, as it is by default, says of the files what the eager layer says."""
    names, path = outputs_of(scene.program), scene.folder / "model"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        purdist.export(scene.program, path, names)
    if any("Paddle Inference" in str(warning.message) for warning in caught):
        return  # it says which setting is right
    for rows in (ROWS,) if scene.named.fixed else (ROWS, 3):
        feed = scene.named.feed(9, rows=rows)
        scene.student.eval()
        expected = scene.student(*map(paddle.to_tensor, feed.values()))
        got = by_inference(path, feed)
        for name, value, wanted in zip(names, got, expected, strict=True):
            close(value, wanted.numpy(), f"{name} of {rows} rows")


def by_inference(path: Path, feed: Arrays) -> list[Array]:
    """What Paddle Inference makes of the files."""
    weights = Path(f"{path}.pdiparams")
    config = paddle.inference.Config(f"{path}.json", str(weights) if weights.exists() else "")
    config.disable_glog_info()
    predictor = paddle.inference.create_predictor(config)
    for name in predictor.get_input_names():
        predictor.get_input_handle(name).copy_from_cpu(feed[name])
    predictor.run()
    return [
        predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()
    ]


def reread(scene: Scene, by: Reference) -> None:
    """What was exported and read again infers and trains as the layer does."""
    names = outputs_of(scene.program)
    path = scene.folder / "model"
    if not path.with_suffix(".json").exists():
        purdist.export(scene.program, path, names, check=False)
    again = purdist.from_exported(path)
    feed = scene.named.feed(9)
    fed = {name: feed[name] for name in again.inputs}
    expected = scene.program.run(feed, names)
    for k, (name, value) in enumerate(
        zip(names, again.run(fed, outputs_of(again)).values(), strict=True)
    ):
        close(value, expected[name], f"output {k}")
    training = purdist.minimize(scene.distillation(again), sgd, seed=SEED)
    feeds = [
        {k: v for k, v in feed.items() if k in training.program.inputs} for feed in scene.feeds
    ]
    trained_alike(training, _losses_of(training, feeds), by)


WAYS: Mapping[str, Callable[[Scene, Reference], None]] = {
    "graph": graph,
    "cache": cache,
    "exported": exported,
    "reread": reread,
    "engine": engine,
}


def shown(named: Named | Group, ways: Sequence[str]) -> Iterator[Shown]:
    """Runs a case in these ways; the first is what dygraph itself says of it."""
    paddle.disable_static()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        try:
            scene = Scene.of(named, Path(folder))
            by = scene.reference()
        except Exception as error:
            yield Shown("dygraph", type(error).__name__, traceback.format_exc(limit=-3))
            return
        yield Shown("dygraph")
        for way in ways:
            yield _outcome(way, lambda: WAYS[way](scene, by))  # noqa: B023 - called at once


def _outcome(way: str, run: Callable[[], Any]) -> Shown:
    try:
        run()
    except DiffersError as error:
        return Shown(way, "DiffersError", str(error))
    except purdist.PurdistError as error:
        return Shown(way, type(error).__name__, str(error))
    except Exception as error:
        return Shown(way, type(error).__name__, traceback.format_exc(limit=-4))
    return Shown(way)
