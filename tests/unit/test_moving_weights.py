"""Weights that move from step to step, and networks that learn from each other."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import paddle
import pytest

import purdist
from purdist import NewInput, Schedule
from tests import nets
from tests.nets import linear, numbers, program, untouched

FEED = {"x": numbers(0, 8, 6), "label": np.arange(8) % 4}


def sgd() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.SGD(0.5)


def distilled(weight: float | Schedule, *, dtype: str = "float32") -> purdist.Distillation:
    teacher = program(linear("y", dtype=dtype), seed=1)
    merged = purdist.merge(teacher, program(linear(dtype=dtype)), {"y": "x"})
    return purdist.apply(
        merged,
        [
            purdist.CrossEntropyLoss("logits", NewInput("label")),
            weight * purdist.KDLoss("teacher_logits", "logits"),
        ],
    )


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule.constant(0.3),
        Schedule.warmup(3),
        Schedule.linear(2.0, 0.5, 4),
        Schedule.cosine(1.0, 0.0, 5) * 0.7,
        Schedule.piecewise({0: 0.1, 2: Schedule.warmup(2) * 4}),
    ],
    ids=str,
)
def test_the_weight_of_a_step_is_the_schedules(schedule: Schedule) -> None:
    training = purdist.minimize(distilled(schedule), sgd)
    for step in purdist.train(training, [FEED] * 6):
        expected = step.terms["cross_entropy_0"] + schedule.at(step.index) * step.terms["kd_0"]
        assert step.loss == pytest.approx(expected, rel=1e-6)


def test_a_schedule_that_stays_trains_as_a_number_does() -> None:
    one = purdist.minimize(distilled(0.3), sgd)
    other = purdist.minimize(distilled(Schedule.constant(0.3)), sgd)
    assert [step.loss for step in purdist.train(one, [FEED] * 5)] == [
        step.loss for step in purdist.train(other, [FEED] * 5)
    ]


def test_at_float64_the_weight_has_all_its_digits() -> None:
    distillation = distilled(Schedule.constant(0.1), dtype="float64")
    training = purdist.minimize(distillation, sgd)
    step = next(purdist.train(training, [{**FEED, "x": FEED["x"].astype("float64")}]))
    expected = step.terms["cross_entropy_0"] + 0.1 * step.terms["kd_0"]
    assert step.loss == pytest.approx(expected, rel=1e-14)


def test_two_trainings_of_one_distillation_move_apart() -> None:
    distillation = distilled(Schedule.warmup(10))
    one, other = purdist.minimize(distillation, sgd), purdist.minimize(distillation, sgd)
    with untouched(distillation.program, other.program):
        for _ in purdist.train(one, [FEED] * 4):
            pass
    assert next(purdist.train(other, [FEED])).index == 0


def test_weights_that_were_saved_carry_no_count_of_steps(tmp_path: Path) -> None:
    distillation = distilled(Schedule.warmup(10))
    training = purdist.minimize(distillation, sgd)
    for _ in purdist.train(training, [FEED] * 4):
        pass
    purdist.save_weights(training.program, tmp_path / "weights.safetensors")
    loaded = purdist.load_weights(distillation.program, tmp_path / "weights.safetensors")
    again = purdist.minimize(attrs.evolve(distillation, program=loaded), sgd)
    assert (training.steps, again.steps) == (4, 0)
    step = next(purdist.train(again, [FEED]))
    assert (step.index, step.loss) == (0, step.terms["cross_entropy_0"])
    assert step.terms == next(purdist.train(training, [FEED])).terms


def test_both_learn_from_each_other() -> None:
    one, other = program(linear(), seed=1), program(linear("y"), seed=2)
    with untouched(one, other):
        both = purdist.join(other, one, {"y": "x"})
    distillation = purdist.apply(
        both,
        [
            purdist.CrossEntropyLoss("logits", NewInput("label")),
            purdist.CrossEntropyLoss("peer_logits", NewInput("label")),
            purdist.MutualLoss("logits", "peer_logits"),
        ],
    )
    training = purdist.minimize(distillation, sgd)
    steps = list(purdist.train(training, [FEED] * 20))
    assert steps[-1].loss < steps[0].loss
    learned = nets.weights(training.program)
    begun = nets.weights(one) | {f"peer_{k}": a for k, a in nets.weights(other).items()}
    assert nets.moved(begun, learned) == set(begun)


def test_a_network_that_learns_along_drops_and_gathers(tmp_path: Path) -> None:
    one, other = program(nets.images(), seed=1), program(nets.images("y"), seed=2)
    both = purdist.join(other, one, {"y": "x"})
    assert both.variables["peer_batch_norm2d_0.w_1"].role == "buffer"
    training = purdist.minimize(
        purdist.apply(both, [purdist.MutualLoss("logits", "peer_logits")]), sgd
    )
    feed = {"x": numbers(1, 8, 1, 4, 4)}
    for _ in purdist.train(training, [feed]):
        pass
    names = {"peer_batch_norm2d_0.w_1", "batch_norm2d_0.w_1"}
    assert names <= nets.moved(nets.weights(both), nets.weights(training.program))
    trained = nets.weights(training.program)
    for prefix, data in ((None, "x"), ("peer_", "y")):
        alone = purdist.student_of(training, name_prefix=prefix)
        assert alone.inputs == (data,)
        assert {v.owner for v in alone.variables.values()} == {"student"}
        begun = nets.weights(one if prefix is None else other)
        after = nets.weights(alone)
        assert after.keys() == begun.keys()
        for name, array in after.items():
            np.testing.assert_array_equal(array, trained[(prefix or "") + name])
        purdist.export(alone, tmp_path / data, ["logits"])
        assert list(purdist.from_exported(tmp_path / data).inputs) == [data]
