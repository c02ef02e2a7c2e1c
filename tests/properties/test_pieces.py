"""A run in pieces, each resumed from a checkpoint of the last, is the whole run to the bit."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import paddle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paddle import nn
from paddle.optimizer import lr
from paddle.static import InputSpec

import purdist
from purdist.graphs import dynamic
from purdist.training.values import session_of
from tests import nets
from tests.profiles import examples
from tests.unit.test_optimizers import OPTIMIZERS, OPTIONS, REFUSED, SCHEDULES

COUNT = 5
"""How many steps a whole run takes."""

Make = Callable[..., Any]

BATCHES = [{"x": nets.numbers(k, 5, 6)} for k in range(2 * COUNT)]

ALL: dict[str, Make] = {
    **{name: functools.partial(OPTIMIZERS[name], 0.05) for name in OPTIMIZERS},
    **OPTIONS,
}
"""Every optimizer that Paddle ships, and what changes its numbers and not its name."""

CLIPS: dict[str, Callable[[], dict[str, Any]]] = {
    "nothing": dict,
    "clipped": lambda: {"grad_clip": nn.ClipGradByGlobalNorm(0.1)},
}


def scheduler(name: str) -> lr.LRScheduler:
    if name == "warm restarts, longer":
        return lr.CosineAnnealingWarmRestarts(0.1, 2, 2)
    if name == "warm up to restarts":
        return lr.LinearWarmup(lr.CosineAnnealingWarmRestarts(0.1, 2, 2), 2, 0.0, 0.1)
    made: lr.LRScheduler = getattr(lr, name)(*SCHEDULES[name])
    return made


RATES = [*SCHEDULES, "warm restarts, longer", "warm up to restarts"]


@functools.cache
def distilled() -> purdist.Distillation:
    """Dropout and batch norm, an adaptor of a loss, a factor that moves."""
    with dynamic():
        paddle.seed(5)
        inputs = {"x": InputSpec([None, 6])}
        teacher, student = (
            nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1D(5), nn.Dropout(0.3), nn.Linear(5, 4))
            for _ in range(2)
        )
        merged = purdist.merge(
            purdist.from_layer(teacher, inputs), purdist.from_layer(student, inputs), {"x": "x"}
        )
    specs = [
        purdist.Schedule.cosine(1.0, 0.1, 5) * purdist.L2Loss("teacher_output", "output"),
        purdist.HintLoss("teacher_output", "output"),
    ]
    return purdist.apply(merged, specs)


def state(training: purdist.Training) -> dict[str, object]:
    """All that moves, to the bit."""
    session = session_of(training)
    held = nets.read(session.progress.scope)
    return {
        "steps": training.steps,
        "rate": session.learning_rate_now(),
        **{name: held[name].tobytes() for name in session.kept},
    }


def trained(training: purdist.Training, end: int) -> list[float]:
    """The losses up to so many steps."""
    accumulate = session_of(training).update.accumulate
    batches = BATCHES[training.steps * accumulate : end * accumulate]
    return [step.loss for step in purdist.train(training, batches)]


def in_pieces(make: Callable[[], purdist.Training], ends: Iterable[int], folder: str) -> None:
    """Trains in pieces that end there, and compares them with the whole."""
    path = Path(folder) / "run"
    whole, other = make(), make()
    purdist.save_checkpoint(whole, path)
    losses = trained(whole, COUNT)
    told: list[float] = []
    for end in ends:
        piece = purdist.resume(other, path)
        told += trained(piece, end)
        purdist.save_checkpoint(piece, path)
    last = purdist.resume(other, path)
    assert told + trained(last, COUNT) == losses
    assert state(last) == state(whole)


pieces = st.sets(st.integers(0, COUNT), max_size=3).map(sorted)


@settings(max_examples=examples(45), suppress_health_check=list(HealthCheck))
@given(
    optimizer=st.sampled_from(sorted(ALL)),
    rate=st.sampled_from([None, *RATES]),
    way=st.sampled_from(sorted(CLIPS)),
    options=st.fixed_dictionaries(
        {},
        optional={
            "scheduler_every": st.integers(1, 3),
            "accumulate": st.just(2),
            "average": st.just(0.7),
            "follow": st.just({"teacher_": 0.8}),
        },
    ),
    ends=pieces,
)
def test_any_pieces_are_the_whole(
    optimizer: str, rate: str | None, way: str, options: dict[str, Any], ends: list[int]
) -> None:
    def make_optimizer() -> Any:
        given = {"learning_rate": scheduler(rate)} if rate and optimizer in OPTIMIZERS else {}
        if given and optimizer != "Rprop":
            return OPTIMIZERS[optimizer](**given, **CLIPS[way]())
        return ALL[optimizer](**CLIPS[way]())

    def make() -> purdist.Training:
        return purdist.minimize(distilled(), make_optimizer, seed=3, **options)

    with tempfile.TemporaryDirectory() as folder:
        in_pieces(make, ends, folder)


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_optimizer_goes_on(name: str, tmp_path: Path) -> None:
    def make() -> purdist.Training:
        return purdist.minimize(distilled(), ALL[name], seed=3)

    in_pieces(make, [3], str(tmp_path))


@pytest.mark.parametrize("name", RATES)
def test_every_scheduler_goes_on(name: str, tmp_path: Path) -> None:
    def make() -> purdist.Training:
        return purdist.minimize(distilled(), lambda: paddle.optimizer.SGD(scheduler(name)), seed=3)

    in_pieces(make, [3], str(tmp_path))


def test_every_optimizer_that_paddle_ships_goes_on_or_is_refused() -> None:
    assert {*OPTIMIZERS, *REFUSED, "Optimizer"} == {*vars(paddle.optimizer)["__all__"]}
    assert {*RATES} > {*vars(lr)["__all__"]} - {"LRScheduler"}
