"""`print(program)` of a program with more values than a person reads."""

from __future__ import annotations

from collections.abc import Mapping

import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

import purdist
from tests import nets


def long(named: int, unnamed: int) -> purdist.Program:
    """A chain of scalings, the first ones with names."""

    def forward() -> Mapping[str, paddle.Tensor]:
        value = paddle.static.data("x", [None, 2])
        names = {}
        for k in range(named + unnamed):
            value = paddle.tanh(value)
            if k < named:
                names[f"block{k // 10}.{k % 10}"] = value
        return names

    return nets.program(forward)


def test_five_thousand_values() -> None:
    program = long(named=30, unnamed=4_970)
    assert len(program.variables) == 5_001
    shown = str(program).splitlines()
    assert shown[0].split() == ["name", "shape", "dtype", "role", "owner", "op", "layer"]
    assert [line.split()[0] for line in shown[1:-1]] == [
        "x",
        *(f"block{k}.{i}" for k in range(3) for i in range(10)),
    ]
    assert shown[-1] == "... and 4970 more. describe(match='layer1.*') shows any."
    assert len(program.describe().splitlines()) == 5_002
    assert len(program.describe("block1.*").splitlines()) == 11
    assert len(program.describe("tanh_499?").splitlines()) == 11


def test_many_names_are_cut_off() -> None:
    shown = str(long(named=500, unnamed=0)).splitlines()
    assert len(shown) == 202
    assert shown[-2].split()[0] == "block19.8"
    assert shown[-1] == "... and 301 more. describe(match='layer1.*') shows any."


def test_few_values_are_all_shown() -> None:
    program = long(named=10, unnamed=100)
    assert str(program) == program.describe()


def test_the_names_of_a_teacher_and_a_loss_that_are_made_up() -> None:
    teacher = long(named=0, unnamed=300)
    merged = purdist.merge(teacher, nets.program(nets.linear(sizes=(2, 2))), {"x": "x"})
    spec = purdist.L2Loss("teacher_tanh_299", "logits")
    shown = str(purdist.apply(merged, [spec]).program).splitlines()
    names = {line.split()[0] for line in shown[1:-1]}
    assert names == {"x", "dense_0.w", "dense_0.b", "logits", "teacher_x", "loss", "l2_0"}


# --- near names -------------------------------------------------------------------------


def advice(program: purdist.Program, name: str) -> str:
    """What is said to a name that no variable bears."""
    with pytest.raises(purdist.UnknownVariableError) as caught:
        program.variable(name)
    return caught.value.remedy


def layered(feed: str) -> purdist.Program:
    layer = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    return purdist.from_layer(layer, {feed: InputSpec([None, 6])})


@pytest.mark.usefixtures("dynamic")
def test_names_are_suggested_as_a_user_writes_them_each_variable_once() -> None:
    student = layered("x")
    assert student.variables["output"].name != "output"  # one of two names
    assert advice(student, "outptu") == "Did you mean output [-1, 4] float32?"
    assert advice(student, "weight") == (
        "Did you mean 2.weight [5, 4] float32 or 0.weight [6, 5] float32?"
    )
    merged = purdist.merge(layered("y"), student, {"y": "x"})
    assert advice(merged, "teacher_out").startswith(
        "Did you mean teacher_output [-1, 4] float32 or "
    )
    for name in ("teacher_out", "teacher_3", "teacher_0.weigth", "teacher_", "output_teacher"):
        keys = [part.split(" [")[0] for part in advice(merged, name)[13:-1].split(" or ")]
        known = [merged.variables[key] for key in keys]
        assert len({v.name for v in known}) == len(keys)
        weights = [v.role == "parameter" for v in known]
        assert weights == sorted(weights)  # activations first
    assert "teacher_0.weight [6, 5] float32" in advice(merged, "teacher_0.weigth")


def test_a_teachers_name_in_a_program_without_one() -> None:
    text = (
        "No teacher is merged into this program: give the one that merge(teacher, student, {...}) "
        "returned."
    )
    student = nets.program(nets.linear())
    for name in ("teacher_output", "teacher_logits", "teacher_"):
        assert advice(student, name) == text
    with pytest.raises(purdist.UnknownVariableError, match="No teacher is merged into this"):
        purdist.apply(student, [purdist.KDLoss("teacher_logits", "logits")])
    own = nets.program(lambda: {"teacher_head": paddle.static.data("x", [None, 6]) + 1.0})
    assert advice(own, "teacher_haed") == "Did you mean teacher_head [-1, 6] float32?"
