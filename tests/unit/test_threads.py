"""Several threads build and train at once, and each gets what it gets alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import paddle
from paddle.static import InputSpec

import purdist
from tests import nets
from tests.profiles import SLOW

THREADS = 8
ROUNDS = 20 if SLOW else 1


class Layers:
    """A teacher and a student, always the same. To make them is Paddle's part, in one thread."""

    def __init__(self) -> None:
        paddle.disable_static()
        paddle.seed(1)
        self.teacher, self.student = (
            paddle.nn.Sequential(
                paddle.nn.Conv2D(1, width, 3),
                paddle.nn.BatchNorm2D(width),
                paddle.nn.Dropout(0.5),
                paddle.nn.Flatten(),
                paddle.nn.Linear(width * 4, 4),
            )
            for width in (6, 3)
        )


def adapted(teacher: paddle.Tensor, student: paddle.Tensor) -> paddle.Tensor:
    return (paddle.nn.Linear(4, 4)(student) - teacher).square().mean()


def walked(layers: Layers) -> dict[str, bytes]:
    """What comes of the whole road: the loss of each step, and the weights in the end."""
    teacher = purdist.from_layer(layers.teacher, {"y": InputSpec([None, 1, 4, 4])})
    student = purdist.from_layer(layers.student, {"x": InputSpec([None, 1, 4, 4])})
    merged = purdist.merge(teacher, student, {"y": "x"})
    specs = [
        purdist.KDLoss("teacher_output", "output", temperature=2.0),
        purdist.CustomLoss(adapted, {"teacher": "teacher_output", "student": "output"}),
    ]
    training = purdist.minimize(
        purdist.apply(merged, specs), lambda: paddle.optimizer.Adam(0.1), seed=3
    )
    batches = [{"x": nets.numbers(k, 5, 1, 4, 4)} for k in range(4)]
    found = {
        f"step {step.index}": repr((step.loss, dict(step.terms))).encode()
        for step in purdist.train(training, batches)
    }
    trained = purdist.student_of(training)
    found["logits"] = trained.run(batches[0], ["output"])["output"].tobytes()
    return found | {name: array.tobytes() for name, array in nets.weights(trained).items()}


def walk_at_once() -> None:
    """In rounds: each thread walks, and is held to what one alone got."""
    alone = walked(Layers())
    for _ in range(ROUNDS):
        layers = [Layers() for _ in range(THREADS)]
        barrier = Barrier(THREADS)

        def walk(own: Layers, barrier: Barrier = barrier) -> dict[str, bytes]:
            barrier.wait()
            return walked(own)

        with ThreadPoolExecutor(THREADS) as pool:
            for found in pool.map(walk, layers):
                assert {name for name in alone if found[name] != alone[name]} == set()
    print("equal")


def test_eight_threads_get_what_one_alone_gets() -> None:
    code = "from tests.unit.test_threads import walk_at_once; walk_at_once()"
    assert nets.in_a_process(code).splitlines()[-1] == "equal"


def test_a_step_runs_in_one_thread_after_another() -> None:
    """What oneDNN keeps for a thread by its number is not taken by the next of that number."""

    def training() -> purdist.Training:
        spec = purdist.CustomLoss(lambda value: value.square().mean(), {"value": "logits"})
        distillation = purdist.apply(nets.program(nets.images()), [spec])
        return purdist.minimize(distillation, lambda: paddle.optimizer.Momentum(0.1), seed=1)

    batches = [{"x": nets.numbers(k, 4, 1, 4, 4)} for k in range(8)]
    alone, moving = training(), training()
    expected = [step.loss for step in purdist.train(alone, batches)]
    losses: list[float] = []

    def stepping(batch: dict[str, nets.Array]) -> Iterator[purdist.Step]:
        yield from purdist.train(moving, [batch])

    for batch in batches:
        with ThreadPoolExecutor(1) as worker:
            losses += [step.loss for step in worker.submit(list, stepping(batch)).result()]
    assert losses == expected
    assert nets.moved(nets.weights(alone.program), nets.weights(moving.program)) == set()
