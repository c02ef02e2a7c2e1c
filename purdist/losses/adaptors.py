"""Trainable layers that bring a student's features to the shape of a teacher's.

They are made inside `LossSpec.build`, so that `apply` initialises them and they train and
are dropped with the term.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

import paddle
from paddle import nn

from purdist.errors import ShapeMismatchError
from purdist.losses.checks import (
    check_known,
    check_rank,
    check_same_axes,
    check_same_batch,
    check_same_shape,
)
from purdist.variables import Variable

__all__ = ["Adaptor", "adapted", "check_adaptable", "check_unadapted", "layers_of", "normalised"]

Adaptor: TypeAlias = Literal["conv", "conv_bn_relu", "linear"]
"""What stands between features of the student and those of the teacher."""


@contextmanager
def layers_of(dtype: paddle.dtype) -> Iterator[None]:
    """Layers made inside have parameters of ``dtype``, which most are not told otherwise."""
    found = paddle.get_default_dtype()
    paddle.set_default_dtype(dtype)
    try:
        yield
    finally:
        paddle.set_default_dtype(found)


def check_adaptable(variables: Mapping[str, Variable], adaptor: Adaptor) -> None:
    """Refuses ``teacher_var`` and ``student_var`` that ``adaptor`` cannot bring together.

    Raises:
        ShapeMismatchError: It cannot.
    """
    teacher, student = variables["teacher_var"], variables["student_var"]
    if adaptor == "linear":
        check_rank(variables, 2, "[N, ..., D]", or_more=True)
        check_rank({"student_var": student}, len(teacher.shape), "as teacher_var has it")
        check_known(variables, {-1: "D"}, "the linear layer is made for")
        check_same_axes(
            variables,
            "teacher_var",
            "student_var",
            {axis: f"axis {axis}" for axis in range(len(teacher.shape) - 1)},
            remedy="A linear layer changes the last axis alone.",
        )
        return
    check_rank(variables, 4, "[N, C, H, W]")
    check_known(variables, {1: "C"}, "the convolution is made for")
    if _resizing(student.shape, teacher.shape) is None:
        raise ShapeMismatchError(
            f"Expected student_var to be as large as teacher_var, larger, or half as large, got "
            f"{student} and {teacher}.",
            "Name layers that fit better, or resize one map in a CustomLoss.",
        )


def check_unadapted(variables: Mapping[str, Variable], advice: str) -> None:
    """Refuses ``teacher_var`` and ``student_var`` of two shapes.

    Args:
        variables: The two.
        advice: What to write where an adaptor brings them together, which is put in for ``{}``.

    Raises:
        ShapeMismatchError: They are of two shapes.
    """
    kinds: tuple[Adaptor, ...] = ("conv", "linear")
    for adaptor in kinds:
        try:
            check_adaptable(variables, adaptor)
            check_same_batch(variables, "teacher_var", "student_var")
        except ShapeMismatchError:
            continue
        otherwise = advice.format(f'adaptor="{adaptor}"')
        check_same_shape(variables, "teacher_var", "student_var", otherwise=otherwise)
        return
    check_same_shape(variables, "teacher_var", "student_var")


def adapted(student: paddle.Tensor, teacher: paddle.Tensor, adaptor: Adaptor) -> paddle.Tensor:
    """What a new ``adaptor`` makes of the student's features, in the shape of the teacher's."""
    with layers_of(student.dtype):
        if adaptor == "linear":
            return nn.Linear(student.shape[-1], teacher.shape[-1])(student)
        moved = _convolved(student, teacher)
        return moved if adaptor == "conv" else nn.functional.relu(normalised(moved))


def normalised(feature_map: paddle.Tensor) -> paddle.Tensor:
    """``feature_map`` after a new batch normalisation."""
    return nn.BatchNorm2D(feature_map.shape[1])(feature_map)


def _convolved(student: paddle.Tensor, teacher: paddle.Tensor) -> paddle.Tensor:
    """``student`` after a new convolution to the channels and size of ``teacher``."""
    channels, wanted = student.shape[1], teacher.shape[1]
    match _resizing(student.shape, teacher.shape):
        case "half":
            return nn.Conv2D(channels, wanted, 3, stride=2, padding=1)(student)
        case "double":
            return nn.Conv2DTranspose(channels, wanted, 4, stride=2, padding=1)(student)
        case "crop":
            sizes = zip(student.shape[2:], teacher.shape[2:], strict=True)
            return nn.Conv2D(channels, wanted, [1 + here - there for here, there in sizes])(student)
        case _:
            return nn.Conv2D(channels, wanted, 1)(student)


def _resizing(
    student: Sequence[int], teacher: Sequence[int]
) -> Literal["keep", "half", "double", "crop"] | None:
    """How a convolution gets from the size of one map to that of the other, None if it cannot.

    The choice is that of RepDistiller's ``ConvReg``. An unknown size counts as equal.
    """
    sizes = list(zip(student[2:], teacher[2:], strict=True))
    if all(here == there or -1 in (here, there) for here, there in sizes):
        return "keep"
    if all(here == 2 * there for here, there in sizes):
        return "half"
    if all(2 * here == there for here, there in sizes):
        return "double"
    if all(here >= there > 0 for here, there in sizes):
        return "crop"
    return None
