"""`AttentionTransferLoss`: where the teacher looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.losses.arguments import at_least_one
from purdist.losses.checks import check_maps
from purdist.losses.maths import pooled_to_smaller, unit
from purdist.losses.rows import mean_of_rows
from purdist.losses.spec import PairLoss
from purdist.variables import Variable


@attrs.frozen
class AttentionTransferLoss(PairLoss):
    r"""Where the teacher looks: its activation summed over channels, place by place.

    .. math:: mean\,((q_s - q_t)^2), \qquad q = a / |a|_2, \qquad
        a_{n, hw} = \tfrac1C \sum_c |f_{n, c, hw}|^p

    Shapes: both [N, C, H, W]; C may differ. Of two sizes the larger map is averaged down to
    the smaller (adaptive average pooling), each of height and width on its own.
    Source: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, eq. 2;
    RepDistiller ``distiller_zoo/AT.py`` for one stage, which leaves out the absolute value
    (the same for an even p) and pools by height alone. The paper has the norm where the
    code has the mean of squares.

    Attributes:
        teacher_var: A feature map of the teacher.
        student_var: A feature map of the student.
        p: The power, at least 1.

    Raises:
        InvalidArgumentError: ``p`` is below 1.
        ShapeMismatchError: A rank is not 4, the batches differ, or sizes differ of which one
            is unknown (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "attention_transfer"

    p: float = attrs.field(default=2.0, kw_only=True, validator=at_least_one)

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_maps(variables)

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        teacher, student = pooled_to_smaller(values["teacher_var"], values["student_var"])
        return mean_of_rows((self._attention(student) - self._attention(teacher)).square())

    def _attention(self, feature_map: paddle.Tensor) -> paddle.Tensor:
        return unit(feature_map.abs().pow(self.p).mean(axis=1).flatten(1), axis=1)
