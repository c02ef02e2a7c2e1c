"""`LossSpec`: what every loss is, and `PairLoss`, what one between a pair of variables is."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Never, Self

import attrs
import paddle

from purdist.checking import guard_class, shown
from purdist.errors import InvalidArgumentError
from purdist.losses import fields
from purdist.losses.arguments import is_number
from purdist.losses.checks import check_floats
from purdist.losses.fields import Part, StudentVariable, TeacherVariable
from purdist.losses.printing import call_of
from purdist.losses.schedule import Constant, Finite, Schedule
from purdist.variables import NewInput, Variable, check_name


def _simplest(weight: float | Schedule) -> float | Schedule:
    """A number, where a schedule stays at one."""
    return weight.value if isinstance(weight, Constant) else weight


def _weight(_: object, __: object, value: object) -> None:
    if not (isinstance(value, Schedule) or is_number(value)):
        raise InvalidArgumentError(
            f"Expected weight to be a finite number, got {value!r}.",
            "Write weight=1.0 or leave it out.",
        )


def _name(_: object, __: object, value: str | None) -> None:
    if value == "":
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
    effect until `apply` turns it into graph. To write one, subclass it, or `PairLoss`, in the
    way of the losses here, with the toolkit beside them: ``arguments``, ``checks``, ``rows``,
    ``classes``, ``maths`` and ``adaptors`` of `purdist.losses`::

        @attrs.frozen
        class L1Loss(PairLoss):
            kind: ClassVar[str] = "l1"

            def check(self, variables):
                super().check(variables)
                check_same_shape(variables, "teacher_var", "student_var")

            def build(self, values):
                return mean_of_rows((values["teacher_var"] - values["student_var"]).abs())

        distillation = apply(merged, [0.5 * L1Loss("teacher_logits", "logits")])

    What it reads is declared by the types of its fields: `TeacherVariable`, `StudentVariable`,
    `Label` and `Mask`, in tuples too. Kind and fields are checked when the class is made.

    Attributes:
        kind: What losses of this class are called by: ``l2_0`` is the first term of kind ``l2``.
            No two classes share one; a class that is not to be made, as its `build` is
            abstract, needs none.
        weight: The factor of the term in the total loss: a number, or a `Schedule` of one
            for each step. ``0.5 * spec`` is the same spec with half the weight; ``0 * spec`` is
            a term that is watched, and that nothing learns from.
        name: What the term is called, ``<kind>_<k>`` if it is None.

    Raises:
        InvalidArgumentError: A field does not say what is read there, a kind is another
            class's, or a class is not decorated with ``@attrs.frozen``. Or something else than
            a variable stands where one is read, ``weight`` is no number or schedule, or ``name``
            is none.
    """

    kind: ClassVar[str]
    _types: ClassVar[Mapping[str, Any]] = {}

    __array_ufunc__: ClassVar[None] = None  # an array would hand over each of its numbers

    weight: float | Schedule = attrs.field(
        default=1.0, kw_only=True, converter=_simplest, validator=_weight
    )
    name: str | None = attrs.field(default=None, kw_only=True, validator=_name)

    def __init_subclass__(cls) -> None:
        # attrs would write each subclass a repr that lists the defaults too. It leaves alone
        # one that it finds in the class.
        if "__repr__" not in cls.__dict__:
            cls.__repr__ = cls.__repr__  # type: ignore[method-assign]  # the base's

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        # attrs calls it once, of the class with its fields; it makes slotted classes twice.
        inherited, cls._types = cls._types, fields.field_types(cls)
        if cls.variables is LossSpec.variables:
            fields.check_types(cls, cls._types, inherited)
        if not inspect.isabstract(cls):
            _claim_kind(cls)
        guard_class(cls)

    def __new__(cls, *_: object, **__: object) -> Self:
        if "__attrs_attrs__" not in cls.__dict__:
            raise InvalidArgumentError(
                f"Expected {cls.__name__} to be an attrs class, got one without a decorator.",
                f"Write @attrs.frozen above `class {cls.__name__}`.",
            )
        return super().__new__(cls)

    def __attrs_post_init__(self) -> None:
        for _ in fields.read_by(self, self._types):
            pass  # what is no variable is refused

    @property
    def variables(self) -> Mapping[str, str | NewInput]:
        """The variables read, by what they are to this loss.

        As it stands: those that the fields declare, by the name of the field, with the place
        behind it in a tuple: ``pairs[0][1]``. No gradient goes to a `TeacherVariable`; a
        `StudentVariable` must be able to learn. A key that no field declares is neither: a
        gradient goes to it if it can learn.
        """
        return {key: name for key, _, name in fields.read_by(self, self._types)}

    def part(self, key: str) -> Part | None:
        """What the variable under a key of `variables` is to the loss, None if no field says."""
        parts = {declared: part for declared, part, _ in fields.read_by(self, self._types)}
        return parts.get(key)

    def renamed(self, names: Mapping[str, str | NewInput]) -> Self:
        """The same loss over other variables.

        One that was written for another teacher moves to this one::

            loss = KDLoss("teacher_logits", "logits", temperature=2)
            moved = loss.renamed({"teacher_logits": "large_output", "logits": "output"})
            assert moved == KDLoss("large_output", "output", temperature=2)

        Args:
            names: Name of a variable or a new input -> what is read in its place. A name that
                the loss does not read is ignored. A new input that gets another name keeps its
                shape and dtype.

        Raises:
            InvalidArgumentError: It is no mapping to names and new inputs.
        """
        return self.map_variables(lambda name: names.get(name, name))

    def map_variables(self, function: Callable[[str], str | NewInput]) -> Self:
        """The same loss over the variables that ``function`` gives.

        It moves a loss to a teacher with another prefix::

            loss = KDLoss("teacher_logits", "logits")
            moved = loss.map_variables(lambda name: name.replace("teacher_", "large_"))
            assert moved == KDLoss("large_logits", "logits")

        A class that overrides `variables` overrides this, too.

        Args:
            function: Called with the name of each variable and of each new input, gives what is
                read in its place, as in `renamed`.

        Raises:
            InvalidArgumentError: ``function`` raised, or gives neither a name nor a `NewInput`; or
                a class of one's own reads variables that no field declares.
        """
        changed = attrs.evolve(self, **fields.mapped(self, self._types, function))
        wanted = {k: fields.renamed_variable(v, function) for k, v in self.variables.items()}
        if dict(changed.variables) != wanted:
            raise InvalidArgumentError(
                f"Expected {type(self).__name__} to read {wanted}, got {dict(changed.variables)}.",
                "It overrides variables: have it override map_variables, too.",
            )
        return changed

    def check(self, variables: Mapping[str, Variable]) -> None:  # noqa: B027 - may ask nothing
        """Refuses variables that the loss is not defined for, before anything is built.

        Args:
            variables: What is known of each of `variables`, by the same keys.

        Raises:
            PurdistError: What does not hold.
        """

    def digest(self, teacher: Mapping[str, paddle.Tensor]) -> Mapping[str, paddle.Tensor]:
        """What the loss needs of its teacher: the variables themselves, if nothing else is said.

        It is computed where the teacher is: a cache keeps it, and an engine answers it, and no
        more. One of one's own has the batch on axis 0, makes no parameter, draws no random number
        and is computed from one teacher::

            def digest(self, teacher):
                return {"classes": teacher["teacher_var"].argmax(-1)}

        Args:
            teacher: By the keys of `variables`, those of a teacher that nothing trainable lies
                upstream of, and each `TeacherVariable` whoever's it is. No gradient goes there.

        Returns:
            What `build` gets of them, by keys of its own.
        """
        return teacher

    @abstractmethod
    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        """The term as graph.

        Args:
            values: What `digest` returned, and the value of each other of `variables`, by the
                same keys.

        Returns:
            One scalar, unweighted.
        """

    def __mul__(self, factor: Finite | Schedule) -> Self:
        return attrs.evolve(self, weight=self.weight * factor)

    __rmul__ = __mul__

    def __add__(self, other: Never) -> Never:
        raise InvalidArgumentError(
            f"Expected losses one by one, got a sum of {shown(self)} and {shown(other)}.",
            "Put them in a list: apply(program, [a, b]) minimises their sum, and tells each.",
        )

    __radd__ = __add__

    def __repr__(self) -> str:
        return call_of(self)


_CLASSES: dict[str, type[LossSpec]] = {}
"""Kind -> the class that has it."""


def _claim_kind(loss: type[LossSpec]) -> None:
    """Notes the kind of a class, which may be made anew, as in a notebook."""
    kind: object = getattr(loss, "kind", None)
    if not isinstance(kind, str):
        raise InvalidArgumentError(
            f"Expected {loss.__name__} to have a kind, got {kind!r}.",
            'Write kind: ClassVar[str] = "..." in the class.',
        )
    check_name(kind, "a kind of losses")
    other = _CLASSES.setdefault(kind, loss)
    if (other.__module__, other.__qualname__) != (loss.__module__, loss.__qualname__):
        raise InvalidArgumentError(
            f"Expected {loss.__name__} to have a kind of its own, got {kind!r}, which is the kind "
            f"of {other.__module__}.{other.__qualname__}.",
            'Write another kind: ClassVar[str] = "..." in the class.',
        )
    _CLASSES[kind] = loss


@attrs.frozen
class PairLoss(LossSpec):
    """The base of losses between a variable of the teacher and one of the student.

    Attributes:
        teacher_var: What the teacher computed.
        student_var: What the student computed.
    """

    teacher_var: TeacherVariable
    student_var: StudentVariable

    def check(self, variables: Mapping[str, Variable]) -> None:
        """Refuses a pair that is not of one floating-point dtype.

        Raises:
            DtypeMismatchError: It is not.
        """
        check_floats({key: variables[key] for key in ("teacher_var", "student_var")})
