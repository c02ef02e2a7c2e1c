"""`KDLoss`: the student's softened answers become the teacher's. `SphericalKDLoss` is its kin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.losses.arguments import tempered
from purdist.losses.checks import check_pair_of_logits
from purdist.losses.classes import (
    centred,
    deviation,
    kl_divergence,
    log_softmax,
    logits_of,
    masked,
    possible,
)
from purdist.losses.maths import number
from purdist.losses.rows import mean_of_rows
from purdist.losses.spec import PairLoss
from purdist.variables import Variable

_EPSILON = 1e-7
"""The deviation of logits below which they count as constant."""


@attrs.frozen
class KDLoss(PairLoss):
    r"""Knowledge distillation: the student's softened answers become the teacher's.

    .. math:: \frac{T^2}{N} \sum_n KL(softmax(t_n / T) \,\|\, softmax(s_n / T))

    With ``standardize`` each row of logits is first made to have mean 0 and deviation 1,
    :math:`(z - \bar z) / (std(z) + 10^{-7})`, std with ddof 1: only their shape is taught.

    Shapes: both the same, at least two classes on the last axis; rows are all the other axes.
    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network",
    2015, eq. 1 and the factor :math:`T^2` of section 2; RepDistiller
    ``distiller_zoo/KD.py``. Standardised: Sun et al., "Logit Standardization in Knowledge
    Distillation", CVPR 2024, algorithms 1 and 2; logit-standardization-KD
    ``mdistiller/distillers/KD.py``.

    Attributes:
        teacher_var: The teacher's logits.
        student_var: The student's logits.
        temperature: :math:`T`, from 1e-6 to 1000.
        standardize: Standardise the logits of both.

    Raises:
        InvalidArgumentError: The temperature is outside its range.
        ShapeMismatchError: The shapes differ, or there is one class (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "kd"

    temperature: float = attrs.field(default=4.0, kw_only=True, validator=tempered)
    standardize: bool = attrs.field(default=False, kw_only=True)

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_pair_of_logits(variables)

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        teacher, student = logits_of(values, "teacher_var", "student_var")
        if self.standardize:
            teacher, student = _standardised(teacher), _standardised(student)
        return _softened_kl(teacher, student, self.temperature)


@attrs.frozen
class SphericalKDLoss(PairLoss):
    r"""Knowledge distillation of the student's answers, rescaled to the teacher's spread.

    .. math:: \frac{T^2}{N} \sum_n KL(softmax(t_n / T) \,\|\,
        softmax(s_n \, std(t_n) / std(s_n) / T))

    The student may be as confident as it likes: gradients flow through its deviation too.
    A row that deviates by less than 1e-7 is rescaled as if by that, where the reference
    divides by zero.

    Shapes: both the same, at least two classes on the last axis; rows are all the other axes.
    Source: Guo et al., "Reducing the Teacher-Student Gap via Spherical Knowledge
    Distillation", 2020; Spherical-Knowledge-Distillation ``skd_main.py``, which
    rescales twice (to the same effect) and divides by N twice.

    Attributes:
        teacher_var: The teacher's logits.
        student_var: The student's logits.
        temperature: :math:`T`, from 1e-6 to 1000.

    Raises:
        InvalidArgumentError: The temperature is outside its range.
        ShapeMismatchError: The shapes differ, or there is one class (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "spherical_kd"

    temperature: float = attrs.field(default=4.0, kw_only=True, validator=tempered)

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_pair_of_logits(variables)

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        teacher, student = logits_of(values, "teacher_var", "student_var")
        # A softmax does not see a shift, and centred rows stay small where they are rescaled.
        counted = possible(student)
        spread = deviation(teacher, possible(teacher))
        rescaled = centred(student, counted) / deviation(student, counted).clip(min=_EPSILON)
        return _softened_kl(teacher, masked(rescaled * spread, counted), self.temperature)


def _standardised(logits: paddle.Tensor) -> paddle.Tensor:
    counted = possible(logits)
    standardised = centred(logits, counted) / (deviation(logits, counted) + _EPSILON)
    return masked(standardised, counted)


def _softened_kl(
    teacher: paddle.Tensor, student: paddle.Tensor, temperature: float
) -> paddle.Tensor:
    """T^2 KL of the softened answers, averaged over rows."""
    divergence = kl_divergence(log_softmax(teacher, temperature), log_softmax(student, temperature))
    return mean_of_rows(divergence) * number(temperature**2, divergence)
