"""What holds of the way from two networks to a trained student."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purdist import (
    CrossEntropyLoss,
    CustomLoss,
    L2Loss,
    LossSpec,
    NewInput,
    Program,
    PurdistError,
    SoftLabelLoss,
    apply,
    export,
    from_static,
    merge,
    minimize,
    student_of,
    train,
)
from purdist.testing import Arrays, NetworkPair, unchanged
from tests.profiles import examples
from tests.properties.pairs import CLASSES, computed, differing, pairs


def adapted(teacher: paddle.Tensor, student: paddle.Tensor) -> paddle.Tensor:
    """Through a layer of its own, whose weights are drawn when it is built."""
    return (paddle.nn.Linear(CLASSES, CLASSES)(student) - teacher).abs().mean()


def momentum() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.Momentum(0.05)


def batches(pair: NetworkPair, count: int) -> list[Arrays]:
    return [
        {"image": pair.student.images(4, seed=k), "label": np.arange(k, k + 4) % CLASSES}
        for k in range(count)
    ]


def specs(pair: NetworkPair) -> list[LossSpec]:
    teacher, student = pair.outputs
    return [
        0.5 * SoftLabelLoss(teacher, student, 2.0, 2.0),
        L2Loss(teacher, student),
        CrossEntropyLoss(student, NewInput("label")),
        CustomLoss(adapted, {"teacher": teacher, "student": student}),
    ]


def weights(program: Program) -> Arrays:
    """What a program's inference says of its own weights: copies."""
    return program.run({}, program.weights)


@settings(max_examples=examples(8))
@given(pairs, st.booleans())
def test_every_step_leaves_what_it_is_handed_as_it_was(pair: NetworkPair, dynamic: bool) -> None:  # noqa: FBT001
    if dynamic:
        paddle.disable_static()
    try:
        walk(pair)
    finally:
        paddle.enable_static()


def walk(pair: NetworkPair) -> None:
    """The whole way, each step looked at."""
    built = pair.student.static(name="image", seed=2)
    teacher = pair.teacher.program(name="photo", seed=1)
    names = {"photo": "image"}
    with unchanged(built):
        student = from_static(built.main, scope=built.scope, names=built.names)
    with unchanged(built, teacher, student, names):
        merged = merge(teacher, student, names)
    feed = {"image": pair.student.images(2)}
    with unchanged(teacher, student, merged, feed):
        merged.run(feed, list(pair.outputs))
    losses = specs(pair)
    with unchanged(teacher, student, merged, losses):
        distillation = apply(merged, losses)
    with unchanged(teacher, student, merged, distillation):
        training = minimize(distillation, momentum)
    fed = batches(pair, 2)
    with unchanged(teacher, student, merged, distillation, fed):
        steps = list(train(training, fed))
    assert [step.index for step in steps] == [0, 1]
    with unchanged(teacher, student, merged, distillation, training):
        trained = student_of(training)
    with tempfile.TemporaryDirectory() as folder, unchanged(training, trained):
        export(training, Path(folder, "model"), [pair.student.outputs[-1]])
    with unchanged(built, teacher, student, merged, distillation, trained):
        list(train(training, fed))


@settings(max_examples=examples(6))
@given(pairs)
def test_a_step_that_refuses_leaves_what_it_is_handed_as_it_was(pair: NetworkPair) -> None:
    teacher, student = pair.programs()
    merged = merge(teacher, student, {"photo": "image"})
    training = minimize(apply(merged, specs(pair)), momentum)
    feed = batches(pair, 1)[0]
    list(train(training, [feed]))  # compiled: that puts names of the executor's into the scope

    with unchanged(teacher, student), pytest.raises(PurdistError):
        merge(teacher, student, {"photo": "imag"})
    with unchanged(merged), pytest.raises(PurdistError):
        apply(merged, [*specs(pair), L2Loss("no such", pair.outputs[1])])
    with unchanged(merged, feed), pytest.raises(PurdistError):
        merged.run(feed, [pair.outputs[1]])
    with unchanged(training, feed), pytest.raises(PurdistError):
        next(train(training, [{"image": feed["image"]}]))


@settings(max_examples=examples(10))
@given(pairs, st.data())
def test_pruning_changes_no_loss_and_no_weight(pair: NetworkPair, data: st.DataObject) -> None:
    merged = pair.merged()
    chosen = data.draw(st.lists(st.sampled_from(specs(pair)), min_size=1, unique=True))

    def trained(*, prune: bool) -> tuple[list[Arrays], Arrays]:
        training = minimize(apply(merged, chosen, prune=prune), momentum, seed=5)
        inputs = training.program.inputs
        fed = [{name: feed[name] for name in inputs} for feed in batches(pair, 3)]
        losses: list[Arrays] = [
            {name: np.array(value) for name, value in [("loss", step.loss), *step.terms.items()]}
            for step in train(training, fed)
        ]
        return losses, weights(student_of(training))

    pruned, whole = trained(prune=True), trained(prune=False)

    for with_pruning, without in zip(pruned[0], whole[0], strict=True):
        assert differing(with_pruning, without) == set()
    assert differing(pruned[1], whole[1]) == set()
    assert differing(pruned[1], weights(student_of(merged))) != set()  # it did train


@settings(max_examples=examples(10))
@given(pairs, st.booleans())
def test_the_student_taken_out_is_as_it_went_in(pair: NetworkPair, prune: bool) -> None:  # noqa: FBT001
    _, student = pair.programs()
    training = minimize(apply(pair.merged(), specs(pair), prune=prune), momentum, seed=5)

    bare = student_of(training)

    assert bare.variables == student.variables
    assert list(bare.variables) == list(student.variables)
    assert (bare.inputs, bare.parameters) == (student.inputs, student.parameters)
    assert differing(weights(bare), weights(student)) == set()
    feed, names = {"image": pair.student.images(3)}, computed(student)
    assert differing(bare.run(feed, names), student.run(feed, names)) == set()
