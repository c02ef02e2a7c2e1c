"""Which spec each entry of ``losses.json`` is of. A new loss is a row in `SPECS`.

An entry's arrays are the variables ``teacher_0``, ``teacher_1``, ... and ``student_0``,
``student_1``, ..., its labels the feed `LABEL`, its ``params`` what the row gets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import purdist

LABEL = purdist.NewInput("label")

TEACHER, STUDENT = "teacher_0", "student_0"

SPECS: Mapping[str, Callable[[Mapping[str, Any]], purdist.LossSpec]] = {
    "at": lambda params: purdist.AttentionTransferLoss(TEACHER, STUDENT, **params),
    "cc": lambda _: purdist.CorrelationCongruenceLoss(TEACHER, STUDENT),
    "dist": lambda params: purdist.DISTLoss(TEACHER, STUDENT, **params),
    "dkd": lambda params: purdist.DKDLoss(TEACHER, STUDENT, LABEL, **params),
    "fsp": lambda _: purdist.FspLoss("teacher_0", "teacher_1", "student_0", "student_1"),
    "hierarchical_context": lambda _: purdist.ReviewKDLoss([(TEACHER, STUDENT)], fusion=False),
    "hint": lambda _: purdist.HintLoss(TEACHER, STUDENT),
    "kd": lambda params: purdist.KDLoss(TEACHER, STUDENT, **params),
    "l2": lambda _: purdist.L2Loss(TEACHER, STUDENT),
    "logit_standardization": lambda params: purdist.KDLoss(
        TEACHER, STUDENT, standardize=True, **params
    ),
    "nst": lambda _: purdist.NSTLoss(TEACHER, STUDENT),
    "pkt": lambda _: purdist.PKTLoss(TEACHER, STUDENT),
    "rkd_angle": lambda _: purdist.RKDAngleLoss(TEACHER, STUDENT),
    "rkd_distance": lambda _: purdist.RKDDistanceLoss(TEACHER, STUDENT),
    "soft_label": lambda params: purdist.SoftLabelLoss(TEACHER, STUDENT, **params),
    "sp": lambda _: purdist.SimilarityPreservingLoss(TEACHER, STUDENT),
    "spherical_kd": lambda params: purdist.SphericalKDLoss(TEACHER, STUDENT, **params),
}
