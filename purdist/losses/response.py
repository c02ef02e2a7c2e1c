"""Losses between what two networks answer: their logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.losses.spec import LossSpec, check_floats, check_same_shape, positive
from purdist.variables import Variable


def log_softmax(logits: paddle.Tensor) -> paddle.Tensor:
    """log(softmax(logits)) over the last axis, exact at any size of logits.

    Paddle's own kernel clamps at -64 on the CPU.
    """
    return logits - paddle.logsumexp(logits, axis=-1, keepdim=True)


@attrs.frozen
class SoftLabelLoss(LossSpec):
    r"""Cross entropy between the softened answers of teacher and student.

    .. math:: \frac1N \sum_n -\sum_c softmax(t_n / T_t)_c \, \log softmax(s_n / T_s)_c

    Shapes: both the same, classes on the last axis; rows are all the other axes.
    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network",
    2015, eq. 1, without the factor :math:`T^2`. PaddleSlim's ``soft_label_loss``,
    which saturates at 64; this one is exact.

    Attributes:
        teacher_var: The teacher's logits.
        student_var: The student's logits.
        teacher_temperature: :math:`T_t`, above 0.
        student_temperature: :math:`T_s`, above 0.

    Raises:
        InvalidArgumentError: A temperature is not a finite number above 0.
        ShapeMismatchError: The shapes differ (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "soft_label"

    teacher_var: str
    student_var: str
    teacher_temperature: float = attrs.field(default=1.0, validator=positive)
    student_temperature: float = attrs.field(default=1.0, validator=positive)

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_floats(variables)
        check_same_shape(variables, "teacher_var", "student_var")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        teacher = log_softmax(values["teacher_var"] / self.teacher_temperature).exp()
        student = log_softmax(values["student_var"] / self.student_temperature)
        return -(teacher * student).sum(axis=-1).mean()
