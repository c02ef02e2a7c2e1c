"""Losses between samples."""

from __future__ import annotations

import purdist
from tests.golden import references as ref
from tests.losses.row import (
    BATCH,
    FEATURES,
    KNOWN,
    LOGITS,
    MAPS,
    RANK,
    SAME,
    Case,
    Equation,
    Refusal,
    Row,
)

ROWS = [
    Row(
        cases=(Case(purdist.ContrastiveLoss("t", "s", dimension=3), FEATURES, at_rest=None),),
        defaults={"dimension": 128, "temperature": 0.07},
        equations={
            "contrastive": Equation(
                purdist.ContrastiveLoss("t", "s", dimension=3, temperature=0.3),
                {"t": (4, 2, 3), "s": (4, 5)},
                lambda a, w: ref.contrastive(a["t"], a["s"], w, 0.3),
            )
        },
        refused=(
            Refusal(
                purdist.ContrastiveLoss("t", "s"),
                {"t": "8 3", "s": "8 4 -1"},
                "Expected student_var to have a known size on axis 2 (of a feature), which the embedding "
                f"is made for, got s [8, 4, -1] float32.{KNOWN}",
            ),
        ),
        refused_arguments=(
            (
                lambda: purdist.ContrastiveLoss("t", "s", dimension=0),
                "Expected dimension to be a whole number above 0, got 0.\n"
                "Write dimension=128 or leave it out.",
            ),
        ),
    ),
    Row(
        cases=(Case(purdist.CorrelationCongruenceLoss("t", "s"), LOGITS, ordered=True),),
        golden={"cc": lambda _: purdist.CorrelationCongruenceLoss("teacher_0", "student_0")},
        refused=(
            Refusal(
                purdist.CorrelationCongruenceLoss("t", "s"),
                {"t": "8 3", "s": "8 4"},
                "Expected teacher_var and student_var to have the same shape, got t [8, 3] float32 and "
                f"s [8, 4] float32: axis 1 is 3 against 4.{SAME}",
            ),
        ),
    ),
    Row(
        cases=(Case(purdist.PKTLoss("t", "s"), FEATURES),),
        golden={"pkt": lambda _: purdist.PKTLoss("teacher_0", "student_0")},
        equations={
            "pkt of short features": Equation(
                purdist.PKTLoss("t", "s"),
                {"t": (4, 5), "s": (4, 3)},
                lambda a, _: ref.pkt(a["t"], a["s"]),
                scale=1e-4,
            )
        },
        refused=(
            Refusal(
                purdist.PKTLoss("t", "s"),
                {"t": "8 3", "s": "8 3 1 1"},
                f"Expected student_var to have rank 2, [N, D], got rank 4: s [8, 3, 1, 1] float32.{RANK}",
            ),
        ),
    ),
    Row(
        cases=(Case(purdist.RKDAngleLoss("t", "s"), FEATURES),),
        golden={"rkd_angle": lambda _: purdist.RKDAngleLoss("teacher_0", "student_0")},
        refused=(
            Refusal(
                purdist.RKDAngleLoss("t", "s"),
                {"t": "8 3", "s": "8 3 int64"},
                "Expected student_var to be floating-point, got s [8, 3] int64.\n"
                "Name a variable that a network computes, such as its logits or a feature map.",
            ),
        ),
    ),
    Row(
        cases=(Case(purdist.RKDDistanceLoss("t", "s"), FEATURES),),
        golden={"rkd_distance": lambda _: purdist.RKDDistanceLoss("teacher_0", "student_0")},
        refused=(
            Refusal(
                purdist.RKDDistanceLoss("t", "s"),
                {"t": "8 3", "s": "7 3"},
                "Expected teacher_var and student_var to share N, got t [8, 3] float32 and s [7, 3] "
                f"float32: axis 0 is 8 against 7.{BATCH}",
            ),
        ),
    ),
    Row(
        cases=(Case(purdist.SimilarityPreservingLoss("t", "s"), MAPS),),
        golden={"sp": lambda _: purdist.SimilarityPreservingLoss("teacher_0", "student_0")},
        refused=(
            Refusal(
                purdist.SimilarityPreservingLoss("t", "s"),
                {"t": "8", "s": "8 5"},
                f"Expected teacher_var to have rank at least 2, [N, ...], got rank 1: t [8] float32.{RANK}",
            ),
        ),
    ),
]
