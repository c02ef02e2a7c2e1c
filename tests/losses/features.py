"""Losses between features."""

from __future__ import annotations

import purdist
from tests.golden import references as ref
from tests.losses.row import (
    FEATURES,
    KNOWN,
    LOGITS,
    MAPS,
    SAME,
    Case,
    Equation,
    Reference,
    Refusal,
    Row,
    maps,
)


def hints(adaptor: str) -> Reference:
    return lambda a, w: ref.hint(a["t"], a["s"], w, adaptor)


ROWS = [
    Row(
        cases=(
            Case(purdist.HintLoss("t", "s"), LOGITS),
            Case(purdist.HintLoss("t", "s", adaptor="conv"), MAPS, at_rest=None),
            Case(purdist.HintLoss("t", "s", adaptor="conv_bn_relu"), MAPS, at_rest=None),
            Case(purdist.HintLoss("t", "s", adaptor="linear"), FEATURES, at_rest=None),
        ),
        defaults={"adaptor": None},
        golden={"hint": lambda _: purdist.HintLoss("teacher_0", "student_0")},
        equations={
            "hint by a linear layer": Equation(
                purdist.HintLoss("t", "s", adaptor="linear"),
                {"t": (3, 2, 5), "s": (3, 2, 4)},
                hints("linear"),
            ),
            "hint by 1x1": Equation(
                purdist.HintLoss("t", "s", adaptor="conv"),
                maps((4, 3, 2), (3, 3, 2)),
                hints("conv"),
            ),
            "hint by 1x1, normalised": Equation(
                purdist.HintLoss("t", "s", adaptor="conv_bn_relu"),
                maps((4, 3, 2), (3, 3, 2)),
                hints("conv_bn_relu"),
            ),
            "hint from double the size": Equation(
                purdist.HintLoss("t", "s", adaptor="conv"),
                maps((4, 3, 2), (3, 6, 4)),
                hints("conv"),
            ),
            "hint from half the size": Equation(
                purdist.HintLoss("t", "s", adaptor="conv_bn_relu"),
                maps((4, 6, 4), (3, 3, 2)),
                hints("conv_bn_relu"),
            ),
            "hint from any larger map": Equation(
                purdist.HintLoss("t", "s", adaptor="conv"),
                maps((4, 1, 4), (3, 5, 4)),
                hints("conv"),
            ),
        },
        refused=(
            Refusal(
                purdist.HintLoss("t", "s"),
                {"t": "8 4 3 3", "s": "8 5 3 3"},
                "Expected teacher_var and student_var to have the same shape, got t [8, 4, 3, 3] float32 "
                "and s [8, 5, 3, 3] float32: axis 1 is 4 against 5.\nName variables of the same shape, or "
                'write adaptor="conv", which adapts the student to the teacher.',
            ),
            Refusal(
                purdist.HintLoss("t", "s"),
                {"t": "-1 4", "s": "-1 5"},
                "Expected teacher_var and student_var to have the same shape, got t [-1, 4] float32 and "
                "s [-1, 5] float32: axis 1 is 4 against 5.\nName variables of the same shape, or write "
                'adaptor="linear", which adapts the student to the teacher.',
            ),
            Refusal(
                purdist.HintLoss("t", "s"),
                {"t": "-1 4 7", "s": "-1 5 7"},
                "Expected teacher_var and student_var to have the same shape, got t [-1, 4, 7] float32 "
                f"and s [-1, 5, 7] float32: axis 1 is 4 against 5.{SAME}",
            ),
            Refusal(
                purdist.HintLoss("t", "s", adaptor="conv"),
                {"t": "8 4 9 9", "s": "8 5 4 4"},
                "Expected student_var to be as large as teacher_var, larger, or half as large, got s "
                "[8, 5, 4, 4] float32 and t [8, 4, 9, 9] float32.\n"
                "Name layers that fit better, or resize one map in a CustomLoss.",
            ),
            Refusal(
                purdist.HintLoss("t", "s", adaptor="conv_bn_relu"),
                {"t": "8 4 9 9", "s": "8 -1 9 9"},
                "Expected student_var to have a known size on axis 1 (C), which the convolution is made "
                f"for, got s [8, -1, 9, 9] float32.{KNOWN}",
            ),
            Refusal(
                purdist.HintLoss("t", "s", adaptor="linear"),
                {"t": "8 5 4", "s": "8 6 4"},
                "Expected teacher_var and student_var to share axis 0, axis 1, got t [8, 5, 4] float32 "
                "and s [8, 6, 4] float32: axis 1 is 5 against 6.\n"
                "A linear layer changes the last axis alone.",
            ),
        ),
        refused_arguments=(
            (
                lambda: purdist.HintLoss("t", "s", adaptor="1x1"),  # type: ignore[arg-type]  # is what is tested
                "Expected adaptor to be 'conv' or 'conv_bn_relu' or 'linear', got '1x1'.\n"
                "HintLoss says of adaptor: What stands between, and is trained with the student; layers "
                "of your own do in a CustomLoss.",
            ),
        ),
    ),
    Row(
        cases=(Case(purdist.L2Loss("t", "s"), LOGITS),),
        golden={"l2": lambda _: purdist.L2Loss("teacher_0", "student_0")},
        refused=(
            Refusal(
                purdist.L2Loss("t", "s"),
                {"t": "-1 5", "s": "-1 5 1"},
                f"Expected teacher_var and student_var to have the same shape, got t [-1, 5] float32 and s [-1, 5, 1] float32: rank 2 against 3.{SAME}",
            ),
            Refusal(
                purdist.L2Loss("t", "s"),
                {"t": "-1 5", "s": "8 4"},
                "Expected teacher_var and student_var to have the same shape, got t [-1, 5] float32 and "
                "s [8, 4] float32: axis 1 is 5 against 4.\nName variables of the same shape, or adapt the "
                'student to the teacher in a HintLoss with adaptor="linear".',
            ),
        ),
    ),
]
