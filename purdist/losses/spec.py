"""`LossSpec`: what every loss is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

import attrs
import paddle

from purdist.errors import InvalidArgumentError
from purdist.losses.checks import is_number
from purdist.losses.schedule import Schedule
from purdist.variables import NewInput, Variable, check_name


def _weight(_: object, __: object, value: object) -> None:
    if not (isinstance(value, Schedule) or (is_number(value) and value != 0)):
        raise InvalidArgumentError(
            f"Expected weight to be a finite number other than 0, got {value!r}.",
            "Leave the loss out of the list to do without it.",
        )


def _name(_: object, __: object, value: str | None) -> None:
    if value == "" or not isinstance(value, str | None):
        raise InvalidArgumentError(
            f"Expected name to be a text of at least one character, got {value!r}.",
            "Leave name out to get a numbered one.",
        )
    if value is not None:
        check_name(value, "a loss")


@attrs.frozen
class LossSpec(ABC):
    """One term of a loss: which variables it reads, what must hold of them, what it computes.

    A spec is a value: hashable, comparable, printed as the call that makes it, and of no
    effect until `apply` turns it into graph. To write one, subclass it in the way of the
    losses here, with the checks of `purdist.losses.checks`::

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
        weight: The factor of the term in the total loss: a number, or a `Schedule` of one
            for each step. ``0.5 * spec`` is the same spec with half the weight.
        name: What the term is called, ``<kind>_<k>`` if it is None.
    """

    kind: ClassVar[str]

    weight: float | Schedule = attrs.field(default=1.0, kw_only=True, validator=_weight)
    name: str | None = attrs.field(default=None, kw_only=True, validator=_name)

    def __init_subclass__(cls) -> None:
        # attrs would write each subclass a repr that lists the defaults too. It leaves alone
        # one that it finds in the class.
        if "__repr__" not in cls.__dict__:
            cls.__repr__ = LossSpec.__repr__  # type: ignore[method-assign]

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

    def __mul__(self, factor: float | Schedule) -> Self:
        return attrs.evolve(self, weight=self.weight * factor)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        fields = sorted(attrs.fields(type(self)), key=lambda field: field.kw_only)
        given = [(field, getattr(self, field.name)) for field in fields]
        arguments = [
            repr(value) if field.default is attrs.NOTHING else f"{field.alias}={value!r}"
            for field, value in given
            if field.default is attrs.NOTHING or value != field.default
        ]
        return f"{type(self).__name__}({', '.join(arguments)})"
