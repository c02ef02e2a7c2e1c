"""Paddle Inference computes what the graph does, or says why not, and ends nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import paddle
import pytest

import purdist
from tests.engines import CASES, PLAIN, network
from tests.nets import numbers


def distilled(make: Callable[[], paddle.nn.Layer], shape: tuple[int, ...]) -> purdist.Distillation:
    merged = purdist.merge(network(make, "y", shape), network(make, "x", shape), {"y": "x"})
    return purdist.apply(merged, [purdist.L2Loss("teacher_output", "output")])


def sgd() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.SGD(0.1)


def told(training: purdist.Training) -> str:
    return dict(line.split(None, 1) for line in str(training).splitlines())["teacher"]


@pytest.mark.parametrize("case", CASES)
def test_the_training_is_that_of_one_graph(case: str) -> None:
    make, shape, way = CASES[case]
    distillation = distilled(make, shape)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", purdist.PurdistWarning)
        training = purdist.minimize(distillation, sgd, teacher="inference")
    warned = [w for w in caught if issubclass(w.category, purdist.PurdistWarning)]
    assert len(warned) == (way == PLAIN)
    batches = [{"x": numbers(k, 4, *shape)} for k in range(3)]
    staged = [step.loss for step in purdist.train(training, batches)]
    whole = [step.loss for step in purdist.train(purdist.minimize(distillation, sgd), batches)]
    np.testing.assert_allclose(staged, whole, rtol=1e-4)
    assert told(training) == f"in Paddle Inference, {way}"
