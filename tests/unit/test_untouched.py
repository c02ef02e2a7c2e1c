"""Nothing that is handed over is changed, and Paddle's process-wide state is as found."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import attrs
import numpy as np
import paddle
import pytest
from paddle.utils import unique_name

import purdist
from tests import handing, nets
from tests.nets import Array, Net


@attrs.frozen
class Experiment:
    """Everything a user holds on the way from two networks to a training."""

    teacher_net: Net
    student_net: Net
    teacher: purdist.Program
    student: purdist.Program
    merged: purdist.Program
    distillation: purdist.Distillation
    training: purdist.Training
    folder: Path

    def all(self) -> list[Net | purdist.Program]:
        programs = (self.distillation.program, self.training.program)
        held = (self.teacher_net, self.student_net, self.teacher, self.student, self.merged)
        return [*held, *programs]


def adapted(teacher: paddle.Tensor, student: paddle.Tensor) -> paddle.Tensor:
    student = paddle.nn.Linear(4, 4)(student)
    return (paddle.nn.functional.dropout(student, 0.5) - teacher).square().mean()


VARIABLES = {"teacher": "teacher_logits", "student": "logits"}
SPECS = [
    purdist.L2Loss("teacher_logits", "logits"),
    purdist.SoftLabelLoss("teacher_logits", "logits", weight=0.5),
    purdist.CustomLoss(adapted, VARIABLES),
]


def make_optimizer() -> paddle.optimizer.Optimizer:
    schedule = paddle.optimizer.lr.StepDecay(0.1, step_size=2)
    return paddle.optimizer.Adam(schedule, grad_clip=paddle.nn.ClipGradByGlobalNorm(1.0))


def feed() -> dict[str, Array]:
    return {"x": nets.numbers(0, 3, 1, 4, 4)}


def an_experiment(folder: Path) -> Experiment:
    teacher_net, student_net = Net.of(nets.images("y"), seed=1), Net.of(nets.images(), seed=2)
    teacher, student = teacher_net.program(), student_net.program()
    merged = purdist.merge(teacher, student, {"y": "x"})
    distillation = purdist.apply(merged, SPECS)
    training = purdist.minimize(distillation, make_optimizer)
    return Experiment(
        teacher_net, student_net, teacher, student, merged, distillation, training, folder
    )


@functools.cache
def the_experiment() -> Experiment:
    """One for all tests that must leave it as it is."""
    return an_experiment(Path())


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return attrs.evolve(the_experiment(), folder=tmp_path)


@pytest.fixture
def new_experiment(tmp_path: Path) -> Experiment:
    return an_experiment(tmp_path)


@contextmanager
def _dynamic() -> Iterator[None]:
    paddle.disable_static()
    try:
        paddle.nn.Linear(2, 2)  # names and random numbers of the user's own
        yield
    finally:
        paddle.enable_static()


@contextmanager
def _busy() -> Iterator[None]:
    """Static mode with something in the default programs and in the global scope."""
    layer = paddle.nn.Linear(3, 2)
    out = layer(paddle.static.data("mine", [None, 3]))
    paddle.static.Executor().run(paddle.static.default_startup_program())
    assert unique_name.generate(purdist.graphs.op_of(out).name())
    yield


MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "static": nullcontext,
    "busy": _busy,
    "dynamic": _dynamic,
    "old": paddle.pir_utils.OldIrGuard,
}


def _exported(experiment: Experiment) -> dict[str, bytes]:
    purdist.export(experiment.training, experiment.folder / "student", ["logits"])
    return {path.name: path.read_bytes() for path in sorted(experiment.folder.iterdir())}


CALLS: dict[str, Callable[[Experiment], object]] = {
    "from_static": lambda experiment: experiment.student_net.program(),
    "merge": lambda experiment: purdist.merge(experiment.teacher, experiment.student, {"y": "x"}),
    "apply": lambda experiment: purdist.apply(experiment.merged, SPECS).program,
    "apply unpruned": lambda experiment: (
        purdist.apply(experiment.merged, SPECS, prune=False).program
    ),
    "apply again": lambda experiment: purdist.apply(experiment.distillation, SPECS[1:]).program,
    "minimize": lambda experiment: (
        purdist.minimize(experiment.distillation, make_optimizer).program
    ),
    "student_of": lambda experiment: purdist.student_of(experiment.training),
    "run": lambda experiment: {
        name: array.tobytes()
        for name, array in experiment.training.program.run(
            feed(), ["logits", "teacher_logits", "loss"]
        ).items()
    },
    "evaluate": lambda experiment: purdist.evaluate(
        experiment.training,
        [{**feed(), "label": np.arange(3)}] * 2,
        {"loss": "loss", "acc": (paddle.metric.Accuracy(), ["logits", "label"])},
    ),
    "describe": lambda experiment: str(experiment.merged),
    "export": _exported,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("mode", MODES)
def test_a_call_changes_nothing_and_repeats_itself(
    mode: str, call: str, experiment: Experiment
) -> None:
    with MODES[mode](), nets.untouched(*experiment.all()):
        first, second = (CALLS[call](experiment) for _ in range(2))
    if isinstance(first, purdist.Program) and isinstance(second, purdist.Program):
        assert first is not second
        assert nets.held(first) == nets.held(second)
        assert first.variables == second.variables
    else:
        assert first
        assert first == second


@pytest.mark.parametrize("mode", MODES)
def test_train_changes_the_scope_of_its_training_alone(
    mode: str, new_experiment: Experiment
) -> None:
    before = nets.weights(new_experiment.training.program)
    others = new_experiment.all()[:-1]
    with MODES[mode](), nets.untouched(*others):
        steps = purdist.train(new_experiment.training, [feed()] * 3, fetch=["dropped"])
        state = nets.random_state()
        for _ in steps:
            assert nets.random_state() == state
    moved = nets.moved(before, nets.weights(new_experiment.training.program))
    trained = {n for n in before if not n.startswith("teacher_")}
    assert moved == trained


@pytest.mark.parametrize("mode", MODES)
def test_two_trainings_of_one_distillation_are_alike(mode: str, experiment: Experiment) -> None:
    with MODES[mode]():
        runs = []
        for _ in range(2):
            training = purdist.minimize(experiment.distillation, make_optimizer, seed=5)
            steps = list(purdist.train(training, [feed()] * 3))
            runs.append((steps, nets.held(training.program)))
    (first, one), (second, other) = runs
    assert first == second
    assert one == other


@pytest.mark.parametrize("name", handing.CALLS)
@pytest.mark.parametrize("mode", ["busy", "dynamic", "old"])
def test_every_public_function_leaves_the_process_as_it_was(
    mode: str, name: str, tmp_path: Path
) -> None:
    with MODES[mode]():
        handing.called(name, tmp_path / "files", nets.untouched)


def _breaks(teacher: paddle.Tensor, student: paddle.Tensor) -> paddle.Tensor:
    paddle.nn.Linear(4, 4)(student)
    raise ZeroDivisionError


def _unlike() -> paddle.optimizer.Optimizer:
    paddle.seed(99)
    raise ZeroDivisionError


FAILURES: dict[str, Callable[[Experiment], object]] = {
    "from_static": lambda experiment: purdist.from_static(
        experiment.student_net.main, scope=paddle.static.Scope()
    ),
    "merge": lambda experiment: purdist.merge(experiment.teacher, experiment.merged, {"y": "x"}),
    "apply": lambda experiment: purdist.apply(
        experiment.merged, [SPECS[0], purdist.CustomLoss(_breaks, VARIABLES)]
    ),
    "minimize": lambda experiment: purdist.minimize(experiment.distillation, _unlike),
    "run": lambda experiment: experiment.merged.run({}, ["logits"]),
    "train": lambda experiment: list(purdist.train(experiment.training, [{}])),
    "export": lambda experiment: purdist.export(
        experiment.training, experiment.folder / "student", []
    ),
}


@pytest.mark.parametrize("call", FAILURES)
@pytest.mark.parametrize("mode", MODES)
def test_a_call_that_fails_changes_nothing(mode: str, call: str, experiment: Experiment) -> None:
    weights = nets.weights(experiment.training.program)
    # A step that is never taken is compiled, which declares names in the training's scope.
    with (
        MODES[mode](),
        nets.untouched(*experiment.all()[:-1]),
        pytest.raises((purdist.PurdistError, ZeroDivisionError)),
    ):
        FAILURES[call](experiment)
    assert nets.moved(weights, nets.weights(experiment.training.program)) == set()
    assert list(experiment.folder.iterdir()) == []


def test_what_the_user_does_later_does_not_reach_a_program(new_experiment: Experiment) -> None:
    before = new_experiment.student.run(feed(), ["logits"])
    with paddle.static.program_guard(
        new_experiment.student_net.main, new_experiment.student_net.startup
    ):
        paddle.optimizer.SGD(1.0).minimize(new_experiment.student_net.names["logits"].mean())
    run = functools.partial(paddle.static.Executor().run, scope=new_experiment.student_net.scope)
    run(new_experiment.student_net.startup)
    run(new_experiment.student_net.main, feed=feed())
    assert nets.moved(before, new_experiment.student.run(feed(), ["logits"])) == set()


def test_weights_that_are_shared_are_the_users_own() -> None:
    net = Net.of(nets.linear())
    shared = purdist.from_static(net.main, scope=net.scope, names=net.names, share=True)
    copied = net.program()
    batch = {"x": nets.numbers(0, 2, 6)}
    net.scope.var("dense_1.b").get_tensor().set(nets.numbers(1, 4), paddle.CPUPlace())
    of_shared, of_copied = shared.run(batch, ["logits"]), copied.run(batch, ["logits"])
    assert nets.moved(of_shared, of_copied) == {"logits"}
    assert nets.moved(of_shared, net.program().run(batch, ["logits"])) == set()
    # What can change is copied all the same as soon as something is made of it.
    training = purdist.minimize(
        purdist.apply(shared, [purdist.CustomLoss(_mean, {"logits": "logits"})]),
        lambda: paddle.optimizer.SGD(0.1),
    )
    with nets.untouched(net, shared):
        list(purdist.train(training, [batch]))


def _mean(logits: paddle.Tensor) -> paddle.Tensor:
    return logits.mean()
