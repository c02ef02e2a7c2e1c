"""Two processes that train on halves of a batch train as one does on the whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

import purdist
from purdist.training.values import session_of
from tests import nets

SCRIPT = """
import numpy, paddle, sys
import paddle.distributed

paddle.distributed.init_parallel_env()
paddle.enable_static()

from purdist.training.values import session_of
from tests.unit.test_data_parallel import distilled, halves, trained

rank = paddle.distributed.get_rank()
distillation = distilled()
paddle.seed(rank)
training, weights = trained(distillation, halves()[rank], data_parallel=True)
numpy.savez(f"{sys.argv[1]}/{rank}.npz", **weights)
session = session_of(training)
print("rank", session.rank, "of seed", session.seed, file=open(f"{sys.argv[1]}/{rank}", "w"))
"""


def distilled() -> purdist.Distillation:
    teacher = nets.program(nets.linear("y"), seed=1)
    merged = purdist.merge(teacher, nets.program(nets.linear()), {"y": "x"})
    return purdist.apply(merged, [purdist.KDLoss("teacher_logits", "logits")])


def halves() -> list[list[dict[str, nets.Array]]]:
    """The batches of each process."""
    return [[{"x": nets.numbers(10 * rank + k, 4, 6)} for k in range(5)] for rank in range(2)]


def trained(
    distillation: purdist.Distillation,
    batches: list[dict[str, nets.Array]],
    *,
    data_parallel: bool = False,
) -> tuple[purdist.Training, dict[str, nets.Array]]:
    clip = paddle.nn.ClipGradByGlobalNorm(0.05)
    training = purdist.minimize(
        distillation,
        lambda: paddle.optimizer.Momentum(0.1, grad_clip=clip),
        data_parallel=data_parallel,
    )
    for _ in purdist.train(training, batches):
        pass
    return training, nets.weights(purdist.student_of(training))


def test_both_end_with_the_weights_of_one_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2"]
    process = subprocess.run(
        [*launch, "--backend", "gloo", "--log_dir", str(tmp_path), str(script), str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        cwd=nets.ROOT,
        env={**os.environ, "PYTHONPATH": str(nets.ROOT)},
        timeout=120,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    both = [
        {"x": np.concatenate([one["x"], other["x"]])} for one, other in zip(*halves(), strict=True)
    ]
    _, expected = trained(distilled(), both)
    for rank in range(2):
        with np.load(tmp_path / f"{rank}.npz") as got:
            assert set(got) == set(expected)
            for name, weight in expected.items():
                np.testing.assert_allclose(got[name], weight, rtol=1e-5, atol=1e-6)
    distillation = distilled()
    paddle.seed(0)  # as in the first process, whose seed is that of both
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
    seed = session_of(training).seed
    seeds = [(tmp_path / str(rank)).read_text().strip() for rank in range(2)]
    assert seeds == [f"rank {rank} of seed {seed}" for rank in range(2)]


def test_a_process_that_is_alone_is_refused() -> None:
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        trained(distilled(), [], data_parallel=True)
    assert str(caught.value) == (
        "Expected data_parallel in a process that paddle.distributed knows, got one that is "
        "alone.\nStart it with python -m paddle.distributed.launch, and call "
        "paddle.distributed.init_parallel_env() first."
    )
