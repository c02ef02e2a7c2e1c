"""What a loss reads, said by the types of its fields, and what a class of losses must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, ClassVar, Final, Literal, LiteralString, NewType, Protocol, TypedDict

import attrs
import numpy as np
import paddle
import pytest

import purdist
from purdist import (
    InvalidArgumentError,
    Label,
    LossSpec,
    Mask,
    NewInput,
    PairLoss,
    StudentVariable,
    TeacherVariable,
    losses_from_data,
    losses_to_data,
)
from purdist.testing import evaluate_loss
from tests import nets

Values = Mapping[str, paddle.Tensor]


@attrs.frozen
class MaskedHintLoss(LossSpec):
    """Reads pairs, labels and a mask, under names that say nothing of what they are."""

    kind: ClassVar[str] = "masked_hint"

    hints: tuple[tuple[TeacherVariable, StudentVariable], ...]
    right: Label
    margin: float = attrs.field(default=0.0, kw_only=True)
    counted: Mask | None = attrs.field(default=None, kw_only=True)
    teacher_of: str = attrs.field(default="", kw_only=True)
    extra: tuple[Mask, Label] | None = attrs.field(default=None, kw_only=True)

    def build(self, values: Values) -> paddle.Tensor:
        errors = [
            (values[f"hints[{k}][1]"] - values[f"hints[{k}][0]"]).square()
            for k in range(len(self.hints))
        ]
        counted = values["counted"].astype("float32").unsqueeze(1)
        total = paddle.stack([counted * error for error in errors]).sum(axis=0).mean()
        return total + 0 * values["right"].astype("float32").mean()


HINTS = (("a", "b"), ("c", NewInput("d", (-1, 3), "float32")))


def test_variables_are_found_by_type_in_tuples_and_beside_none() -> None:
    spec = MaskedHintLoss(HINTS, "y")
    assert spec.variables == {
        "hints[0][0]": "a",
        "hints[0][1]": "b",
        "hints[1][0]": "c",
        "hints[1][1]": HINTS[1][1],
        "right": "y",
    }
    spec = MaskedHintLoss((), "y", counted="m", extra=("n", "z"), teacher_of="x")
    assert {key: spec.part(key) for key in spec.variables} == {
        "right": "label",
        "counted": "mask",
        "extra[0]": "mask",
        "extra[1]": "label",
    }
    assert spec.part("teacher_of") is None


def test_what_is_declared_decides_where_gradients_go() -> None:
    rows = {name: nets.numbers(k, 4, 3) for k, name in enumerate("abc")}
    fed = {"d": nets.numbers(3, 4, 3), "y": np.zeros(4, "int64"), "m": np.array([1, 1, 0, 0])}
    found = evaluate_loss(
        MaskedHintLoss(HINTS, "y", counted=NewInput("m")),
        student=rows,  # two of which the loss listens to
        inputs=fed,
    )
    errors = np.square(rows["a"] - rows["b"]) + np.square(rows["c"] - fed["d"])
    assert found.value == pytest.approx((errors * fed["m"][:, None]).mean(), rel=1e-5)
    assert found.gradients.keys() == {"b"}


def test_a_student_variable_that_is_a_teachers_is_refused_whatever_its_field_is_called() -> None:
    student, teacher = nets.program(nets.linear()), nets.program(nets.linear())
    merged = purdist.merge(teacher, student, {"x": "x"})
    spec = MaskedHintLoss([("logits", "teacher_logits")], NewInput("y"))  # type: ignore[arg-type]
    spec = attrs.evolve(spec, hints=tuple(spec.hints))
    with pytest.raises(InvalidArgumentError) as caught:
        purdist.apply(merged, [spec])
    assert "Expected hints[0][1] to be a variable that learns" in caught.value.problem
    assert caught.value.remedy == "Teacher and student are swapped: exchange the two names."


@attrs.frozen
class TokenLoss(LossSpec):
    """Reads one variable that learns, under a name that begins as that of a teacher's would."""

    kind: ClassVar[str] = "tokens"

    tokens: StudentVariable

    def build(self, values: Values) -> paddle.Tensor:
        return values["tokens"].square().mean()


def test_whether_a_variable_teaches_itself_is_a_matter_of_types_and_not_of_names() -> None:
    student = nets.program(nets.linear())
    assert purdist.apply(student, [TokenLoss("logits")]).terms == ("tokens_0",)
    hints = (("tanh_0", "logits"), ("logits", "logits"))
    with pytest.raises(InvalidArgumentError) as caught:
        purdist.apply(student, [MaskedHintLoss(hints, NewInput("y"))])
    assert "Expected hints[1][0] and hints[1][1] to be two variables" in caught.value.problem


def test_a_loss_of_all_types_is_plain_data() -> None:
    spec = MaskedHintLoss(HINTS, NewInput("y"), counted="m", extra=("n", NewInput("z")))
    data = losses_to_data([spec])
    assert losses_from_data(data, own=[MaskedHintLoss]) == (spec,)


@pytest.mark.parametrize("value", [1, None, ("t",)])
def test_what_is_no_name_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="Expected student_var to be the name of a var"):
        purdist.L2Loss("t", value)


def built(_: object, values: Values) -> paddle.Tensor:
    return next(iter(values.values())).mean()


def of_fields(**types: Any) -> Callable[[], object]:
    """What makes a class of losses with fields of these types."""

    def make() -> object:
        body = {"__annotations__": types, "kind": "of_fields", "build": built}
        return attrs.frozen(type("OfFields", (LossSpec,), {**body, "__module__": __name__}))

    return make


FOUR = "TeacherVariable, StudentVariable, Label or Mask"
KINDS = 'Write another kind: ClassVar[str] = "..." in the class.'


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            of_fields(a="TeacherVariable", b="str | NewInput"),
            "Expected OfFields.b to say what the loss reads there, got the type str | "
            f"NewInput.\nDeclare it as {FOUR}, as one of them beside None, or "
            "as a tuple of them.",
        ),
        (
            of_fields(a="dict[str, TeacherVariable]"),
            "Expected OfFields.a to say what the loss reads there, got the type dict[str, "
            f"TeacherVariable].\nDeclare it as {FOUR}, as one of them beside None, or as a "
            "tuple of them.",
        ),
        (
            of_fields(teacher_var=str, scale=float),
            "Expected OfFields to have a field that says what the loss reads, got weight: float | "
            "Schedule, name: str | None, teacher_var: str, scale: float."
            f"\nDeclare the names of variables as {FOUR}, of purdist.",
        ),
        (
            of_fields(a="TeacherVariable", b="Decimal"),
            "Expected the type of OfFields.b, 'Decimal', to name what its module has when the "
            "class is made, got name 'Decimal' is not defined.\nImport or define Decimal at the "
            "top of tests.unit.test_fields, outside of functions and of `if TYPE_CHECKING`.",
        ),
        (
            lambda: attrs.frozen(
                type("Mine", (PairLoss,), {"__annotations__": {"teacher_var": "str"}})
            ),
            "Expected Mine.teacher_var to stay of type TeacherVariable, got str.\n"
            "Leave teacher_var out of the class: it has it from its base.",
        ),
        (
            lambda: attrs.frozen(type("Mine", (PairLoss,), {"build": built, "__module__": "m"})),
            'Expected Mine to have a kind, got None.\nWrite kind: ClassVar[str] = "..." in the '
            "class.",
        ),
        (
            lambda: attrs.frozen(type("Mine", (purdist.KDLoss,), {"__module__": "m"})),
            "Expected Mine to have a kind of its own, got 'kd', which is the kind of "
            f"{purdist.KDLoss.__module__}.KDLoss.\n{KINDS}",
        ),
        (
            lambda: type("Mine", (purdist.KDLoss,), {"kind": "mine", "__module__": "m"})("t", "s"),
            "Expected Mine to be an attrs class, got one without a decorator.\n"
            "Write @attrs.frozen above `class Mine`.",
        ),
    ],
    ids=[
        "no part",
        "in a dict",
        "nothing read",
        "unknown",
        "no longer read",
        "no kind",
        "taken",
        "no decorator",
    ],
)
def test_a_class_that_is_none_is_refused(make: Callable[[], object], text: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        make()
    assert str(caught.value) == text


class Of(Protocol):
    """What is no class to ask at run time."""

    def read(self) -> int: ...


class Size(TypedDict):
    rows: int


class Way(Enum):
    UP = "up"


Rows = NewType("Rows", int)


@pytest.mark.parametrize(
    ("declared", "value", "wrong"),
    [
        (tuple, (1, "a"), 3),
        (list, [1, "a"], 3),
        (list[int], [1, 2], ["a"]),
        (tuple[int, ...], (1, 2), ("a",)),
        (Rows, 3, "a"),
        (Literal[Way.UP], Way.UP, "up"),
        (Of, object(), None),
        (Size, {"rows": 3}, None),
        (LiteralString, "a", None),
        (Final[int], 3, None),
    ],
    ids=lambda of: str(of) if type(of) is not object else "object",
)
def test_a_field_takes_what_its_type_says_and_keeps_it_so(
    declared: Any, value: object, wrong: object
) -> None:
    body = {
        "__module__": __name__,
        "__annotations__": {"held": declared},
        "kind": "held",
        "build": lambda *_: None,
    }
    made: Any = attrs.frozen(type("HeldLoss", (PairLoss,), body))
    held = made("t", "s", value).held
    assert held == value
    assert type(held) is type(value)
    if wrong is not None:
        with pytest.raises(InvalidArgumentError, match="Expected held"):
            made("t", "s", wrong)


def test_a_class_may_be_made_anew() -> None:
    make = of_fields(a="TeacherVariable")
    assert make() is not make()


def test_an_abstract_class_needs_no_kind() -> None:
    attrs.frozen(type("Base", (PairLoss,), {"__module__": __name__}))


def test_each_type_is_resolved_where_its_field_is_declared(tmp_path: Any) -> None:
    (tmp_path / "base.py").write_text(
        "from __future__ import annotations\nimport attrs\n"
        "from purdist import PairLoss, Label as Right\n"
        "@attrs.frozen\nclass Base(PairLoss):\n    right: Right\n"
    )
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\nimport attrs, base\nfrom purdist import Mask as Seen\n"
        "@attrs.frozen\nclass MineLoss(base.Base):\n    kind = 'mine'\n    seen: Seen\n"
        "    def build(self, values): ...\n"
    )
    script = "import mine; print(*mine.MineLoss('a', 'b', 'c', 'd').variables)"
    printed = nets.in_a_process(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {script}")
    assert printed == "teacher_var student_var right seen\n"


@attrs.frozen
class Aliased(LossSpec):
    """A loss whose fields are not called as what it is made with."""

    kind: ClassVar[str] = "aliased"

    _taught: TeacherVariable
    var: StudentVariable = attrs.field(alias="student")

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        return (values["var"] - values["_taught"]).abs().mean()


def test_fields_with_another_argument_move_and_are_told_by_their_names() -> None:
    loss = Aliased("t", student="s")
    assert loss.renamed({}) == loss
    assert loss.renamed({"t": "u", "s": "v"}) == Aliased("u", student="v")
    with pytest.raises(InvalidArgumentError, match=r"one of weight, name, _taught, var\."):
        losses_from_data([{"kind": "aliased", "_taught": "t", "student": "s"}], own=[Aliased])
