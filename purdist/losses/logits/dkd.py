"""`DKDLoss`: the right class, and the others among themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.losses.arguments import not_negative, tempered
from purdist.losses.checks import (
    check_classes,
    check_known,
    check_labels,
    check_pair_of_logits,
    check_rank,
)
from purdist.losses.classes import (
    IMPOSSIBLE,
    kl_divergence,
    log_softmax,
    log_total,
    logits_of,
    softened,
)
from purdist.losses.fields import Label
from purdist.losses.maths import number
from purdist.losses.rows import mean_of_rows
from purdist.losses.spec import PairLoss
from purdist.variables import Variable


@attrs.frozen
class DKDLoss(PairLoss):
    r"""Decoupled knowledge distillation: the right class, and the others among themselves.

    .. math:: \frac{T^2}{N} \sum_n \alpha \, KL(b^t_n \,\|\, b^s_n)
        + \beta \, KL(o^t_n \,\|\, o^s_n)

    With :math:`p = softmax(z / T)`, :math:`b = (p_y, 1 - p_y)` says how likely the label is
    and :math:`o` is the softmax over the classes other than the label, which is fed::

        distillation = apply(merged, [DKDLoss("teacher_logits", "logits", NewInput("label"))])

    Shapes: logits [N, C], both the same, C at least 3: of two classes the second term is
    always 0. Labels [N] of an integer dtype, each in [0, C).
    Source: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, eq. 7; mdistiller
    ``distillers/DKD.py``, which lowers the label's logit by 1000 to leave it out and takes
    the logarithm of a probability: this one is exact at logits of 1e4.

    Attributes:
        teacher_var: The teacher's logits.
        student_var: The student's logits.
        label: The labels: the name of a variable, or a `NewInput`, which adds a feed.
        alpha: The weight of the right class, at least 0.
        beta: The weight of the others, at least 0.
        temperature: :math:`T`, from 1e-6 to 1000.

    Raises:
        InvalidArgumentError: A weight is below 0, or the temperature outside its range.
        ShapeMismatchError: The ranks are not 2 and 1, the shapes differ, or there are fewer
            than 3 classes (in `apply`).
        DtypeMismatchError: The dtypes of the logits differ or are not floating-point, or the
            labels are not integers (in `apply`).
    """

    kind: ClassVar[str] = "dkd"

    label: Label
    alpha: float = attrs.field(default=1.0, kw_only=True, validator=not_negative)
    beta: float = attrs.field(default=8.0, kw_only=True, validator=not_negative)
    temperature: float = attrs.field(default=4.0, kw_only=True, validator=tempered)

    def check(self, variables: Mapping[str, Variable]) -> None:
        logits = {key: variables[key] for key in ("teacher_var", "student_var")}
        check_rank(logits, 2, "[N, C]")
        check_pair_of_logits(logits)
        check_labels(variables["label"], variables["student_var"])
        check_classes(
            variables["student_var"],
            3,
            "or beside the label there is one",
            "Take KDLoss, which is defined for two.",
        )
        check_known(logits, {1: "C"}, "the label is one of")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        teacher, student = logits_of(values, "teacher_var", "student_var")
        right_teacher, others_teacher = self._decoupled(teacher, values["label"])
        right_student, others_student = self._decoupled(student, values["label"])
        right = kl_divergence(right_teacher, right_student)
        others = kl_divergence(others_teacher, others_student)
        loss = number(self.alpha, right) * right + number(self.beta, others) * others
        return mean_of_rows(loss) * number(self.temperature**2, loss)

    def _decoupled(
        self, logits: paddle.Tensor, label: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """The logarithms of b, [N, 2], and of o, [N, C], as of which the label is impossible."""
        logits = softened(logits, self.temperature)
        is_label = paddle.nn.functional.one_hot(label, logits.shape[-1]) > 0
        beside = paddle.where(is_label, paddle.full_like(logits, IMPOSSIBLE), logits)
        total = log_total(logits)
        right = paddle.index_sample(logits, label.unsqueeze(1)) - total
        wrong = log_total(beside) - total
        return paddle.concat([right, wrong], axis=1), log_softmax(beside)
