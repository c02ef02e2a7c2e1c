"""Processes that train on parts of a batch train as one does on the whole, and end together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

import purdist
from purdist.training.values import session_of
from tests import nets
from tests.nets import Array, numbers

ROWS, STEPS = 12, 5

Result = dict[str, Any]


def normalised(feed: str = "x") -> nets.Forward:
    def forward() -> dict[str, paddle.Tensor]:
        x = paddle.static.data(feed, [None, 6])
        hidden = paddle.nn.BatchNorm1D(5)(paddle.nn.Linear(6, 5)(x))
        return {"logits": paddle.nn.Linear(5, 4)(hidden)}

    return forward


def distilled(forward: nets.Forward | None = None, *, seed: int = 0) -> purdist.Distillation:
    teacher = nets.program(nets.linear("y"), seed=1)
    student = nets.program(forward or nets.linear(), seed=seed)
    merged = purdist.merge(teacher, student, {"y": "x"})
    losses = [
        purdist.KDLoss("teacher_logits", "logits"),
        purdist.HintLoss("teacher_logits", "logits"),
    ]
    return purdist.apply(merged, losses)


def batches(rank: int = 0, count: int = 1, accumulate: int = 1) -> list[dict[str, Array]]:
    """The batches of each process: parts of those of one alone."""
    rows = ROWS // count // accumulate
    whole = [numbers(k, ROWS, 6) for k in range(STEPS)]
    return [
        {"x": x[begin : begin + rows]}
        for x in whole
        for begin in range(rank * rows * accumulate, (rank + 1) * rows * accumulate, rows)
    ]


def momentum() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.Momentum(0.1, grad_clip=paddle.nn.ClipGradByGlobalNorm(0.5))


def trained(
    distillation: purdist.Distillation, feeds: list[dict[str, Array]], **options: Any
) -> Result:
    """What steps tell, how they end, and all that they leave."""
    training = purdist.minimize(distillation, momentum, **options)
    steps: list[purdist.Step] = []
    error = ""
    try:
        steps.extend(purdist.train(training, feeds))
    except purdist.PurdistError as raised:
        error = f"{type(raised).__name__}: {raised}"
    return {
        "losses": [step.loss for step in steps],
        "terms": [dict(step.terms) for step in steps],
        "error": error,
        "steps": training.steps,
        "seed": session_of(training).seed,
        "weights": {n: w.tolist() for n, w in nets.weights(training.program).items()},
    }


# --- what a process does, by the name of a scenario ---------------------------------------


def with_other_weights(rank: int, count: int) -> Result:
    paddle.seed(rank)
    return trained(distilled(seed=10 * rank), batches(rank, count), data_parallel=True)


def accumulated(rank: int, count: int) -> Result:
    feeds = batches(rank, count, 3 if count == 2 else 1)
    accumulate = 3 if count == 2 else 1
    return trained(distilled(), feeds, data_parallel=True, accumulate=accumulate)


def with_statistics(rank: int, count: int) -> Result:
    return trained(distilled(normalised()), batches(rank, count), data_parallel=True)


def uneven(rank: int, count: int) -> Result:
    feeds = batches(rank, count)
    return trained(distilled(), feeds[:3] if rank == 1 else feeds, data_parallel=True)


def not_finite(rank: int, count: int) -> Result:
    feeds = batches(rank, count)
    if rank == 1:
        feeds[3] = {"x": feeds[3]["x"] * np.float32(np.inf)}
    return trained(distilled(normalised()), feeds, data_parallel=True)


def refused(rank: int, count: int) -> Result:
    feeds = batches(rank, count)
    if rank == 1:
        feeds[3] = {"x": feeds[3]["x"][:, :2]}
    return trained(distilled(), feeds, data_parallel=True)


def another(rank: int, count: int) -> Result:
    """What each says where they are not made alike."""
    merged = purdist.merge(
        nets.program(nets.linear("y"), seed=rank), nets.program(nets.linear()), {"y": "x"}
    )
    teachers = purdist.apply(merged, [purdist.KDLoss("teacher_logits", "logits")])
    wider = nets.linear(sizes=(6, 5 + rank, 4))
    rate = 0.1 * (1 + rank)
    attempts: dict[str, Callable[[], object]] = {
        "teacher": lambda: purdist.minimize(teachers, momentum, data_parallel=True),
        "student": lambda: purdist.minimize(distilled(wider), momentum, data_parallel=True),
        "accumulate": lambda: purdist.minimize(
            distilled(), momentum, data_parallel=True, accumulate=1 + rank
        ),
        "optimizer": lambda: purdist.minimize(
            distilled(), lambda: paddle.optimizer.Momentum(0.1, rate), data_parallel=True
        ),
        "seed": lambda: purdist.minimize(distilled(), momentum, data_parallel=True, seed=rank),
    }
    said = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            said[name] = ""
        except purdist.RankError as error:
            said[name] = str(error)
    return said


def resumed(rank: int, count: int) -> Result:
    """The first writes, and all go on from what it wrote."""
    folder = Path(sys.argv[1]) / "run"
    feeds = batches(rank, count)
    kept = purdist.Checkpoints(folder, every=2)
    first = purdist.minimize(distilled(normalised()), momentum, data_parallel=True)
    steps = list(purdist.train(first, feeds[:3], checkpoints=kept))
    other = distilled(normalised(), seed=5)
    again = purdist.resume(purdist.minimize(other, momentum, data_parallel=True), folder)
    began = again.steps
    steps += purdist.train(again, feeds[3:], checkpoints=kept)
    return {
        "losses": [step.loss for step in steps],
        "began": began,
        "weights": {n: w.tolist() for n, w in nets.weights(again.program).items()},
        "files": sorted(file.name for file in folder.iterdir()),
    }


def killed(rank: int, count: int) -> Result:
    feeds = batches(rank, count)
    training = purdist.minimize(distilled(), momentum, data_parallel=True)
    try:
        for step in purdist.train(training, feeds):
            if rank == 1 and step.index == 2:
                os.kill(os.getpid(), 9)
    except purdist.RankError as error:
        return {"error": f"RankError: {error}", "steps": training.steps}
    return {"error": ""}


ALL: dict[str, Callable[[int, int], Result]] = {
    scenario.__name__: scenario
    for scenario in (
        with_other_weights,
        accumulated,
        with_statistics,
        uneven,
        not_finite,
        refused,
        another,
        resumed,
        killed,
    )
}

SCRIPT = """
import json, sys
import paddle
import paddle.distributed

paddle.distributed.init_parallel_env()
paddle.enable_static()

from tests.unit.test_data_parallel import ALL

rank, count = paddle.distributed.get_rank(), paddle.distributed.get_world_size()
for name in sys.argv[2:]:
    result = ALL[name](rank, count)
    with open(f"{sys.argv[1]}/{name}.{rank}", "w") as file:
        json.dump(result, file)
"""


def launched(folder: Path, count: int, *names: str, code: int = 0) -> dict[str, list[Result]]:
    """Scenario -> what each of ``count`` processes made of it, None for one that is gone."""
    script = folder / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    launch = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", str(count)]
    process = subprocess.run(
        [*launch, "--backend", "gloo", "--log_dir", str(folder), str(script), str(folder), *names],
        check=False,
        capture_output=True,
        text=True,
        cwd=nets.ROOT,
        env={**os.environ, "PYTHONPATH": str(nets.ROOT), "OMP_NUM_THREADS": "1"},
        timeout=240,
    )
    logs = "".join(log.read_text() for log in sorted(folder.glob("workerlog.*")))
    assert process.returncode == code, process.stdout + process.stderr + logs
    files = {name: [folder / f"{name}.{rank}" for rank in range(count)] for name in names}
    return {
        name: [json.loads(file.read_text()) for file in those if file.exists()]
        for name, those in files.items()
    }


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Result]]:
    return launched(tmp_path_factory.mktemp("two"), 2, *(name for name in ALL if name != "killed"))


@pytest.fixture(scope="module")
def of_four(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Result]]:
    return launched(tmp_path_factory.mktemp("four"), 4, "with_other_weights", "uneven")


def assert_is_one(results: list[Result], expected: Result) -> None:
    """The losses of one process on the joined batch, and weights that are equal everywhere."""
    for result in results:
        assert result["error"] == ""
        np.testing.assert_allclose(result["losses"], expected["losses"], rtol=1e-5)
        for got, wanted in zip(result["terms"], expected["terms"], strict=True):
            assert got == pytest.approx(wanted, rel=1e-5)
        assert result["weights"] == results[0]["weights"]
        for name, weight in expected["weights"].items():
            np.testing.assert_allclose(result["weights"][name], weight, rtol=1e-5, atol=1e-6)


def test_two_train_as_one_whatever_they_began_with(of_two: dict[str, list[Result]]) -> None:
    paddle.seed(0)  # as in the first process, whose seed is that of both
    expected = trained(distilled(), batches())
    assert_is_one(of_two["with_other_weights"], expected)
    assert [r["seed"] for r in of_two["with_other_weights"]] == [expected["seed"]] * 2
    assert_is_one(of_two["accumulated"], expected)


def test_four_train_as_one(of_four: dict[str, list[Result]]) -> None:
    assert len(of_four["with_other_weights"]) == 4
    assert_is_one(of_four["with_other_weights"], trained(distilled(), batches()))


def test_running_statistics_are_averaged(of_two: dict[str, list[Result]]) -> None:
    one, other = of_two["with_statistics"]
    assert one == other
    program = distilled(normalised()).program
    buffers = [n for n in program.weights if program.variables[n].role == "buffer"]
    assert len(buffers) == 2
    (mean,) = (n for n in buffers if np.abs(one["weights"][n]).max() < 0.9)
    alone = trained(distilled(normalised()), batches())
    np.testing.assert_allclose(one["weights"][mean], alone["weights"][mean], rtol=0.1, atol=0.02)


def test_all_resume_from_what_the_first_wrote(of_two: dict[str, list[Result]]) -> None:
    whole = of_two["with_statistics"][0]
    for result in of_two["resumed"]:
        assert result["began"] == 3
        assert result["losses"] == whole["losses"]
        assert result["weights"] == whole["weights"]
    # The others may look before the first has removed the oldest.
    manifests = [n for n in of_two["resumed"][0]["files"] if n.endswith(".json")]
    assert manifests == [f"step_0000000{k}.checkpoint.json" for k in (3, 4, 5)]


@pytest.mark.parametrize("count", [2, 4])
def test_those_with_more_batches_end_with_the_first_that_has_none(
    count: int, of_two: dict[str, list[Result]], of_four: dict[str, list[Result]]
) -> None:
    results = {2: of_two, 4: of_four}[count]["uneven"]
    assert len(results) == count
    for rank, result in enumerate(results):
        assert result["error"] == (
            "RankError: Expected all processes to take step 3, got no more batches in 1, or an "
            f"error, or a loop that was left; this is {rank}.\nSee what it said last. Give each as "
            "many batches (paddle.io.DistributedBatchSampler evens them out), and leave loops by a "
            "number that is the same in all. That update was not made in any."
        )
        assert result["steps"] == 3
        assert result["weights"] == results[0]["weights"]


def test_a_loss_that_is_not_finite_ends_all_in_the_same_step(
    of_two: dict[str, list[Result]],
) -> None:
    good, bad = of_two["not_finite"]
    assert "NonFiniteError: Expected a finite loss in all processes" in good["error"]
    assert "at step 3" in good["error"]
    assert "at step 3: the term 'kd_0' is nan" in bad["error"]
    assert "The first variable that is infinite is x [" in bad["error"]
    assert good["steps"] == bad["steps"] == 3
    assert good["weights"] == bad["weights"]


def test_a_feed_that_one_refuses_ends_all(of_two: dict[str, list[Result]]) -> None:
    good, bad = of_two["refused"]
    assert bad["error"].startswith("ShapeMismatchError: Expected the feed x")
    assert good["error"].startswith("RankError: Expected all processes to take step 3, got no more")
    assert good["steps"] == bad["steps"] == 3


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("teacher", "the fingerprint of weights that do not learn, of 'teacher_' is "),
        ("student", "the weight dense_0.b, and 2 more, is [5] float32 in 0, [6] float32 in 1."),
        ("accumulate", "minimize's accumulate is 1 in 0, 2 in 1."),
        (
            "optimizer",
            "the optimizer, Momentum, is made with momentum=0.1 in 0, with momentum=0.2 in 1.",
        ),
        ("seed", "minimize's seed is 0 in 0, 1 in 1."),
    ],
)
def test_what_is_not_made_alike_is_refused(
    what: str, said: str, of_two: dict[str, list[Result]]
) -> None:
    for result in of_two["another"]:
        assert result[what].startswith(
            f"Expected the same training in all processes, got others: {said}"
        )


def test_one_that_is_killed_ends_the_other(tmp_path: Path) -> None:
    (result,) = launched(tmp_path, 2, "killed", code=1)["killed"]
    assert result["error"].startswith(
        "RankError: Expected all processes to take step 3, got one that is gone."
    )
    assert result["steps"] == 3


def test_a_process_that_is_alone_is_refused() -> None:
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        trained(distilled(), [], data_parallel=True)
    assert str(caught.value) == (
        "Expected data_parallel in a process that paddle.distributed knows, got one that is "
        "alone.\nStart it with python -m paddle.distributed.launch, and call "
        "paddle.distributed.init_parallel_env() first."
    )
