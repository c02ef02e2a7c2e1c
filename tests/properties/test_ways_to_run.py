"""A teacher in the graph, in Paddle Inference or in a cache says the same."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import paddle
from hypothesis import given, settings

from purdist import KDLoss, L2Loss, apply, cache_teacher, cut, minimize, train
from purdist.arrays import Feed
from purdist.testing import NetworkPair
from tests.profiles import examples
from tests.properties.pairs import computed, differing, pairs


def sgd() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.SGD(0.05)


@settings(max_examples=examples(12))
@given(pairs)
def test_all_ways_to_run_a_teacher_train_alike(pair: NetworkPair) -> None:
    distillation = apply(pair.merged(), [KDLoss(*pair.outputs), 0.1 * L2Loss(*pair.outputs)])
    images = pair.student.images(12, seed=3)
    order = [np.random.RandomState(k).permutation(12)[:4] for k in range(4)]
    feeds = [{"image": images[rows]} for rows in order]
    sampled: list[Feed] = [{"image": images[rows], "teacher_sample": rows} for rows in order]
    with tempfile.TemporaryDirectory() as folder:
        batches = [{"image": images[:8]}, {"image": images[8:]}]
        cache = cache_teacher(distillation, batches, Path(folder) / "cache")
        cached = minimize(distillation, sgd, seed=5, teacher=cache)
        ways = {
            "graph": train(minimize(distillation, sgd, seed=5), feeds),
            "inference": train(minimize(distillation, sgd, teacher="inference", seed=5), feeds),
            "cache": train(cached, sampled),
        }
        losses = {way: [step.loss for step in steps] for way, steps in ways.items()}
    for way, losses_of_way in losses.items():
        np.testing.assert_allclose(
            losses_of_way, losses["graph"], rtol=1e-4, atol=1e-6, err_msg=way
        )
        np.testing.assert_allclose(
            losses_of_way[0], losses["graph"][0], rtol=1e-5, atol=1e-7, err_msg=way
        )


@settings(max_examples=examples(12))
@given(pairs)
def test_both_halves_of_a_cut_are_the_whole(pair: NetworkPair) -> None:
    whole = pair.student.program(seed=2)
    feed = {"image": pair.student.images(3)}
    for at in pair.student.outputs:
        before, after = cut(whole, [at])
        rest = computed(after)
        fetched = {**feed, **before.run(feed, [at])}
        fed = {name: fetched[name] for name in after.inputs}
        assert differing(after.run(fed, rest), whole.run(feed, rest)) == set()
