"""`ReviewKDLoss`: deep layers of the student reviewed by the teacher's shallow ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, TypeAlias

import attrs
import paddle
from paddle import nn
from paddle.nn import functional as F  # noqa: N812 - the field's name for it

from purdist.errors import InvalidArgumentError
from purdist.losses.adaptors import layers_of, normalised
from purdist.losses.checks import (
    check_floats,
    check_known,
    check_rank,
    check_same_batch,
    check_same_shape,
)
from purdist.losses.fields import StudentVariable, TeacherVariable
from purdist.losses.maths import number
from purdist.losses.rows import mean_of_rows
from purdist.losses.spec import LossSpec
from purdist.variables import NewInput, Variable

_LEVELS = (4, 2, 1)
_WIDEST = 512

_Pairs: TypeAlias = tuple[tuple[TeacherVariable, StudentVariable], ...]


def _as_pairs(pairs: Iterable[Sequence[str | NewInput]]) -> _Pairs:
    pairs = tuple(tuple(pair) for pair in pairs)
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise InvalidArgumentError(
            f"Expected pairs to hold (teacher's, student's) names, at least once, got {pairs!r}.",
            "Write pairs=[('teacher_layer1', 'layer1'), ('teacher_layer2', 'layer2')].",
        )
    return tuple((teacher, student) for teacher, student in pairs)


@attrs.frozen
class ReviewKDLoss(LossSpec):
    r"""Knowledge review: the student's deeper maps learn from the teacher's shallower ones too.

    .. math:: \sum_k hcl(f_k, t_k), \qquad hcl(f, t) =
        \frac{\sum_l w_l \, mean\,((pool_l(f) - pool_l(t))^2)}{\sum_l w_l}

    The hierarchical context loss compares two maps as they are and averaged down to 4x4, 2x2
    and 1x1, levels that are no smaller than the map left out; each weighs half as much as
    the one before. With ``fusion``, :math:`f_k` comes from attention-based fusion, from the
    deepest pair to the shallowest: the student's map, by a 1x1 convolution brought to the
    width of the deepest (512 at most), is mixed with what came from the deeper pairs, place
    by place, by the sigmoid of a 1x1 convolution of both; the mixture, enlarged to the
    teacher's size by the nearest neighbour, goes on to the shallower pair and, by a 3x3
    convolution, becomes :math:`f_k`. Without fusion :math:`f_k` is the student's map.

    Shapes: all [N, C, H, W], with C, H and W known. Without fusion those of a pair are the
    same. The least is 0 without fusion; with it, whatever the fusion makes of equal maps.
    Source: Chen et al., "Distilling Knowledge via Knowledge Review", CVPR 2021, section 3.3;
    mdistiller ``distillers/ReviewKD.py`` (``hcl_loss``, ``ABF``), which knows square maps.

    Attributes:
        pairs: (teacher's map, student's map), from the shallowest layers to the deepest.
        fusion: Fuse each of the student's maps with the deeper ones.

    Raises:
        InvalidArgumentError: There are no pairs, or one is not of two names.
        ShapeMismatchError: A rank is not 4, sizes are unknown, or differ that must agree (in
            `apply`).
        DtypeMismatchError: The dtypes differ or are not floating-point (in `apply`).
    """

    kind: ClassVar[str] = "review_kd"

    pairs: _Pairs = attrs.field(converter=_as_pairs)
    fusion: bool = attrs.field(default=True, kw_only=True)

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_floats(variables)
        check_rank(variables, 4, "[N, C, H, W]")
        check_known(variables, {1: "C", 2: "H", 3: "W"}, "pooling and fusion are made for")
        for k in range(len(self.pairs)):
            check_same_batch(variables, f"pairs[{k}][0]", f"pairs[{k}][1]")
            if not self.fusion:
                check_same_shape(variables, f"pairs[{k}][0]", f"pairs[{k}][1]")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        depths = range(len(self.pairs))
        teachers = [values[f"pairs[{k}][0]"] for k in depths]
        students = [values[f"pairs[{k}][1]"] for k in depths]
        if self.fusion:
            students = _fused(students, teachers)
        first, *others = (
            _hierarchical_context(student, teacher)
            for student, teacher in zip(students, teachers, strict=True)
        )
        return sum(others, first)


def _hierarchical_context(student: paddle.Tensor, teacher: paddle.Tensor) -> paddle.Tensor:
    """The hierarchical context loss of two maps of one shape."""
    loss, weight, total = mean_of_rows((student - teacher).square()), 1.0, 1.0
    for level in _LEVELS:
        if level < student.shape[2]:
            weight /= 2
            total += weight
            pooled = F.adaptive_avg_pool2d(student - teacher, level)
            loss = loss + weight * mean_of_rows(pooled.square())
    return loss / number(total, loss)


def _fused(students: list[paddle.Tensor], teachers: list[paddle.Tensor]) -> list[paddle.Tensor]:
    """What of the student is compared, for each pair of maps."""
    width = min(_WIDEST, students[-1].shape[1])
    deeper: paddle.Tensor | None = None
    results = []
    with layers_of(students[0].dtype):
        for student, teacher in zip(reversed(students), reversed(teachers), strict=True):
            mixed = normalised(_convolved(student, width, 1))
            if deeper is not None:
                deeper = F.interpolate(deeper, student.shape[2:], mode="nearest")
                shares = F.sigmoid(nn.Conv2D(2 * width, 2, 1)(paddle.concat([mixed, deeper], 1)))
                mixed = mixed * shares[:, :1] + deeper * shares[:, 1:]
            if mixed.shape[2:] != teacher.shape[2:]:
                mixed = F.interpolate(mixed, teacher.shape[2:], mode="nearest")
            results.append(normalised(_convolved(mixed, teacher.shape[1], 3)))
            deeper = mixed
    return results[::-1]


def _convolved(feature_map: paddle.Tensor, channels: int, kernel: int) -> paddle.Tensor:
    """``feature_map`` after a new convolution that keeps its size."""
    uniform = nn.initializer.KaimingUniform(negative_slope=1.0, nonlinearity="leaky_relu")
    layer = nn.Conv2D(
        feature_map.shape[1],
        channels,
        kernel,
        padding=kernel // 2,
        weight_attr=paddle.ParamAttr(initializer=uniform),
        bias_attr=False,
    )
    return layer(feature_map)
