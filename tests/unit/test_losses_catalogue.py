"""The losses of the catalogue: what they refuse before anything is built, how they print."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import cast

import attrs
import paddle
import pytest

import purdist
from purdist import (
    ContrastiveLoss,
    CrossEntropyLoss,
    CustomLoss,
    DtypeMismatchError,
    HintLoss,
    InvalidArgumentError,
    KDLoss,
    LossSpec,
    NewInput,
    PurdistError,
    ReviewKDLoss,
    ShapeMismatchError,
    Variable,
    VIDLoss,
)
from tests import nets
from tests.losses import CASES, ROWS
from tests.losses.row import Refusal, Row

LABEL = NewInput("y")


def numbered(kinds: Sequence[str]) -> list[str]:
    return [f"{k} {kind}" for k, kind in enumerate(kinds)]


def described(name: str, text: str) -> Variable:
    """``"8 5"``, with a dtype behind it if it is not float32."""
    *sizes, last = text.split()
    dtype: purdist.Dtype = "float32"
    if last.lstrip("-").isdigit():
        sizes.append(last)
    else:
        dtype = cast("purdist.Dtype", last)
    return Variable(name, tuple(map(int, sizes)), dtype, "activation")


REFUSALS = [refusal for row in ROWS for refusal in row.refused]


@pytest.mark.parametrize("refusal", REFUSALS, ids=numbered([r.spec.kind for r in REFUSALS]))
def test_what_a_loss_is_not_defined_for_is_refused(refusal: Refusal) -> None:
    spec = refusal.spec
    with pytest.raises(PurdistError) as caught:
        spec.check(
            {
                key: described(str(name), refusal.variables[str(name)])
                for key, name in spec.variables.items()
            }
        )
    assert str(caught.value) == refusal.text
    of_dtype = ("floating-point", "one dtype", "to be int64", "to be of one of")
    is_of_dtype = any(text in refusal.text for text in of_dtype)
    assert type(caught.value) is (DtypeMismatchError if is_of_dtype else ShapeMismatchError)


def test_every_loss_refuses_something() -> None:
    for row in ROWS:
        assert {type(refusal.spec) for refusal in row.refused} == {row.loss}


def test_maps_of_a_size_that_neither_knows_are_taken() -> None:
    purdist.AttentionTransferLoss("t", "s").check(
        {
            "teacher_var": Variable("t", (-1, 4, -1, 5), "float32", "activation"),
            "student_var": Variable("s", (-1, 3, -1, 5), "float32", "activation"),
        }
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.loss.kind)
def test_the_hyper_parameters_are_those_of_the_source(row: Row) -> None:
    shared = {field.name for field in attrs.fields(purdist.LossSpec)}
    found = {
        field.name: field.default
        for field in attrs.fields(row.loss)
        if field.default is not attrs.NOTHING and field.name not in shared
    }
    assert found == row.defaults


ARGUMENTS = [(row.loss.kind, *refused) for row in ROWS for refused in row.refused_arguments]


@pytest.mark.parametrize(
    ("make", "text"),
    [refused for _, *refused in ARGUMENTS],
    ids=numbered([kind for kind, *_ in ARGUMENTS]),
)
def test_arguments_outside_their_range_are_refused(make: Callable[[], LossSpec], text: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        make()
    assert str(caught.value) == text


def test_rows_and_classes_are_each_dealt_with_in_one_place() -> None:
    for file in (nets.ROOT / "purdist" / "losses").glob("*/*.py"):
        text = file.read_text()
        if file.parent.name != "samples":  # whose means are over pairs of rows
            assert ".mean()" not in text, f"{file.name} has a mean that is not mean_of_rows"
        if file.parent.name == "logits":
            assert not re.search(r'values\["(?!label)', text), f"{file.name} without logits_of"


def test_nothing_is_built_of_what_is_refused() -> None:
    student = nets.program(nets.linear())
    teacher = nets.program(nets.linear(sizes=(6, 5, 3)))
    merged = purdist.merge(teacher, student, {"x": "x"})
    with nets.untouched(merged), pytest.raises(ShapeMismatchError) as caught:
        purdist.apply(merged, [KDLoss("teacher_logits", "logits")])
    assert caught.value.problem.startswith("kd_0: Expected teacher_var and student_var to have")


# --- values -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [case.spec for case in CASES if not isinstance(case.spec, CustomLoss)],  # holds a function
    ids=lambda spec: repr(spec)[:60],
)
def test_a_spec_prints_as_the_call_that_makes_it(spec: LossSpec) -> None:
    for other in (spec, 0.5 * spec, purdist.Schedule.warmup(5) * spec):
        names = {**vars(purdist), type(spec).__name__: type(spec)}
        again = eval(repr(other), names)
        assert again == other
        assert hash(again) == hash(other)
    assert 0.5 * spec != spec


def test_what_is_printed() -> None:
    assert repr(KDLoss("t", "s")) == "KDLoss('t', 's')"
    assert repr(0.9 * KDLoss("t", "s", temperature=2.0, name="soft")) == (
        "KDLoss('t', 's', temperature=2.0, weight=0.9, name='soft')"
    )
    assert repr(CrossEntropyLoss("s", LABEL)) == (
        "CrossEntropyLoss('s', NewInput(name='y', shape=(-1,), dtype='int64'))"
    )
    assert repr(ReviewKDLoss([["a", "b"]], fusion=False)) == (
        "ReviewKDLoss((('a', 'b'),), fusion=False)"
    )


# --- layers of a loss's own -------------------------------------------------------------


def features(channels: int, dtype: str) -> nets.Forward:
    """A convolution's map [N, C, 4, 4] of an image [N, 1, 4, 4]."""

    def forward() -> dict[str, paddle.Tensor]:
        image = paddle.static.data("image", [None, 1, 4, 4], dtype)
        kernel = paddle.create_parameter([channels, 1, 3, 3], dtype)
        return {"map": paddle.nn.functional.conv2d(image, kernel, padding=1)}

    return forward


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("spec", "parameters", "buffers"),
    [
        (HintLoss("teacher_map", "map", adaptor="conv"), {"conv2d_0.w_0", "conv2d_0.b_0"}, set()),
        (
            HintLoss("teacher_map", "map", adaptor="conv_bn_relu"),
            {"conv2d_0.w_0", "conv2d_0.b_0", "batch_norm2d_0.w_0", "batch_norm2d_0.b_0"},
            {"batch_norm2d_0.w_1", "batch_norm2d_0.w_2"},
        ),
        (
            VIDLoss("teacher_map", "map"),
            {"conv2d_0.w_0", "conv2d_1.w_0", "conv2d_2.w_0", "layer_0.w_0"},
            set(),
        ),
        (
            ContrastiveLoss("teacher_map", "map", dimension=2),
            {"linear_0.w_0", "linear_0.b_0", "linear_1.w_0", "linear_1.b_0"},
            set(),
        ),
    ],
    ids=["conv", "conv_bn_relu", "vid", "contrastive"],
)
def test_layers_of_a_loss_learn_beside_the_student_and_stay_behind(
    spec: LossSpec, parameters: set[str], buffers: set[str], dtype: str
) -> None:
    student = nets.program(features(2, dtype), seed=1)
    teacher = nets.program(features(3, dtype), seed=2)
    merged = purdist.merge(teacher, student, {"image": "image"})
    distillation = purdist.apply(merged, [spec])
    under = f"{spec.kind}_0/"
    added = [v for k, v in distillation.program.variables.items() if k.startswith(under)]
    found = {
        role: {v.name.removeprefix(under) for v in added if v.role == role}
        for role in ("parameter", "buffer")
    }
    assert found == {"parameter": parameters, "buffer": buffers}
    assert {v.dtype for v in added if v.role in found} == {dtype}

    training = purdist.minimize(distillation, lambda: paddle.optimizer.Adam(0.01))
    before = nets.weights(training.program)
    feed = {"image": nets.numbers(0, 8, 1, 4, 4, dtype=dtype)}
    losses = [step.loss for step in purdist.train(training, [feed] * 20)]

    assert losses[-1] < losses[0]
    moved = nets.moved(before, nets.weights(training.program))
    assert moved == set(student.weights) | {under + name for name in parameters | buffers}
    assert set(purdist.student_of(training).weights) == set(student.weights)


def test_the_dtype_that_layers_get_is_as_it_was_afterwards() -> None:
    network = nets.program(features(2, "float64"))
    assert paddle.get_default_dtype() == "float32"
    purdist.apply(network, [HintLoss("image", "map", adaptor="conv")])
    assert paddle.get_default_dtype() == "float32"
