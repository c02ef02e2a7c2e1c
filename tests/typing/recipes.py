"""A package built on purdist from outside: recipes of losses by name, in files, with its own.

It is typed as a user's module is, who has purdist as a wheel and Paddle's own types.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ClassVar, TypeAlias, TypeVar, assert_never

import attrs
import paddle

import purdist
from purdist import (
    CrossEntropyLoss,
    CustomLoss,
    DKDLoss,
    KDLoss,
    L2Loss,
    LossSpec,
    NewInput,
    PairLoss,
    Program,
    Schedule,
    StudentVariable,
    TeacherVariable,
    Variable,
)
from purdist.losses.arguments import Number
from purdist.losses.checks import check_floats, check_same_shape
from purdist.losses.rows import mean_of_rows

Recipe: TypeAlias = tuple[LossSpec, ...]
"""What a student learns from, term by term."""

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain]"
"""What a file holds."""

Loss = TypeVar("Loss", bound=LossSpec)

# --- losses of its own --------------------------------------------------------------------

MODERATE = Number(least=0.1, most=10)
"""What float32 has digits for."""


@attrs.frozen
class LogCoshLoss(PairLoss):
    """mean(log(cosh((s - t) / scale))): squares near zero, absolute values far off."""

    kind: ClassVar[str] = "recipes.log_cosh"

    scale: float = attrs.field(default=1.0, kw_only=True, validator=MODERATE)

    def check(self, variables: Mapping[str, Variable]) -> None:
        super().check(variables)
        check_same_shape(variables, "teacher_var", "student_var")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        far = (values["student_var"] - values["teacher_var"]).abs() / self.scale
        return mean_of_rows(far + (1 + (-2 * far).exp()).log() - 0.6931471805599453)


@attrs.frozen
class StagesLoss(LossSpec):
    """The mean of the squares of several stages, each weighed by its share."""

    kind: ClassVar[str] = "recipes.stages"

    teacher_vars: tuple[TeacherVariable, ...]
    student_vars: tuple[StudentVariable, ...]
    decay: float = attrs.field(default=1.0, kw_only=True, validator=MODERATE)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if len(self.teacher_vars) != len(self.student_vars):
            raise purdist.InvalidArgumentError(
                f"Expected as many stages of both, got {len(self.teacher_vars)} of the teacher and "
                f"{len(self.student_vars)} of the student.",
                "Name them in pairs.",
            )

    def _pairs(self) -> Iterator[tuple[str, str]]:
        for k in range(len(self.teacher_vars)):
            yield f"teacher_vars[{k}]", f"student_vars[{k}]"

    def check(self, variables: Mapping[str, Variable]) -> None:
        check_floats(variables)
        for teacher, student in self._pairs():
            check_same_shape(variables, teacher, student)

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        terms = [
            self.decay**k * (values[student] - values[teacher]).square().mean()
            for k, (teacher, student) in enumerate(self._pairs())
        ]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total


OWN: tuple[type[LossSpec], ...] = (LogCoshLoss, StagesLoss)

# --- recipes, and a registry of them --------------------------------------------------------

LABEL = NewInput("label")


def warmed(loss: Loss, steps: int = 500) -> Loss:
    """The same loss, which comes in by and by."""
    return Schedule.warmup(steps) * loss


def faded(loss: Loss, steps: int) -> Loss:
    """The same loss, which goes out by and by."""
    return Schedule.cosine(1.0, 0.0, steps) * loss


def hinton() -> Recipe:
    soft = KDLoss("teacher_logits", "logits", temperature=4.0)
    return 0.9 * soft, 0.1 * CrossEntropyLoss("logits", LABEL)


def decoupled() -> Recipe:
    return warmed(DKDLoss("teacher_logits", "logits", LABEL)), CrossEntropyLoss("logits", LABEL)


def staged() -> Recipe:
    stages = StagesLoss(("teacher_features", "teacher_logits"), ("features", "logits"), decay=0.5)
    near = LogCoshLoss("teacher_logits", "logits", scale=2.0, name="near")
    return (*hinton(), faded(stages, 1_000), 0.0 * near)


REGISTRY: dict[str, Callable[[], Recipe]] = {}


def register(name: str, make: Callable[[], Recipe]) -> Callable[[], Recipe]:
    """Makes a recipe known by name."""
    if name in REGISTRY:
        raise ValueError(f"There is a recipe {name!r} already.")
    REGISTRY[name] = make
    return make


for made in (hinton, decoupled, staged):
    register(made.__name__, made)


def recipe(name: str, *, scale: float = 1.0, prefix: str = "teacher_") -> Recipe:
    """The recipe of that name, all its terms scaled, of a teacher with that prefix."""
    return tuple(scale * loss for loss in of_teacher(REGISTRY[name](), prefix))


# --- other networks -------------------------------------------------------------------------


def of_teacher(losses: Iterable[Loss], prefix: str) -> tuple[Loss, ...]:
    """The same losses of a teacher with another prefix."""

    def moved(name: str) -> str:
        return prefix + name.removeprefix("teacher_") if name.startswith("teacher_") else name

    return tuple(loss.map_variables(moved) for loss in losses)


def of_network(losses: Iterable[Loss], names: Mapping[str, str | NewInput]) -> tuple[Loss, ...]:
    """The same losses of a network whose variables are called otherwise."""
    return tuple(loss.renamed(names) for loss in losses)


# --- what stands in a recipe ----------------------------------------------------------------


def in_words(loss: LossSpec) -> str:
    """A term for people."""
    match loss:
        case KDLoss(teacher_var=str(teacher), temperature=temperature) if temperature != 1:
            return f"softened by {temperature:g} from {teacher}"
        case CrossEntropyLoss(label=NewInput(name=label)):
            return f"labels from {label}"
        case StagesLoss(teacher_vars=(_, _, *_) as several):
            return f"{len(several)} stages"
        case LogCoshLoss(weight=0):
            return "near, watched alone"
        case PairLoss(teacher_var=teacher, student_var=student):
            return f"{student} like {teacher}"
        case _:
            return loss.kind


def share(weight: float | Schedule, step: int) -> float:
    """What a weight is at a step."""
    match weight:
        case Schedule():
            return weight.at(step)
        case int() | float():
            return weight
    assert_never(weight)


def reads(losses: Iterable[LossSpec]) -> frozenset[str]:
    """The names of all variables that are read."""
    every = (read for loss in losses for read in loss.variables.values())
    return frozenset(read if isinstance(read, str) else read.name for read in every)


# --- files ----------------------------------------------------------------------------------


def to_toml(losses: Iterable[LossSpec]) -> str:
    """A file of losses, as tables."""
    return "\n".join(map(_table, purdist.losses_to_data(losses)))


def _table(loss: Mapping[str, Plain]) -> str:
    fields = (f"{name} = {_written(value)}" for name, value in loss.items())
    return "\n".join(("[[losses]]", *fields))


def _written(value: Plain) -> str:
    """A value as TOML has it, on one line."""
    match value:
        case dict():
            pairs = (f"{name} = {_written(inner)}" for name, inner in value.items())
            return "{" + ", ".join(pairs) + "}"
        case list():
            return "[" + ", ".join(map(_written, value)) + "]"
        case _:
            return json.dumps(value)


def from_toml(text: str) -> Recipe:
    """What stands in such a file."""
    return purdist.losses_from_data(tomllib.loads(text)["losses"], own=OWN)


# --- a whole run ----------------------------------------------------------------------------


def mean_square(value: paddle.Tensor) -> paddle.Tensor:
    return value.square().mean()


def penalty(name: str) -> CustomLoss:
    """Keeps what the student computes small."""
    return 1e-3 * CustomLoss(mean_square, {"value": name})


def paired(
    teacher: Program,
    student: Program,
    data_name_map: Mapping[str, str],
    *,
    name_prefix: str = "teacher_",
) -> Program:
    """Both networks in one program."""
    return purdist.merge(teacher, student, dict(data_name_map), name_prefix=name_prefix)


def distilled(
    teacher: Program,
    student: Program,
    inputs: Mapping[str, str],
    losses: Iterable[LossSpec],
    batches: Iterable[purdist.Feed],
    make_optimizer: purdist.MakeOptimizer,
) -> tuple[Program, list[float]]:
    """The student after all batches, and what the loss was at each."""
    distillation = purdist.apply(paired(teacher, student, inputs), losses)
    training = purdist.minimize(distillation, make_optimizer, seed=0)
    told = [
        sum(step.terms[term] * factor for term, factor in step.weights.items())
        for step in purdist.train(training, batches)
    ]
    return purdist.student_of(training), told


L2_OF_LOGITS: L2Loss = 0.5 * L2Loss("teacher_logits", "logits")
