"""Losses between logits."""

from __future__ import annotations

import numpy as np

import purdist
from tests.golden import references as ref
from tests.losses.row import (
    KNOWN,
    LABEL,
    LABELLED,
    LOGITS,
    ONE,
    RANK,
    SAME,
    SCORES,
    SINGLE,
    TWO_LOGITS,
    Case,
    Equation,
    Refusal,
    Row,
)
from tests.nets import Array


def probabilities(logits: Array) -> Array:
    raised: Array = np.exp(logits - logits.max(-1, keepdims=True))
    raised /= raised.sum(-1, keepdims=True)
    return raised


def entropy(logits: Array) -> float:
    p = probabilities(logits / 2.0)
    return float(-(p * np.log(p)).sum(-1).mean())


def uncorrelated(logits: Array) -> float:
    """What DIST's 1e-8 leaves of a correlation of 1, within samples and within classes."""
    p = probabilities(logits)
    left = 0.0
    for axis in (1, 0):
        squares = np.square(p - p.mean(axis, keepdims=True)).sum(axis)
        left += float((1e-8 / (squares + 1e-8)).mean())
    return left


ROWS = [
    Row(
        cases=(
            Case(purdist.CrossEntropyLoss("s", LABEL), ONE, classes=5, at_rest=None),
            Case(
                purdist.CrossEntropyLoss("s", LABEL, label_smoothing=0.1),
                ONE,
                classes=5,
                at_rest=None,
            ),
        ),
        defaults={"label_smoothing": 0.0},
        over_classes=True,
        equations={
            "cross entropy": Equation(
                purdist.CrossEntropyLoss("s", LABEL),
                {"s": (6, 5), "label": (6,)},
                lambda a, _: ref.cross_entropy(a["s"], a["label"], 0.0),
            ),
            "cross entropy, smoothed": Equation(
                purdist.CrossEntropyLoss("s", LABEL, label_smoothing=0.3),
                {"s": (6, 5), "label": (6,)},
                lambda a, _: ref.cross_entropy(a["s"], a["label"], 0.3),
            ),
        },
        refused=(
            Refusal(
                purdist.CrossEntropyLoss("s", "y"),
                {"s": "-1 1", "y": "-1 int64"},
                "Expected at least 2 classes on the last axis, got s [-1, 1] float32: a softmax over one "
                "is 1, whatever the logit.\nTeach single logits by a sigmoid: CustomLoss(lambda s, y: "
                "F.binary_cross_entropy_with_logits(s, y), dict(s='s', y=NewInput('y', (-1, 1), "
                "'float32'))).",
            ),
            Refusal(
                purdist.CrossEntropyLoss("s", "y"),
                {"s": "8 5", "y": "8 1 int64"},
                f"Expected label to have rank 1, [N], got rank 2: y [8, 1] int64.{RANK}",
            ),
        ),
        refused_arguments=(
            (
                lambda: purdist.CrossEntropyLoss("s", "y", label_smoothing=1.5),
                "Expected label_smoothing to be a finite number of at least 0 and below 1, got 1.5.\n"
                "Write label_smoothing=0.0 or leave it out.",
            ),
        ),
    ),
    Row(
        cases=(Case(purdist.DISTLoss("t", "s"), LOGITS, at_rest=uncorrelated),),
        defaults={"beta": 1.0, "gamma": 1.0, "temperature": 1.0},
        over_classes=True,
        golden={"dist": lambda params: purdist.DISTLoss("teacher_0", "student_0", **params)},
        equations={
            "dist": Equation(
                purdist.DISTLoss("t", "s", beta=0.3, gamma=2.5, temperature=0.7),
                SCORES,
                lambda a, _: ref.dist(a["t"], a["s"], 0.3, 2.5, 0.7),
            )
        },
        refused=(
            Refusal(
                purdist.DISTLoss("t", "s"),
                {"t": "8 5", "s": "8 5 1"},
                f"Expected student_var to have rank 2, [N, C], got rank 3: s [8, 5, 1] float32.{RANK}",
            ),
        ),
        refused_arguments=(
            (
                lambda: purdist.DISTLoss("t", "s", gamma=float("nan")),
                "Expected gamma to be a finite number of at least 0, got nan.\n"
                "Write gamma=1.0 or leave it out.",
            ),
        ),
    ),
    Row(
        cases=(Case(purdist.DKDLoss("t", "s", LABEL), LOGITS, classes=5),),
        defaults={"alpha": 1.0, "beta": 8.0, "temperature": 4.0},
        over_classes=True,
        golden={"dkd": lambda params: purdist.DKDLoss("teacher_0", "student_0", LABEL, **params)},
        equations={
            "dkd": Equation(
                purdist.DKDLoss("t", "s", LABEL, alpha=0.3, beta=2.5, temperature=1.7),
                LABELLED,
                lambda a, _: ref.dkd(a["t"], a["s"], a["label"], 0.3, 2.5, 1.7),
            )
        },
        refused=(
            Refusal(
                purdist.DKDLoss("t", "s", "y"),
                {"t": "-1 2", "s": "-1 2", "y": "-1 int64"},
                "Expected at least 3 classes, or beside the label there is one, got 2: s [-1, 2] float32."
                "\nTake KDLoss, which is defined for two.",
            ),
            Refusal(
                purdist.DKDLoss("t", "s", "y"),
                {"t": "-1 5", "s": "-1 5", "y": "-1 float32"},
                "Expected label to be int64 or int32, got y [-1] float32.\n"
                "Give the numbers of the classes, not their probabilities.",
            ),
            Refusal(
                purdist.DKDLoss("t", "s", "y"),
                {"t": "8 5", "s": "8 5", "y": "4 int64"},
                "Expected a label for each row of s [8, 5] float32, got y [4] int64.\n"
                "Leave the size of the batch unknown (-1), or give both the same.",
            ),
            Refusal(
                purdist.DKDLoss("t", "s", "y"),
                {"t": "8 5", "s": "8 2 5", "y": "8 int64"},
                f"Expected student_var to have rank 2, [N, C], got rank 3: s [8, 2, 5] float32.{RANK}",
            ),
            Refusal(
                purdist.DKDLoss("t", "s", "y"),
                {"t": "8 5", "s": "8 -1", "y": "8 int64"},
                "Expected student_var to have a known size on axis 1 (C), which the label is one of, got "
                f"s [8, -1] float32.{KNOWN}",
            ),
        ),
        refused_arguments=(
            (
                lambda: purdist.DKDLoss("t", "s", "y", alpha=-1),
                "Expected alpha to be a finite number of at least 0, got -1.\n"
                "Write alpha=1.0 or leave it out.",
            ),
        ),
    ),
    Row(
        cases=(
            Case(purdist.KDLoss("t", "s"), LOGITS),
            Case(purdist.KDLoss("t", "s", temperature=3.0, standardize=True), LOGITS),
        ),
        defaults={"temperature": 4.0, "standardize": False},
        over_classes=True,
        golden={
            "kd": lambda params: purdist.KDLoss("teacher_0", "student_0", **params),
            "logit_standardization": lambda params: purdist.KDLoss(
                "teacher_0", "student_0", standardize=True, **params
            ),
        },
        equations={
            "kd, cold": Equation(
                purdist.KDLoss("t", "s", temperature=0.3),
                SCORES,
                lambda a, _: ref.kd(a["t"], a["s"], 0.3),
            ),
            "kd, a row for each place": Equation(
                purdist.KDLoss("t", "s", temperature=3.0),
                {"t": (3, 2, 2, 5), "s": (3, 2, 2, 5)},
                lambda a, _: ref.kd(a["t"], a["s"], 3.0),
            ),
            "kd, standardised": Equation(
                purdist.KDLoss("t", "s", temperature=3.0, standardize=True),
                SCORES,
                lambda a, _: ref.kd(ref.standardised(a["t"]), ref.standardised(a["s"]), 3.0),
            ),
        },
        refused=(
            Refusal(
                purdist.KDLoss("t", "s"),
                {"t": "-1 10", "s": "-1 11"},
                "Expected teacher_var and student_var to have the same shape, got t [-1, 10] float32 and "
                f"s [-1, 11] float32: axis 1 is 10 against 11.{SAME}",
            ),
            Refusal(
                purdist.KDLoss("t", "s", standardize=True),
                {"t": "-1 1", "s": "-1 1"},
                f"Expected at least 2 classes on the last axis, got t [-1, 1] float32{SINGLE}",
            ),
        ),
        refused_arguments=(
            (
                lambda: purdist.KDLoss("t", "s", temperature=0),
                "Expected temperature to be a finite number from 1e-06 to 1000, got 0.\n"
                "Write temperature=4.0 or leave it out.",
            ),
        ),
    ),
    Row(
        cases=(Case(purdist.SphericalKDLoss("t", "s", temperature=1.5), LOGITS),),
        defaults={"temperature": 4.0},
        over_classes=True,
        golden={
            "spherical_kd": lambda params: purdist.SphericalKDLoss(
                "teacher_0", "student_0", **params
            )
        },
        equations={
            "spherical": Equation(
                purdist.SphericalKDLoss("t", "s", temperature=0.7),
                SCORES,
                lambda a, _: ref.spherical(a["t"], a["s"], 0.7),
            )
        },
        refused=(
            Refusal(
                purdist.SphericalKDLoss("t", "s"),
                {"t": "8 2 1", "s": "8 2 1"},
                f"Expected at least 2 classes on the last axis, got t [8, 2, 1] float32{SINGLE}",
            ),
        ),
    ),
    Row(
        cases=(Case(purdist.MutualLoss("s1", "s2"), TWO_LOGITS),),
        over_classes=True,
        refused=(
            Refusal(
                purdist.MutualLoss("s1", "s2"),
                {"s1": "8 5", "s2": "8 5 float64"},
                "Expected variables of one dtype, got student_var1 s1 [8, 5] float32, student_var2 s2 "
                "[8, 5] float64.\nCast in one of the networks, or build both for one dtype.",
            ),
        ),
    ),
    Row(
        cases=(
            Case(purdist.SoftLabelLoss("t", "s", 2.0, 2.0), LOGITS, at_rest=entropy),
            Case(purdist.SoftLabelLoss("t", "s", 2.0, 3.0), LOGITS, at_rest=None),
        ),
        defaults={"teacher_temperature": 1.0, "student_temperature": 1.0},
        over_classes=True,
        golden={
            "soft_label": lambda params: purdist.SoftLabelLoss("teacher_0", "student_0", **params)
        },
        refused=(
            Refusal(
                purdist.SoftLabelLoss("t", "s"),
                {"t": "-1 5", "s": "-1 6"},
                f"Expected teacher_var and student_var to have the same shape, got t [-1, 5] float32 and s [-1, 6] float32: axis 1 is 5 against 6.{SAME}",
            ),
        ),
    ),
]
