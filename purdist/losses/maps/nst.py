"""`NSTLoss`: the same distribution of channels, seen as patterns in space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
import paddle

from purdist.losses.checks import check_maps
from purdist.losses.maths import pooled_to_smaller, unit
from purdist.losses.rows import mean_of_rows
from purdist.losses.spec import PairLoss
from purdist.variables import Variable


@attrs.frozen
class NSTLoss(PairLoss):
    r"""Neuron selectivity transfer: the same distribution of channels, seen as patterns in space.

    .. math:: \frac1N \sum_n \overline{k(t, t')} + \overline{k(s, s')} - 2 \, \overline{k(s, t)},
        \qquad k(x, y) = (x \cdot y)^2

    The squared maximum mean discrepancy between the channels of both maps, each flattened
    over space and divided by its L2 norm; the bars are means over all pairs of channels.

    Shapes: both [N, C, H, W]; C may differ. Of two sizes the larger map is averaged down to
    the smaller (adaptive average pooling), each of height and width on its own.
    Source: Huang and Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity
    Transfer", 2017, section 4 with the polynomial kernel of d = 2, c = 0; RepDistiller
    ``distiller_zoo/NST.py`` for one stage, which pools by height alone.

    Attributes:
        teacher_var: A feature map of the teacher.
        student_var: A feature map of the student.

    Raises:
        ShapeMismatchError: A rank is not 4, the batches differ, or sizes differ of which one
            is unknown (in `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "nst"

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_maps(variables)

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        maps = pooled_to_smaller(values["teacher_var"], values["student_var"])
        teacher, student = (unit(feature_map.flatten(2), axis=2) for feature_map in maps)
        among_both = _kernel(teacher, teacher) + _kernel(student, student)
        return among_both - 2 * _kernel(student, teacher)


def _kernel(one: paddle.Tensor, other: paddle.Tensor) -> paddle.Tensor:
    """(x . y)^2, averaged over all pairs of rows of [N, C, D] and [N, C', D]."""
    return mean_of_rows(paddle.matmul(one, other, transpose_y=True).square())
