"""Losses between what networks answer: their logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.errors import InvalidArgumentError
from purdist.losses.checks import (
    check_floats,
    check_labels,
    check_logits,
    check_rank,
    check_same_shape,
    tempered,
)
from purdist.losses.fields import Label, StudentVariable
from purdist.losses.maths import (
    IMPOSSIBLE,
    centred,
    deviation,
    expected,
    kl_divergence,
    log_softmax,
    mean_over,
    number,
    possible,
)
from purdist.losses.spec import LossSpec, PairLoss
from purdist.variables import Variable


def _smoothing(_: object, __: attrs.Attribute[float], value: float) -> None:
    """An attrs validator: a share of 1, below 1."""
    if not 0 <= value < 1:
        raise InvalidArgumentError(
            f"Expected label_smoothing to be at least 0 and below 1, got {value!r}.",
            "0 is no smoothing; 0.1 is common.",
        )


@attrs.frozen
class CrossEntropyLoss(LossSpec):
    r"""Cross entropy between hard labels and the student's answers.

    .. math:: \frac1N \sum_n -\sum_c q_{nc} \, \log softmax(s_n)_c, \qquad
        q_{nc} = (1 - \epsilon) [c = y_n] + \epsilon / C

    Shapes: logits [N, C], labels [N] of an integer dtype, each in [0, C).
    Source: label smoothing is that of Szegedy et al., "Rethinking the Inception
    Architecture", CVPR 2016, eq. 3; ``torch.nn.functional.cross_entropy``.

    Attributes:
        student_var: The student's logits.
        label: The labels: the name of a variable, or a `NewInput`, which adds a feed.
        label_smoothing: :math:`\epsilon`, at least 0 and below 1.

    Raises:
        InvalidArgumentError: ``label_smoothing`` is outside its range.
        ShapeMismatchError: The logits have not rank 2, or the labels not rank 1, or there is
            one class (in `apply`).
        DtypeMismatchError: The logits are not floating-point or the labels not integers
            (in `apply`).
    """

    kind: ClassVar[str] = "cross_entropy"

    student_var: StudentVariable
    label: Label
    label_smoothing: float = attrs.field(default=0.0, kw_only=True, validator=_smoothing)

    def check(self, variables: Mapping[str, Variable]) -> None:
        logits = variables["student_var"]
        check_floats({"student_var": logits})
        check_rank({"student_var": logits}, 2, "[N, C]")
        check_logits(logits)
        check_labels(variables["label"], logits)

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        answers = log_softmax(values["student_var"])
        right = paddle.index_sample(answers, values["label"].unsqueeze(1)).mean()
        if not self.label_smoothing:
            return -right
        smoothing = number(self.label_smoothing, answers)
        others = mean_over(possible(values["student_var"]), answers).mean()
        return (smoothing - 1) * right - smoothing * others


@attrs.frozen
class SoftLabelLoss(PairLoss):
    r"""Cross entropy between the softened answers of teacher and student.

    .. math:: \frac1N \sum_n -\sum_c softmax(t_n / T_t)_c \, \log softmax(s_n / T_s)_c

    Shapes: both the same, at least two classes on the last axis; rows are all the other axes.
    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network",
    2015, eq. 1, without the factor :math:`T^2`. PaddleSlim's ``soft_label_loss``,
    which saturates at 64; this one is exact.

    Attributes:
        teacher_var: The teacher's logits.
        student_var: The student's logits.
        teacher_temperature: :math:`T_t`, from 1e-6 to 1000.
        student_temperature: :math:`T_s`, from 1e-6 to 1000.

    Raises:
        InvalidArgumentError: A temperature is outside its range.
        ShapeMismatchError: The shapes differ, or there is one class (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "soft_label"
    teacher_temperature: float = attrs.field(default=1.0, validator=tempered)
    student_temperature: float = attrs.field(default=1.0, validator=tempered)

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_floats(variables)
        check_same_shape(variables, "teacher_var", "student_var")
        check_logits(*variables.values())

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        teacher = log_softmax(values["teacher_var"], self.teacher_temperature)
        student = log_softmax(values["student_var"], self.student_temperature)
        return -expected(teacher, student).mean()


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
        check_floats(variables)
        check_same_shape(variables, "teacher_var", "student_var")
        check_logits(*variables.values())

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        teacher, student = values["teacher_var"], values["student_var"]
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
        check_floats(variables)
        check_same_shape(variables, "teacher_var", "student_var")
        check_logits(*variables.values())

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        teacher, student = values["teacher_var"], values["student_var"]
        # A softmax does not see a shift, and centred rows stay small where they are rescaled.
        counted = possible(student)
        spread = deviation(teacher, possible(teacher))
        rescaled = centred(student, counted) / deviation(student, counted).clip(min=_EPSILON)
        return _softened_kl(teacher, _masked(rescaled * spread, counted), self.temperature)


@attrs.frozen
class MutualLoss(LossSpec):
    r"""Deep mutual learning: two networks that both learn, each taught by the other.

    .. math:: \frac1N \sum_n KL(p^2_n \,\|\, p^1_n) + KL(p^1_n \,\|\, p^2_n), \qquad
        p^k = softmax(s^k)

    The first argument of each divergence is held fixed, so that each teaches one network
    alone. Give each a `CrossEntropyLoss` beside it.

    Shapes: both the same, at least two classes on the last axis; rows are all the other axes.
    Source: Zhang et al., "Deep Mutual Learning", CVPR 2018, eq. 3 to 5, there one network
    stepped after the other; here both in one step.

    Attributes:
        student_var1: The logits of one network.
        student_var2: Those of the other, which learns too.

    Raises:
        ShapeMismatchError: The shapes differ, or there is one class (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "mutual"

    student_var1: StudentVariable
    student_var2: StudentVariable

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_floats(variables)
        check_same_shape(variables, "student_var1", "student_var2")
        check_logits(*variables.values())

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        one, other = log_softmax(values["student_var1"]), log_softmax(values["student_var2"])
        taught = kl_divergence(other.detach(), one) + kl_divergence(one.detach(), other)
        return taught.mean()


_EPSILON = 1e-7
"""The deviation of logits below which they count as constant."""


def _standardised(logits: paddle.Tensor) -> paddle.Tensor:
    counted = possible(logits)
    standardised = centred(logits, counted) / (deviation(logits, counted) + _EPSILON)
    return _masked(standardised, counted)


def _masked(logits: paddle.Tensor, counted: paddle.Tensor) -> paddle.Tensor:
    return paddle.where(counted, logits, paddle.full_like(logits, IMPOSSIBLE))


def _softened_kl(
    teacher: paddle.Tensor, student: paddle.Tensor, temperature: float
) -> paddle.Tensor:
    """T^2 KL of the softened answers, averaged over rows."""
    divergence = kl_divergence(log_softmax(teacher, temperature), log_softmax(student, temperature))
    return divergence.mean() * number(temperature**2, divergence)
