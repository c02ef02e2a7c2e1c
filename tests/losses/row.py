"""What a row of the table holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np

from purdist import LossSpec, NewInput
from purdist.testing import Arrays
from tests import nets
from tests.golden import references as ref
from tests.nets import Array

Shapes = Mapping[str, tuple[int, ...]]
Given = Mapping[str, Array]
Reference = Callable[[Given, ref.Weights], float]

LABEL = NewInput("label")
QKV = ("tq", "tk", "tv", "sq", "sk", "sv")


# --- laws -------------------------------------------------------------------------------


@attrs.frozen(eq=False)
class Sides:
    """What a loss reads of student and teacher: variable -> shape without the batch."""

    student: Shapes
    teacher: Shapes = attrs.field(factory=dict)


@attrs.frozen(eq=False)
class Case:
    """A loss, what it reads, and what is special about it.

    Attributes:
        spec: The loss.
        sides: What it reads.
        classes: Of the feed ``label``, if it reads that.
        tokens: Of the feed ``mask``, if it reads that.
        least: No value is below it.
        at_rest: The value where the student's first array is the teacher's, from that array;
            None where it depends on layers of the loss's own, or there is no teacher.
        ordered: The order of the batch counts.
    """

    spec: LossSpec
    sides: Sides
    classes: int = 0
    tokens: int = 0
    least: float = 0.0
    at_rest: Callable[[Array], float] | None = lambda _: 0.0
    ordered: bool = False

    def arrays(self, rows: int, fill: Callable[[tuple[int, ...]], Array]) -> dict[str, Arrays]:
        """The arguments of a law beside the loss."""
        random = np.random.RandomState(rows)
        inputs: dict[str, Array] = {}
        if self.classes:
            inputs["label"] = random.randint(0, self.classes, rows)
        if self.tokens:
            inputs["mask"] = random.randint(0, 2, (rows, self.tokens))
        return {
            "teacher": {k: fill((rows, *shape)) for k, shape in self.sides.teacher.items()},
            "student": {k: fill((rows, *shape)) for k, shape in self.sides.student.items()},
            "inputs": inputs,
        }


ONE = Sides({"s": (5,)})
LOGITS = Sides({"s": (5,)}, {"t": (5,)})
TWO_LOGITS = Sides({"s1": (5,), "s2": (5,)})
FEATURES = Sides({"s": (4,)}, {"t": (6,)})
MAPS = Sides({"s": (2, 4, 6)}, {"t": (3, 4, 6)})
SAME_MAPS = Sides({"s": (2, 5, 5)}, {"t": (2, 5, 5)})
OTHER_MAPS = Sides({"s": (2, 4, 6)}, {"t": (3, 5, 5)})
TWO_MAPS = Sides({"s1": (2, 6, 6), "s2": (3, 3, 3)}, {"t1": (3, 6, 6), "t2": (4, 3, 3)})
FLOWS = Sides({"s1": (2, 3, 4), "s2": (5, 3, 4)}, {"t1": (2, 3, 4), "t2": (5, 3, 4)})
TOKENS = Sides(dict.fromkeys(QKV[3:], (3, 4)), dict.fromkeys(QKV[:3], (3, 8)))


# --- the equations of the papers ----------------------------------------------------------


@attrs.frozen(eq=False)
class Equation:
    """A loss, the shapes of what it reads, and what it should be, in numpy.

    Variables that begin with ``t`` are the teacher's, with ``s`` the student's; ``label`` are
    labels of five classes and ``m`` is a mask of ever fewer tokens.
    """

    spec: LossSpec
    shapes: Shapes
    reference: Reference
    scale: float = 1.0

    def given(self) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for seed, (name, shape) in enumerate(self.shapes.items()):
            if name == "label":
                found[name] = np.random.RandomState(seed).randint(0, 5, shape)
            elif name == "m":
                found[name] = np.tri(*shape, dtype=np.int64)[::-1] * [[1], [1], [0]]
            else:
                found[name] = self.scale * nets.numbers(seed, *shape, dtype="float64")
        return found


def of(given: Given, side: str) -> dict[str, Array]:
    """The arrays of the teacher, ``t``, or of the student, ``s``."""
    return {name: array for name, array in given.items() if name[0] == side}


SCORES = {"t": (6, 5), "s": (6, 5)}
LABELLED = {**SCORES, "label": (6,)}
EMBEDDED = {**dict.fromkeys(QKV[:3], (3, 4, 12)), **dict.fromkeys(QKV[3:], (3, 4, 6))}


def maps(teacher: tuple[int, ...], student: tuple[int, ...]) -> Shapes:
    return {"t": (3, *teacher), "s": (3, *student)}


# --- what is refused ----------------------------------------------------------------------


@attrs.frozen(eq=False)
class Refusal:
    """A loss, variables that it is not defined for, and what is said.

    Attributes:
        spec: The loss.
        variables: Variable -> ``"8 5"``, its shape, with a dtype behind it if it is not float32.
        text: The text of the error.
    """

    spec: LossSpec
    variables: Mapping[str, str]
    text: str


KNOWN = "\nBuild the network for inputs of a known size; the batch may stay unknown."
RANK = "\nName a variable of that rank, or reshape this one in its network."
SAME = "\nName variables of the same shape, or adapt one to the other in a CustomLoss."
BATCH = "\nTeacher and student must see the same samples: look at what merge was given."
LAYERS = "\nName Q, K and V of one layer each, for the same tokens."
SINGLE = (
    ": a softmax over one is 1, whatever the logit.\nTeach single logits by a sigmoid: "
    "CustomLoss(lambda s, t: F.binary_cross_entropy_with_logits(s, F.sigmoid(t)), "
    "dict(s='s', t='t'))."
)


# --- the row ------------------------------------------------------------------------------


@attrs.frozen(eq=False, kw_only=True)
class Row:
    """All that the tests know of a loss.

    Attributes:
        cases: The loss in the forms that laws, extremes, printing and data are tried on.
        refused: Variables that it refuses, at least once.
        refused_arguments: What makes one with a wrong argument, and what is said.
        defaults: What its hyper-parameters are where nobody says: those of its source's code.
        over_classes: It is a softmax's: a class may be masked, and one class is refused.
        golden: Entry of ``golden/losses.json`` -> the loss that it is of, from its params, on the
            variables ``teacher_0``, ``student_0``, ... and the feed `LABEL`.
        equations: Name -> an option of it that has no such entry, against numpy.
    """

    cases: tuple[Case, ...]
    refused: tuple[Refusal, ...]
    refused_arguments: tuple[tuple[Callable[[], LossSpec], str], ...] = ()
    defaults: Mapping[str, object] = attrs.field(factory=dict)
    over_classes: bool = False
    golden: Mapping[str, Callable[[Mapping[str, Any]], LossSpec]] = attrs.field(factory=dict)
    equations: Mapping[str, Equation] = attrs.field(factory=dict)

    @property
    def loss(self) -> type[LossSpec]:
        return type(self.cases[0].spec)
