"""`print(program)` of a program with more values than a person reads."""

from __future__ import annotations

from collections.abc import Mapping

import paddle

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


def test_twenty_thousand_values() -> None:
    program = long(named=30, unnamed=19_970)
    assert len(program.variables) == 20_001
    shown = str(program).splitlines()
    assert shown[0].split() == ["name", "shape", "dtype", "role", "owner", "op", "layer"]
    assert [line.split()[0] for line in shown[1:-1]] == [
        "x",
        *(f"block{k}.{i}" for k in range(3) for i in range(10)),
    ]
    assert shown[-1] == "... and 19970 more. describe(match='layer1.*') shows any."
    assert len(program.describe().splitlines()) == 20_002
    assert len(program.describe("block1.*").splitlines()) == 11
    assert len(program.describe("tanh_1999?").splitlines()) == 11


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
