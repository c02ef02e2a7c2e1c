"""Losses between what two networks answer: their logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.errors import InvalidArgumentError
from purdist.losses.spec import (
    LossSpec,
    check_floats,
    check_labels,
    check_rank,
    check_same_shape,
    positive,
)
from purdist.variables import NewInput, Variable


def log_softmax(logits: paddle.Tensor) -> paddle.Tensor:
    """log(softmax(logits)) over the last axis, exact at any size of logits.

    Paddle's own kernel clamps at -64 on the CPU.
    """
    return logits - paddle.logsumexp(logits, axis=-1, keepdim=True)


def smoothing(_: object, __: attrs.Attribute[float], value: float) -> None:
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
        ShapeMismatchError: The logits have not rank 2, or the labels not rank 1 (in `apply`).
        DtypeMismatchError: The logits are not floating-point or the labels not integers
            (in `apply`).
    """

    kind: ClassVar[str] = "cross_entropy"

    student_var: str
    label: str | NewInput
    label_smoothing: float = attrs.field(default=0.0, validator=smoothing)

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_floats({"student_var": variables["student_var"]})
        check_rank({"student_var": variables["student_var"]}, 2, "[N, C]")
        check_labels(variables["label"])

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        answers = log_softmax(values["student_var"])
        right = paddle.take_along_axis(answers, values["label"].unsqueeze(1), axis=1).mean()
        return -(1 - self.label_smoothing) * right - self.label_smoothing * answers.mean()


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
