"""Losses between feature maps."""

from __future__ import annotations

import numpy as np

import purdist
from tests.golden import references as ref
from tests.losses.row import (
    BATCH,
    FLOWS,
    KNOWN,
    MAPS,
    OTHER_MAPS,
    SAME,
    SAME_MAPS,
    TWO_MAPS,
    Case,
    Equation,
    Refusal,
    Row,
    maps,
    of,
)

ROWS = [
    Row(
        cases=(
            Case(purdist.AttentionTransferLoss("t", "s"), MAPS),
            Case(purdist.AttentionTransferLoss("t", "s", p=1.0), OTHER_MAPS),
        ),
        defaults={"p": 2.0},
        golden={
            "at": lambda params: purdist.AttentionTransferLoss("teacher_0", "student_0", **params)
        },
        equations={
            "attention, p 1, smaller student": Equation(
                purdist.AttentionTransferLoss("t", "s", p=1.0),
                maps((4, 7, 6), (3, 4, 3)),
                lambda a, _: ref.attention(a["t"], a["s"], 1.0),
            ),
            "attention, p 3, smaller teacher": Equation(
                purdist.AttentionTransferLoss("t", "s", p=3.0),
                maps((4, 2, 3), (3, 4, 5)),
                lambda a, _: ref.attention(a["t"], a["s"], 3.0),
            ),
        },
        refused=(
            Refusal(
                purdist.AttentionTransferLoss("t", "s"),
                {"t": "8 5 4 4", "s": "4 5 4 4"},
                "Expected teacher_var and student_var to share N, got t [8, 5, 4, 4] float32 and s "
                f"[4, 5, 4, 4] float32: axis 0 is 8 against 4.{BATCH}",
            ),
        ),
        refused_arguments=(
            (
                lambda: purdist.AttentionTransferLoss("t", "s", p=0.5),
                "Expected p to be a finite number of at least 1, got 0.5.\n"
                "Write p=2.0 or leave it out.",
            ),
        ),
    ),
    Row(
        cases=(Case(purdist.FspLoss("t1", "t2", "s1", "s2"), FLOWS),),
        golden={
            "fsp": lambda _: purdist.FspLoss("teacher_0", "teacher_1", "student_0", "student_1")
        },
        refused=(
            Refusal(
                purdist.FspLoss("t1", "t2", "s1", "s2"),
                {"t1": "8 2 3 4", "t2": "8 5 3 3", "s1": "8 2 3 4", "s2": "8 5 3 3"},
                "Expected teacher_var1 and teacher_var2 to share N, H, W, got t1 [8, 2, 3, 4] float32 and t2 [8, 5, 3, 3] float32: axis 3 is 4 against 3.\nName two layers between which the size of the map stays the same.",
            ),
        ),
    ),
    Row(
        cases=(Case(purdist.NSTLoss("t", "s"), MAPS),),
        golden={"nst": lambda _: purdist.NSTLoss("teacher_0", "student_0")},
        equations={
            "nst, each smaller once": Equation(
                purdist.NSTLoss("t", "s"),
                maps((4, 2, 5), (3, 4, 3)),
                lambda a, _: ref.nst(a["t"], a["s"]),
            )
        },
        refused=(
            Refusal(
                purdist.NSTLoss("t", "s"),
                {"t": "8 5 4 4", "s": "8 5 2 -1"},
                "Expected student_var to have a known size on axis 3 (W), which the larger map is averaged "
                f"down to, got s [8, 5, 2, -1] float32.{KNOWN}",
            ),
        ),
    ),
    Row(
        cases=(
            Case(purdist.ReviewKDLoss([("t1", "s1"), ("t2", "s2")]), TWO_MAPS, at_rest=None),
            Case(purdist.ReviewKDLoss([("t", "s")], fusion=False), SAME_MAPS),
        ),
        defaults={"fusion": True},
        golden={
            "hierarchical_context": lambda _: purdist.ReviewKDLoss(
                [("teacher_0", "student_0")], fusion=False
            )
        },
        equations={
            "review, three maps": Equation(
                purdist.ReviewKDLoss([("t0", "s0"), ("t1", "s1"), ("t2", "s2")]),
                {
                    "t0": (3, 3, 8, 8),
                    "t1": (3, 4, 4, 4),
                    "t2": (3, 5, 1, 1),
                    "s0": (3, 2, 6, 6),
                    "s1": (3, 3, 3, 3),
                    "s2": (3, 4, 1, 1),
                },
                lambda a, w: ref.review([*of(a, "t").values()], [*of(a, "s").values()], w),
            ),
            "review without fusion": Equation(
                purdist.ReviewKDLoss([("t0", "s0"), ("t1", "s1")], fusion=False),
                {"t0": (3, 2, 5, 3), "t1": (3, 2, 3, 4), "s0": (3, 2, 5, 3), "s1": (3, 2, 3, 4)},
                lambda a, _: (
                    ref.hierarchical_context(a["t0"], a["s0"])
                    + ref.hierarchical_context(a["t1"], a["s1"])
                ),
            ),
        },
        refused=(
            Refusal(
                purdist.ReviewKDLoss([("t", "s")]),
                {"t": "-1 5 -1 4", "s": "-1 5 4 4"},
                "Expected pairs[0][0] to have a known size on axis 2 (H), which pooling and fusion are "
                f"made for, got t [-1, 5, -1, 4] float32.{KNOWN}",
            ),
            Refusal(
                purdist.ReviewKDLoss([("t", "s")], fusion=False),
                {"t": "-1 5 4 4", "s": "-1 4 4 4"},
                "Expected pairs[0][0] and pairs[0][1] to have the same shape, got t [-1, 5, 4, 4] "
                f"float32 and s [-1, 4, 4, 4] float32: axis 1 is 5 against 4.{SAME}",
            ),
        ),
        refused_arguments=(
            (
                lambda: purdist.ReviewKDLoss([]),
                "Expected pairs to hold (teacher's, student's) names, at least once, got ().\n"
                "Write pairs=[('teacher_layer1', 'layer1'), ('teacher_layer2', 'layer2')].",
            ),
            (
                lambda: purdist.ReviewKDLoss([("a", "b", "c")]),
                "Expected pairs to hold (teacher's, student's) names, at least once, got "
                "(('a', 'b', 'c'),).\n"
                "Write pairs=[('teacher_layer1', 'layer1'), ('teacher_layer2', 'layer2')].",
            ),
        ),
    ),
    Row(
        cases=(Case(purdist.VIDLoss("t", "s"), MAPS, least=float(np.log(1e-5)) / 2, at_rest=None),),
        equations={
            "vid": Equation(
                purdist.VIDLoss("t", "s"),
                maps((4, 4, 3), (3, 4, 3)),
                lambda a, w: ref.vid(a["t"], a["s"], w),
            ),
            "vid, smaller teacher": Equation(
                purdist.VIDLoss("t", "s"),
                maps((4, 2, 2), (3, 4, 5)),
                lambda a, w: ref.vid(a["t"], a["s"], w),
            ),
        },
        refused=(
            Refusal(
                purdist.VIDLoss("t", "s"),
                {"t": "8 -1 4 4", "s": "8 5 4 4"},
                "Expected teacher_var to have a known size on axis 1 (C), which the regressor is made for, "
                f"got t [8, -1, 4, 4] float32.{KNOWN}",
            ),
        ),
    ),
]
