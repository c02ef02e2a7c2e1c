"""`CrossEntropyLoss`: the student's answers against labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.losses.arguments import share
from purdist.losses.checks import check_floats, check_labels, check_logits, check_rank
from purdist.losses.classes import log_softmax, logits_of, mean_over, possible
from purdist.losses.fields import Label, StudentVariable
from purdist.losses.maths import number
from purdist.losses.rows import mean_of_rows
from purdist.losses.spec import LossSpec
from purdist.variables import Variable


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
    label_smoothing: float = attrs.field(default=0.0, kw_only=True, validator=share)

    def check(self, variables: Mapping[str, Variable]) -> None:
        logits = variables["student_var"]
        check_floats({"student_var": logits})
        check_rank({"student_var": logits}, 2, "[N, C]")
        check_logits(logits)
        check_labels(variables["label"], logits)

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        (logits,) = logits_of(values, "student_var")
        answers = log_softmax(logits)
        right = mean_of_rows(paddle.index_sample(answers, values["label"].unsqueeze(1)))
        if not self.label_smoothing:
            return -right
        smoothing = number(self.label_smoothing, answers)
        others = mean_of_rows(mean_over(possible(logits), answers))
        return (smoothing - 1) * right - smoothing * others
