from __future__ import annotations

import gc
import threading
from collections.abc import Mapping

import attrs
import numpy as np
import paddle
import pytest

import purdist
from tests import nets
from tests.nets import Array, Net


def feed(batch: int = 3) -> dict[str, Array]:
    return {"x": nets.numbers(0, batch, 6)}


def test_run_answers_in_the_order_asked() -> None:
    program = nets.program(nets.linear())
    got = program.run(feed(), ["logits", "x", "tanh_0", "dense_0.b"])
    assert list(got) == ["logits", "x", "tanh_0", "dense_0.b"]
    assert {name: array.shape for name, array in got.items()} == {
        "logits": (3, 4),
        "x": (3, 6),
        "tanh_0": (3, 5),
        "dense_0.b": (5,),
    }
    assert got["x"].tobytes() == feed()["x"].tobytes()
    assert got["dense_0.b"].tobytes() == nets.weights(program)["dense_0.b"].tobytes()


def test_a_name_asked_for_twice_is_answered_once() -> None:
    program = nets.program(nets.linear())
    assert list(program.run(feed(), ["logits", "logits"])) == ["logits"]
    assert program.run(feed(), []) == {}


def test_only_the_inputs_of_what_is_fetched_need_be_fed() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        one, other = (paddle.static.data(name, [None, 2]) for name in "ab")
        return {"one": one * 2, "both": one + other}

    program = nets.program(forward)
    a, b = nets.numbers(0, 3, 2), nets.numbers(1, 3, 2)
    assert program.run({"a": a}, ["one"])["one"].tobytes() == (a * 2).tobytes()
    assert program.run({"a": a, "b": b}, ["one"])["one"].tobytes() == (a * 2).tobytes()
    assert program.run({"a": a, "b": b}, ["both"])["both"].tobytes() == (a + b).tobytes()
    with pytest.raises(purdist.FeedError):
        program.run({"a": a}, ["both"])


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda array: array[::2, ::2], id="every second"),
        pytest.param(lambda array: array[:6, :6].T, id="turned"),
        pytest.param(lambda array: np.asfortranarray(array[:6, :6]), id="by columns"),
        pytest.param(lambda array: array[:0, :6], id="empty"),
    ],
)
def test_feeds_may_lie_in_memory_as_they_like(view: object) -> None:
    assert callable(view)
    array = view(nets.numbers(0, 12, 12))
    program = nets.program(nets.linear())
    expected = program.run({"x": np.ascontiguousarray(array)}, ["logits"])["logits"]
    got = program.run({"x": array}, ["logits"])["logits"]
    assert got.shape == (len(array), 4)
    assert got.tobytes() == expected.tobytes()


def test_what_run_returns_is_the_callers_own() -> None:
    program = nets.program(nets.linear())
    first = program.run(feed(), ["dense_0.w", "logits"])
    kept = {name: array.copy() for name, array in first.items()}
    for array in first.values():
        array[:] = 0
    assert nets.moved(kept, program.run(feed(), ["dense_0.w", "logits"])) == set()


def test_run_sees_the_weights_as_training_left_them() -> None:
    program = nets.program(nets.linear())
    spec = purdist.CustomLoss(lambda logits: logits.square().mean(), {"logits": "logits"})
    training = purdist.minimize(purdist.apply(program, [spec]), lambda: paddle.optimizer.SGD(0.1))
    losses = [
        (step.loss, float(training.program.run(feed(), ["loss"])["loss"]))
        for step in purdist.train(training, [feed()] * 4)
    ]
    before, after = zip(*losses, strict=True)
    assert after[:-1] == before[1:]
    assert len(set(after)) == 4


def test_more_fetches_than_are_kept_compiled_are_answered_all_the_same() -> None:
    program = nets.program(nets.linear(sizes=(6,) * 12))
    names = [name for name, v in program.variables.items() if v.role == "activation"]
    at_once = program.run(feed(), names)
    for _ in range(2):
        for name in names:
            assert program.run(feed(), [name])[name].tobytes() == at_once[name].tobytes()


def test_threads_may_run_one_program() -> None:
    program = nets.program(nets.linear())
    batches = [feed(k + 1) for k in range(8)]
    expected = [program.run(batch, ["logits"])["logits"] for batch in batches]
    got: list[list[Array]] = [[] for _ in batches]

    def work(k: int) -> None:
        got[k] = [program.run(batches[k], ["logits"])["logits"] for _ in range(5)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for array, repeated in zip(expected, got, strict=True):
        assert [one.tobytes() for one in repeated] == [array.tobytes()] * 5


def test_a_program_keeps_what_it_needs_alive() -> None:
    net = Net.of(nets.linear())
    expected = net.program().run(feed(), ["logits"])
    program = net.program()
    del net
    gc.collect()
    assert nets.moved(expected, program.run(feed(), ["logits"])) == set()
    graph = program.graph
    del program
    gc.collect()
    assert "tanh" in str(graph)


def test_values_are_frozen() -> None:
    program = nets.program(nets.linear())
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        program.place = program.place  # type: ignore[misc]
    assert isinstance(program.variables, Mapping)
    with pytest.raises(TypeError, match="does not support item assignment"):
        program.variables["new"] = program.variables["x"]  # type: ignore[index]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        program.variables["x"].name = "y"  # type: ignore[misc]


def test_programs_are_equal_to_themselves_alone() -> None:
    net = Net.of(nets.linear())
    one, other = net.program(), net.program()
    operations = str(net.main)
    assert one == one
    assert one != other
    assert len({one, other}) == 2
    assert str(net.main) == operations


def test_describe_is_a_table_to_pick_names_from() -> None:
    teacher = nets.program(nets.linear("y", (6, 4)))
    merged = purdist.merge(teacher, nets.program(nets.linear(sizes=(6, 4))), {"y": "x"})
    assert str(merged) == merged.describe()
    assert merged.describe("teacher_*").splitlines() == [
        "name               shape    dtype    role        owner    op         layer",
        "teacher_dense_0.b  [4]      float32  parameter   teacher  parameter         frozen",
        "teacher_dense_0.w  [6, 4]   float32  parameter   teacher  parameter         frozen",
        "teacher_y          [-1, 6]  float32  activation  teacher  data",
        "teacher_matmul_0   [-1, 4]  float32  activation  teacher  matmul",
        "teacher_logits     [-1, 4]  float32  activation  teacher  add",
    ]
    assert merged.describe("none such").splitlines() == [
        "name  shape  dtype  role  owner  op  layer"
    ]


def test_describe_says_what_training_alone_computes() -> None:
    table = nets.program(nets.images()).describe("dropout_*")
    assert table.splitlines()[1].split()[-2:] == ["training", "only"]


def test_a_short_text_tells_programs_apart() -> None:
    program = nets.program(nets.linear())
    assert repr(program) == "<Program inputs=['x'] parameters=4 variables=10 place=Place(cpu)>"


def test_a_variable_is_looked_up_by_name() -> None:
    program = nets.program(nets.linear())
    assert program.variable("logits") is program.variables["logits"]
    assert str(program.variable("logits")) == "logits [-1, 4] float32"
    with pytest.raises(purdist.UnknownVariableError):
        program.variable("logit")
