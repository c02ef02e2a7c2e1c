"""The losses of the catalogue: what they refuse before anything is built, how they print."""

from __future__ import annotations

from collections.abc import Callable

import paddle
import pytest

import purdist
from purdist import (
    AttentionTransferLoss,
    ContrastiveLoss,
    CorrelationCongruenceLoss,
    CrossEntropyLoss,
    CustomLoss,
    DISTLoss,
    DKDLoss,
    DtypeMismatchError,
    HintLoss,
    InvalidArgumentError,
    KDLoss,
    L2Loss,
    LossSpec,
    MiniLMLoss,
    MutualLoss,
    NewInput,
    NSTLoss,
    PKTLoss,
    PurdistError,
    ReviewKDLoss,
    RKDAngleLoss,
    RKDDistanceLoss,
    ShapeMismatchError,
    SimilarityPreservingLoss,
    SphericalKDLoss,
    Variable,
    VIDLoss,
)
from tests import nets
from tests.properties.test_loss_laws import CASES

LABEL = NewInput("y")
QKV = ("tq", "tk", "tv", "sq", "sk", "sv")
KNOWN = "\nBuild the network for inputs of a known size; the batch may stay unknown."
RANK = "\nName a variable of that rank, or reshape this one in its network."
SAME = "\nName variables of the same shape, or adapt one to the other in a CustomLoss."
BATCH = "\nTeacher and student must see the same samples: look at what merge was given."
TOKENS = "\nName Q, K and V of one layer each, for the same tokens."
SINGLE = (
    ": a softmax over one is 1, whatever the logit.\nTeach single logits by a sigmoid: "
    "CustomLoss(lambda s, t: F.binary_cross_entropy_with_logits(s, F.sigmoid(t)), "
    "dict(s='s', t='t'))."
)

REFUSALS: list[tuple[LossSpec, dict[str, str], str]] = [
    (
        KDLoss("t", "s"),
        {"t": "-1 10", "s": "-1 11"},
        "Expected teacher_var and student_var to have the same shape, got t [-1, 10] float32 and "
        f"s [-1, 11] float32: axis 1 is 10 against 11.{SAME}",
    ),
    (
        KDLoss("t", "s", standardize=True),
        {"t": "-1 1", "s": "-1 1"},
        f"Expected at least 2 classes on the last axis, got t [-1, 1] float32{SINGLE}",
    ),
    (
        SphericalKDLoss("t", "s"),
        {"t": "8 2 1", "s": "8 2 1"},
        f"Expected at least 2 classes on the last axis, got t [8, 2, 1] float32{SINGLE}",
    ),
    (
        CrossEntropyLoss("s", "y"),
        {"s": "-1 1", "y": "-1 int64"},
        "Expected at least 2 classes on the last axis, got s [-1, 1] float32: a softmax over one "
        "is 1, whatever the logit.\nTeach single logits by a sigmoid: CustomLoss(lambda s, y: "
        "F.binary_cross_entropy_with_logits(s, y), dict(s='s', y=NewInput('y', (-1, 1), "
        "'float32'))).",
    ),
    (
        DKDLoss("t", "s", "y"),
        {"t": "-1 2", "s": "-1 2", "y": "-1 int64"},
        "Expected at least 3 classes, or beside the label there is one, got 2: s [-1, 2] float32."
        "\nTake KDLoss, which is defined for two.",
    ),
    (
        DKDLoss("t", "s", "y"),
        {"t": "-1 5", "s": "-1 5", "y": "-1 float32"},
        "Expected label to be int64 or int32, got y [-1] float32.\n"
        "Give the numbers of the classes, not their probabilities.",
    ),
    (
        DKDLoss("t", "s", "y"),
        {"t": "8 5", "s": "8 5", "y": "4 int64"},
        "Expected a label for each row of s [8, 5] float32, got y [4] int64.\n"
        "Leave the size of the batch unknown (-1), or give both the same.",
    ),
    (
        DKDLoss("t", "s", "y"),
        {"t": "8 5", "s": "8 2 5", "y": "8 int64"},
        f"Expected student_var to have rank 2, [N, C], got rank 3: s [8, 2, 5] float32.{RANK}",
    ),
    (
        DKDLoss("t", "s", "y"),
        {"t": "8 5", "s": "8 -1", "y": "8 int64"},
        "Expected student_var to have a known size on axis 1 (C), which the label is one of, got "
        f"s [8, -1] float32.{KNOWN}",
    ),
    (
        CrossEntropyLoss("s", "y"),
        {"s": "8 5", "y": "8 1 int64"},
        f"Expected label to have rank 1, [N], got rank 2: y [8, 1] int64.{RANK}",
    ),
    (
        DISTLoss("t", "s"),
        {"t": "8 5", "s": "8 5 1"},
        f"Expected student_var to have rank 2, [N, C], got rank 3: s [8, 5, 1] float32.{RANK}",
    ),
    (
        MutualLoss("s1", "s2"),
        {"s1": "8 5", "s2": "8 5 float64"},
        "Expected variables of one dtype, got student_var1 s1 [8, 5] float32, student_var2 s2 "
        "[8, 5] float64.\nCast in one of the networks, or build both for one dtype.",
    ),
    (
        HintLoss("t", "s"),
        {"t": "8 4 3 3", "s": "8 5 3 3"},
        "Expected teacher_var and student_var to have the same shape, got t [8, 4, 3, 3] float32 "
        f"and s [8, 5, 3, 3] float32: axis 1 is 4 against 5.{SAME}",
    ),
    (
        HintLoss("t", "s", adaptor="conv"),
        {"t": "8 4 9 9", "s": "8 5 4 4"},
        "Expected student_var to be as large as teacher_var, larger, or half as large, got s "
        "[8, 5, 4, 4] float32 and t [8, 4, 9, 9] float32.\n"
        "Name layers that fit better, or resize one map in a CustomLoss.",
    ),
    (
        HintLoss("t", "s", adaptor="conv_bn_relu"),
        {"t": "8 4 9 9", "s": "8 -1 9 9"},
        "Expected student_var to have a known size on axis 1 (C), which the convolution is made "
        f"for, got s [8, -1, 9, 9] float32.{KNOWN}",
    ),
    (
        HintLoss("t", "s", adaptor="linear"),
        {"t": "8 5 4", "s": "8 6 4"},
        "Expected teacher_var and student_var to share axis 0, axis 1, got t [8, 5, 4] float32 "
        "and s [8, 6, 4] float32: axis 1 is 5 against 6.\n"
        "A linear layer changes the last axis alone.",
    ),
    (
        AttentionTransferLoss("t", "s"),
        {"t": "8 5 4 4", "s": "4 5 4 4"},
        "Expected teacher_var and student_var to share N, got t [8, 5, 4, 4] float32 and s "
        f"[4, 5, 4, 4] float32: axis 0 is 8 against 4.{BATCH}",
    ),
    (
        NSTLoss("t", "s"),
        {"t": "8 5 4 4", "s": "8 5 2 -1"},
        "Expected student_var to have a known size on axis 3 (W), which the larger map is averaged "
        f"down to, got s [8, 5, 2, -1] float32.{KNOWN}",
    ),
    (
        VIDLoss("t", "s"),
        {"t": "8 -1 4 4", "s": "8 5 4 4"},
        "Expected teacher_var to have a known size on axis 1 (C), which the regressor is made for, "
        f"got t [8, -1, 4, 4] float32.{KNOWN}",
    ),
    (
        ReviewKDLoss([("t", "s")]),
        {"t": "-1 5 -1 4", "s": "-1 5 4 4"},
        "Expected pairs[0][0] to have a known size on axis 2 (H), which pooling and fusion are "
        f"made for, got t [-1, 5, -1, 4] float32.{KNOWN}",
    ),
    (
        ReviewKDLoss([("t", "s")], fusion=False),
        {"t": "-1 5 4 4", "s": "-1 4 4 4"},
        "Expected pairs[0][0] and pairs[0][1] to have the same shape, got t [-1, 5, 4, 4] "
        f"float32 and s [-1, 4, 4, 4] float32: axis 1 is 5 against 4.{SAME}",
    ),
    (
        SimilarityPreservingLoss("t", "s"),
        {"t": "8", "s": "8 5"},
        f"Expected teacher_var to have rank at least 2, [N, ...], got rank 1: t [8] float32.{RANK}",
    ),
    (
        RKDDistanceLoss("t", "s"),
        {"t": "8 3", "s": "7 3"},
        "Expected teacher_var and student_var to share N, got t [8, 3] float32 and s [7, 3] "
        f"float32: axis 0 is 8 against 7.{BATCH}",
    ),
    (
        RKDAngleLoss("t", "s"),
        {"t": "8 3", "s": "8 3 int64"},
        "Expected student_var to be floating-point, got s [8, 3] int64.\n"
        "Name a variable that a network computes, such as its logits or a feature map.",
    ),
    (
        PKTLoss("t", "s"),
        {"t": "8 3", "s": "8 3 1 1"},
        f"Expected student_var to have rank 2, [N, D], got rank 4: s [8, 3, 1, 1] float32.{RANK}",
    ),
    (
        CorrelationCongruenceLoss("t", "s"),
        {"t": "8 3", "s": "8 4"},
        "Expected teacher_var and student_var to have the same shape, got t [8, 3] float32 and "
        f"s [8, 4] float32: axis 1 is 3 against 4.{SAME}",
    ),
    (
        ContrastiveLoss("t", "s"),
        {"t": "8 3", "s": "8 4 -1"},
        "Expected student_var to have a known size on axis 2 (of a feature), which the embedding "
        f"is made for, got s [8, 4, -1] float32.{KNOWN}",
    ),
    (
        MiniLMLoss(*QKV, heads=3),
        {**dict.fromkeys(QKV[:3], "-1 7 6"), **dict.fromkeys(QKV[3:], "-1 7 4")},
        "Expected student_query to split into 3 heads, got sq [-1, 7, 4] float32.\n"
        "Choose heads to divide 4.",
    ),
    (
        MiniLMLoss(*QKV, heads=2, relations=("qk",)),
        {"tq": "-1 7 6", "tk": "-1 7 6", "sq": "-1 7 4", "sk": "-1 7 6"},
        "Expected student_query and student_key to share D, got sq [-1, 7, 4] float32 and sk "
        f"[-1, 7, 6] float32: axis 2 is 4 against 6.{TOKENS}",
    ),
    (
        MiniLMLoss(*QKV, heads=2, relations=("vv",)),
        {"tv": "-1 7 6", "sv": "-1 8 4"},
        "Expected teacher_value and student_value to share N, L, got tv [-1, 7, 6] float32 and "
        f"sv [-1, 8, 4] float32: axis 1 is 7 against 8.{TOKENS}",
    ),
    (
        MiniLMLoss(*QKV, heads=2, relations=("vv",), mask="m"),
        {"tv": "-1 7 6", "sv": "-1 7 4", "m": "-1 8 int64"},
        "Expected teacher_value and mask to share N, L, got tv [-1, 7, 6] float32 and m [-1, 8] "
        "int64: axis 1 is 7 against 8.\nName the mask of these tokens.",
    ),
    (
        MiniLMLoss(*QKV, heads=2, relations=("vv",), mask="m"),
        {"tv": "-1 7 6", "sv": "-1 7 4", "m": "-1 7 complex64"},
        "Expected mask to be of one of float16, bfloat16, float32, float64, bool, int32, int64, "
        "got m [-1, 7] complex64.\nCast it to int64, 1 for each token and 0 for padding.",
    ),
]


def described(name: str, text: str) -> Variable:
    """``"8 5"``, with a dtype behind it if it is not float32."""
    *sizes, last = text.split()
    dtype = "float32"
    if last.lstrip("-").isdigit():
        sizes.append(last)
    else:
        dtype = last
    return Variable(name, tuple(map(int, sizes)), dtype, "activation")


@pytest.mark.parametrize(
    ("spec", "shapes", "told"), REFUSALS, ids=[f"{k} {r[0].kind}" for k, r in enumerate(REFUSALS)]
)
def test_what_a_loss_is_not_defined_for_is_refused(
    spec: LossSpec, shapes: dict[str, str], told: str
) -> None:
    names = {key: str(name) for key, name in spec.variables.items()}
    with pytest.raises(PurdistError) as caught:
        spec.check({key: described(name, shapes[name]) for key, name in names.items()})
    assert str(caught.value) == told
    of_dtype = ("floating-point", "one dtype", "to be int64", "to be of one of")
    kind = DtypeMismatchError if any(text in told for text in of_dtype) else ShapeMismatchError
    assert type(caught.value) is kind


def test_every_loss_with_two_sides_refuses_something_above() -> None:
    refusing = {type(spec) for spec, _, _ in REFUSALS}
    # Those of the first hour are refused in tests of their own.
    assert {*purdist.losses.CATALOGUE} - refusing == {
        L2Loss,
        purdist.FspLoss,
        purdist.SoftLabelLoss,
    }


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda: KDLoss("t", "s", temperature=0),
            "Expected temperature to be a finite number from 1e-06 to 1000, got 0.\n"
            "Write temperature=4.0 or leave it out.",
        ),
        (
            lambda: DKDLoss("t", "s", "y", alpha=-1),
            "Expected alpha to be a finite number of at least 0, got -1.\n"
            "Write alpha=1.0 or leave it out.",
        ),
        (
            lambda: DISTLoss("t", "s", gamma=float("nan")),
            "Expected gamma to be a finite number of at least 0, got nan.\n"
            "Write gamma=1.0 or leave it out.",
        ),
        (
            lambda: AttentionTransferLoss("t", "s", p=0.5),
            "Expected p to be a finite number of at least 1, got 0.5.\n"
            "Write p=2.0 or leave it out.",
        ),
        (
            lambda: HintLoss("t", "s", adaptor="1x1"),  # type: ignore[arg-type]  # is what is tested
            "Expected adaptor to be None, 'conv', 'conv_bn_relu' or 'linear', got '1x1'.\n"
            "Write a CustomLoss to adapt with layers of your own.",
        ),
        (
            lambda: ReviewKDLoss([]),
            "Expected pairs to hold (teacher's, student's) names, at least once, got ().\n"
            "Write pairs=[('teacher_layer1', 'layer1'), ('teacher_layer2', 'layer2')].",
        ),
        (
            lambda: ReviewKDLoss([("a", "b", "c")]),
            "Expected pairs to hold (teacher's, student's) names, at least once, got "
            "(('a', 'b', 'c'),).\n"
            "Write pairs=[('teacher_layer1', 'layer1'), ('teacher_layer2', 'layer2')].",
        ),
        (
            lambda: ContrastiveLoss("t", "s", dimension=0),
            "Expected dimension to be a whole number above 0, got 0.\n"
            "Write dimension=128 or leave it out.",
        ),
        (
            lambda: MiniLMLoss(*QKV, relations=("qz",)),
            "Expected relations to be pairs of the letters q, k and v, at least one, got "
            "('qz',).\nWrite relations=('qq', 'kk', 'vv') for MiniLMv2, ('qk', 'vv') for MiniLM.",
        ),
    ],
)
def test_arguments_outside_their_range_are_refused(make: Callable[[], LossSpec], told: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        make()
    assert str(caught.value) == told


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
