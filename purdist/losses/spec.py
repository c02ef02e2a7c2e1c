"""`LossSpec`: what every loss is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import attrs
import paddle

from purdist.errors import (
    DtypeMismatchError,
    InvalidArgumentError,
    PurdistError,
    ShapeMismatchError,
    together,
)
from purdist.variables import NewInput, Variable, shapes_agree

FLOATS = ("float16", "bfloat16", "float32", "float64")


def positive(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    """An attrs validator: a finite number above zero."""
    if not (_is_number(value) and math.isfinite(value) and value > 0):
        raise InvalidArgumentError(
            f"Expected {attribute.name} to be a finite number above 0, got {value!r}.",
            f"Write {attribute.name}={attribute.default!r} or leave it out."
            if attribute.default is not attrs.NOTHING
            else f"Give {attribute.name} such a number.",
        )


def _weight(_: object, __: attrs.Attribute[float], value: float) -> None:
    if not (_is_number(value) and math.isfinite(value) and value != 0):
        raise InvalidArgumentError(
            f"Expected weight to be a finite number other than 0, got {value!r}.",
            "Leave the loss out of the list to do without it.",
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _name(_: object, __: attrs.Attribute[str | None], value: str | None) -> None:
    if value is not None and not (isinstance(value, str) and value):
        raise InvalidArgumentError(
            f"Expected name to be a text of at least one character, got {value!r}.",
            "Leave name out to get a numbered one.",
        )


@attrs.frozen
class LossSpec(ABC):
    """One term of a loss: which variables it reads, what must hold of them, what it computes.

    A spec is a value: hashable, comparable, and of no effect until `apply` turns it
    into graph. To write one, subclass it in the way of the losses here::

        @attrs.frozen
        class L1Loss(LossSpec):
            kind: ClassVar[str] = "l1"
            teacher_var: str
            student_var: str

            def check(self, variables):
                check_floats(variables)
                check_same_shape(variables, "teacher_var", "student_var")

            def build(self, values):
                return (values["teacher_var"] - values["student_var"]).abs().mean()

    Attributes:
        weight: The factor of the term in the total loss. ``0.5 * spec`` is the same spec
            with half the weight.
        name: What the term is called, ``<kind>_<k>`` if it is None.
    """

    kind: ClassVar[str]

    weight: float = attrs.field(default=1.0, kw_only=True, validator=_weight)
    name: str | None = attrs.field(default=None, kw_only=True, validator=_name)

    @property
    def variables(self) -> Mapping[str, str | NewInput]:
        """The variables read, by what they are to this loss.

        As it stands: the fields whose names begin with ``teacher_var`` or ``student_var``,
        and ``label``. A key that begins with ``teacher`` is listened to: no gradient goes
        there. One that begins with ``student`` must be able to learn.
        """
        return {
            field.name: getattr(self, field.name)
            for field in attrs.fields(type(self))
            if field.name == "label" or field.name.startswith(("teacher_var", "student_var"))
        }

    def check(self, variables: Mapping[str, Variable]) -> None:  # noqa: B027 - may ask nothing
        """Refuses variables that the loss is not defined for, before anything is built.

        Args:
            variables: What is known of each of `variables`, by the same keys.

        Raises:
            PurdistError: What does not hold.
        """

    @abstractmethod
    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        """The term as graph.

        Args:
            values: The value of each of `variables`, by the same keys.

        Returns:
            One scalar, unweighted.
        """

    def __mul__(self, factor: float) -> Self:
        return attrs.evolve(self, weight=self.weight * factor)

    __rmul__ = __mul__


def check_floats(variables: Mapping[str, Variable]) -> None:
    """Refuses variables that are not all of one floating-point dtype.

    Raises:
        DtypeMismatchError: One is not, or two differ.
    """
    faults: list[PurdistError] = [
        DtypeMismatchError(
            f"Expected {key} to be floating-point, got {variable.spec}.",
            "Name a variable that a network computes, such as its logits or a feature map.",
        )
        for key, variable in variables.items()
        if variable.dtype not in FLOATS
    ]
    if not faults and len({v.dtype for v in variables.values()}) > 1:
        told = ", ".join(f"{key} {variable.spec}" for key, variable in variables.items())
        faults.append(
            DtypeMismatchError(
                f"Expected variables of one dtype, got {told}.",
                "Cast in one of the networks, or build both for one dtype.",
            )
        )
    if faults:
        raise together(faults)


def check_labels(label: Variable) -> None:
    """Refuses labels that are not one integer a row.

    Raises:
        DtypeMismatchError: They are not integers.
        ShapeMismatchError: Their rank is not 1.
    """
    if label.dtype not in ("int32", "int64"):
        raise DtypeMismatchError(
            f"Expected label to be int64 or int32, got {label.spec}.",
            "Give the numbers of the classes, not their probabilities.",
        )
    check_rank({"label": label}, 1, "[N]")


def check_rank(variables: Mapping[str, Variable], rank: int, axes: str) -> None:
    """Refuses variables that are not of that rank.

    Raises:
        ShapeMismatchError: One is not.
    """
    faults = [
        ShapeMismatchError(
            f"Expected {key} to have rank {rank}, {axes}, got rank {len(variable.shape)}: "
            f"{variable.spec}."
        )
        for key, variable in variables.items()
        if len(variable.shape) != rank
    ]
    if faults:
        raise together(faults)


def check_same_shape(variables: Mapping[str, Variable], one: str, other: str) -> None:
    """Refuses two variables whose shapes cannot be equal.

    Raises:
        ShapeMismatchError: They cannot. The text names the axis.
    """
    a, b = variables[one], variables[other]
    if not shapes_agree(a.shape, b.shape):
        raise ShapeMismatchError(
            f"Expected {one} and {other} to have the same shape, got {a.spec} and {b.spec}: "
            f"{_differing(a.shape, b.shape)}.",
            "Name variables of the same shape, or adapt one to the other in a CustomLoss.",
        )


def check_same_axes(
    variables: Mapping[str, Variable], one: str, other: str, axes: Mapping[int, str]
) -> None:
    """Refuses two variables of equal rank whose sizes differ on one of ``axes``.

    Raises:
        ShapeMismatchError: They do. The text names the axis.
    """
    a, b = variables[one], variables[other]
    wanted = [a.shape[axis] for axis in axes]
    got = [b.shape[axis] for axis in axes]
    if not shapes_agree(wanted, got):
        raise ShapeMismatchError(
            f"Expected {one} and {other} to share {', '.join(axes.values())}, got {a.spec} and "
            f"{b.spec}: {_differing(wanted, got, tuple(axes))}.",
            "Name two layers between which the size of the map stays the same.",
        )


def _differing(one: Sequence[int], other: Sequence[int], axes: Sequence[int] = ()) -> str:
    if len(one) != len(other):
        return f"rank {len(one)} against {len(other)}"
    return ", ".join(
        f"axis {axis} is {a} against {b}"
        for axis, a, b in zip(axes or range(len(one)), one, other, strict=True)
        if a != b and -1 not in (a, b)
    )
