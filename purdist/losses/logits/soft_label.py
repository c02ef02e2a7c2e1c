"""`SoftLabelLoss`: cross entropy to the teacher's softened answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.losses.arguments import tempered
from purdist.losses.checks import check_pair_of_logits
from purdist.losses.classes import expected, log_softmax, logits_of
from purdist.losses.rows import mean_of_rows
from purdist.losses.spec import PairLoss
from purdist.variables import Variable


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
        check_pair_of_logits(variables)

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        teacher, student = logits_of(values, "teacher_var", "student_var")
        teacher = log_softmax(teacher, self.teacher_temperature)
        student = log_softmax(student, self.student_temperature)
        return -mean_of_rows(expected(teacher, student))
