"""`MutualLoss`: two networks that both learn, each taught by the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.losses.checks import check_pair_of_logits
from purdist.losses.classes import kl_divergence, log_softmax, logits_of
from purdist.losses.fields import StudentVariable
from purdist.losses.rows import mean_of_rows
from purdist.losses.spec import LossSpec
from purdist.variables import Variable


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
        check_pair_of_logits(variables)

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        one, other = map(log_softmax, logits_of(values, "student_var1", "student_var2"))
        taught = kl_divergence(other.detach(), one) + kl_divergence(one.detach(), other)
        return mean_of_rows(taught)
