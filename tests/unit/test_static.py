from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle
import pytest

import purdist
from purdist import graphs
from purdist.variables import changes
from tests import nets
from tests.nets import Net

Function = Callable[[paddle.Tensor], paddle.Tensor]


def feed(*shape: int) -> dict[str, nets.Array]:
    return {"x": nets.numbers(0, 3, *shape)}


def by_paddle(net: Net, value: paddle.Tensor, feed: dict[str, nets.Array]) -> nets.Array:
    """What Paddle's executor makes of a network as it stands."""
    executor = paddle.static.Executor()
    (array,) = executor.run(net.main, feed=feed, fetch_list=[value], scope=net.scope)
    return np.asarray(array)


def test_a_pir_network_computes_what_paddle_computes() -> None:
    net = Net.of(nets.linear())
    expected = by_paddle(net, net.names["logits"], feed(6))
    assert net.program().run(feed(6), ["logits"])["logits"].tobytes() == expected.tobytes()


def test_values_without_a_name_get_one_by_op_and_number() -> None:
    program = nets.program(nets.linear(sizes=(6, 5, 5, 4)))
    computed = [name for name, v in program.variables.items() if v.role == "activation"]
    assert computed == [
        *("matmul_0", "add_0", "tanh_0"),
        *("matmul_1", "add_1", "tanh_1"),
        *("matmul_2", "logits"),
    ]
    assert program.inputs == ("x",)
    assert set(program.parameters) == {f"dense_{k}.{kind}" for k in range(3) for kind in "wb"}


def test_a_made_name_gives_way_to_a_given_one() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        value = paddle.static.data("x", [None, 6])
        first, second = paddle.tanh(value), paddle.exp(value)
        return {"tanh_0": second, "exp_0": first}

    program = nets.program(forward)
    got = program.run(feed(6), ["tanh_0", "exp_0"])
    assert got["exp_0"] == pytest.approx(np.tanh(feed(6)["x"]), rel=1e-6)
    assert got["tanh_0"] == pytest.approx(np.exp(feed(6)["x"]), rel=1e-6)


def test_one_value_may_have_several_names() -> None:
    net = Net.of(nets.linear())
    names = {"logits": net.names["logits"], "answers": net.names["logits"]}
    program = purdist.from_static(net.main, scope=net.scope, names=names)
    assert program.variables["answers"] is program.variables["logits"]
    assert program.variables["answers"].name == "logits"
    got = program.run(feed(6), ["logits", "answers"])
    assert got["logits"].tobytes() == got["answers"].tobytes()
    assert "another name of logits" in program.describe("answers")


def test_what_is_known_of_every_role() -> None:
    program = nets.program(nets.images())
    known = {name: program.variables[name] for name in program.variables}
    roles = {
        "x": ("input", False, False),
        "conv2d_0.w_0": ("parameter", True, True),
        "batch_norm2d_0.w_0": ("parameter", True, True),
        "batch_norm2d_0.w_1": ("buffer", False, True),
        "batch_norm2d_0.w_2": ("buffer", False, True),
        "logits": ("activation", False, False),
    }
    for name, expected in roles.items():
        variable = known[name]
        assert (variable.role, variable.trainable, changes(variable)) == expected, name
        assert variable.owner == "student"
    assert (known["x"].shape, known["x"].dtype) == ((-1, 1, 4, 4), "float32")
    assert known["dropped"].op == "dropout"
    assert known["normed"].layer == "BatchNorm2D"
    assert set(program.weights) - set(program.parameters) == {
        "batch_norm2d_0.w_1",
        "batch_norm2d_0.w_2",
    }


def test_inference_mode_reaches_into_regions() -> None:
    program = nets.program(nets.looping())
    before = nets.weights(program)
    once, twice = (program.run(feed(6), ["logits"])["logits"] for _ in range(2))
    assert once.tobytes() == twice.tobytes()
    assert nets.moved(before, nets.weights(program)) == set()


def test_batch_norm_infers_with_what_it_gathered() -> None:
    net = Net.of(nets.images())
    by_paddle(net, net.names["logits"], feed(1, 4, 4))  # gathers
    program = net.program()
    held = nets.weights(program)
    got = program.run(feed(1, 4, 4), ["convolved", "normed"])
    mean, variance = (held[f"batch_norm2d_0.w_{k}"].reshape(1, 3, 1, 1) for k in (1, 2))
    expected = (got["convolved"] - mean) / np.sqrt(variance + 1e-5)
    assert got["normed"] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_frozen_parameter_is_known_as_frozen() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        attr = paddle.ParamAttr(trainable=False)
        layer = paddle.nn.Linear(6, 4, weight_attr=attr)
        return {"logits": layer(paddle.static.data("x", [None, 6]))}

    program = nets.program(forward)
    weight, bias = (program.variables[f"linear_0.{kind}_0"] for kind in "wb")
    assert (weight.role, weight.trainable, changes(weight)) == ("parameter", False, False)
    assert (bias.role, bias.trainable, changes(bias)) == ("parameter", True, True)
    assert "frozen" in program.describe("linear_0.w_0")
    assert "frozen" not in program.describe("linear_0.b_0")


def test_the_global_scope_is_the_default() -> None:
    net = Net.of(nets.linear(), initialised=False)
    paddle.static.Executor().run(net.startup)
    program = purdist.from_static(net.main, names=net.names)
    assert nets.moved(nets.weights(program), nets.read(paddle.static.global_scope())) == set()


def test_a_loaded_inference_model_is_taken(tmp_path: object) -> None:
    net, path = Net.of(nets.images()), f"{tmp_path}/model"
    executor, value = paddle.static.Executor(), net.names["logits"]
    with paddle.static.scope_guard(net.scope), paddle.static.program_guard(net.main):
        image = next(
            op.result(0) for op in net.main.global_block().ops if op.name() == "pd_op.data"
        )
        paddle.static.save_inference_model(path, [image], [value], executor, program=net.main)
    scope = paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        main, _, fetches = paddle.static.load_inference_model(path, executor)
    program = purdist.from_static(main, scope=scope, names={"logits": fetches[0]})
    got = program.run(feed(1, 4, 4), ["logits"])["logits"]
    expected = net.program().run(feed(1, 4, 4), ["logits"])["logits"]
    assert got == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("form", ["as it stands", "from a file"])
def test_what_drops_when_it_trains_is_what_the_program_says(form: str, tmp_path: Path) -> None:
    def infers() -> dict[str, paddle.Tensor]:
        value = paddle.static.data("x", [None, 6])
        return {"logits": paddle.nn.functional.dropout(nets.dense(value, 6, 4), training=False)}

    program = nets.program(infers)
    if form == "from a file":  # which holds no more than how a network infers
        purdist.export(program, tmp_path / "model", ["logits"])
        scope = paddle.static.Scope()
        with paddle.static.scope_guard(scope):
            main, _, _ = paddle.static.load_inference_model(
                str(tmp_path / "model"), paddle.static.Executor()
            )
        program = purdist.from_static(main, scope=scope)
    drops = bool(graphs.random_operations(program.graph))
    assert drops == (form == "from a file")
    assert not graphs.random_operations(program.inference_graph)


def counting() -> dict[str, paddle.Tensor]:
    """A network that keeps a weight of its own up to date as it computes."""
    value = paddle.static.data("x", [None, 6])
    total = paddle.create_parameter([1], "float32", name="total")
    total.stop_gradient = True
    mean = nets.dense(value, 6, 4)
    after = paddle.assign(total * 0.5 + mean.mean().reshape([1]).detach(), output=total)
    return {"logits": mean * after}


def test_what_a_network_writes_to_its_weights_stays_where_it_infers() -> None:
    program = nets.program(counting)
    assert program.variables["total"].role == "buffer"
    before = nets.weights(program)
    once, twice = (program.run(feed(6), ["logits"])["logits"] for _ in range(2))
    assert once.tobytes() == twice.tobytes()
    merged = purdist.merge(program, nets.program(nets.linear("z", (6, 4))), {"x": "z"})
    training = purdist.minimize(
        purdist.apply(merged, [purdist.L2Loss("teacher_logits", "logits")]),
        lambda: paddle.optimizer.SGD(0.1),
    )
    batch = {"z": feed(6)["x"]}
    for step in purdist.train(training, [batch] * 2, fetch=["teacher_logits"]):
        assert step.fetched["teacher_logits"].tobytes() == once.tobytes()
    assert nets.moved(before, nets.weights(program)) == set()


def test_what_a_network_writes_to_its_weights_is_written_where_it_trains() -> None:
    program = nets.program(counting)
    spec = purdist.CustomLoss(lambda logits: logits.mean(), {"logits": "logits"})
    training = purdist.minimize(purdist.apply(program, [spec]), lambda: paddle.optimizer.SGD(0.1))
    before = nets.weights(training.program)
    list(purdist.train(training, [feed(6)]))
    assert "total" in nets.moved(before, nets.weights(training.program))


# --- where weights are declared -----------------------------------------------------------


def fc(value: paddle.Tensor, name: str | None = None) -> paddle.Tensor:
    """A linear layer that keeps the width; weights of one name are one."""
    layer = paddle.nn.Linear(6, 6, paddle.ParamAttr(name) if name else None)
    return paddle.nn.functional.relu(layer(value))


def tied(value: paddle.Tensor) -> paddle.Tensor:
    return fc(fc(value, "w"), "w")


def tied_by_hand(value: paddle.Tensor) -> paddle.Tensor:
    weight = paddle.create_parameter([6, 6], "float32", name="w")
    biases = [paddle.create_parameter([6], "float32", is_bias=True) for _ in range(2)]
    for bias in biases:
        value = paddle.nn.functional.relu(paddle.matmul(value, weight) + bias)
    return value


def branched(value: paddle.Tensor, layer: Function | None = None) -> paddle.Tensor:
    inner = layer or fc
    return paddle.static.nn.cond(value.sum() > -99.0, lambda: inner(value), lambda: value * 2.0)


def nested(value: paddle.Tensor, layer: Function | None = None) -> paddle.Tensor:
    return paddle.static.nn.cond(
        value.sum() > -99.0, lambda: branched(value, layer), lambda: value - 1.0
    )


def tied_in_branches(value: paddle.Tensor) -> paddle.Tensor:
    return paddle.static.nn.cond(
        value.sum() > -99.0, lambda: tied(value), lambda: fc(value * 2.0, "w")
    )


def looped(value: paddle.Tensor, layer: Function | None = None) -> paddle.Tensor:
    inner = layer or fc
    _, found = paddle.static.nn.while_loop(
        lambda k, _: k < 3,
        lambda k, inside: [k + 1, inner(inside)],
        [paddle.full([1], 0, "int64"), value],
    )
    return found


def outside(inside: Callable[[paddle.Tensor, Function], paddle.Tensor]) -> Function:
    """The same with its layer made before the region."""

    def forward(value: paddle.Tensor) -> paddle.Tensor:
        layer = paddle.nn.Linear(6, 6)
        return inside(value, lambda given: paddle.nn.functional.relu(layer(given)))

    return forward


def of(function: Function) -> nets.Forward:
    return lambda: {"out": function(paddle.static.data("x", [None, 6]))}


def started(function: Function) -> Net:
    net = Net.of(of(function))
    for name, array in nets.read(net.scope).items():
        if array.shape == (6, 6):
            tensor = net.scope.var(name).get_tensor()
            tensor.set(0.3 * nets.numbers(5, 6, 6), paddle.CPUPlace())
    return net


def steps(program: purdist.Program, out: str = "out") -> list[float]:
    loss = purdist.CustomLoss(lambda out: (out - 0.3).square().mean(), {"out": out})
    training = purdist.minimize(purdist.apply(program, [loss]), lambda: paddle.optimizer.SGD(0.1))
    return [step.loss for step in purdist.train(training, [feed(6)] * 3)]


@pytest.mark.parametrize(
    ("inside", "by_hand"),
    [
        (tied, tied_by_hand),
        (branched, outside(branched)),
        (nested, outside(nested)),
        (looped, outside(looped)),
        (tied_in_branches, tied),
    ],
    ids=["tied", "in a branch", "in a branch of a branch", "in a loop", "tied in branches"],
)
def test_a_weight_is_one_wherever_and_however_often_it_is_declared(
    inside: Function, by_hand: Function, tmp_path: Path
) -> None:
    net = started(inside)
    with nets.untouched(net):
        program = net.program()
    assert program.inputs == ("x",)
    assert set(program.parameters) <= set(nets.read(net.scope))
    expected = by_paddle(net, net.names["out"], feed(6))
    np.testing.assert_array_equal(program.run(feed(6), ["out"])["out"], expected)
    losses = steps(started(by_hand).program())
    assert len(set(losses)) == 3
    assert steps(program) == pytest.approx(losses, rel=1e-5)
    purdist.export(program, tmp_path / "m", ["out"], check=False)
    assert steps(purdist.from_exported(tmp_path / "m")) == pytest.approx(losses, rel=1e-5)


def test_tied_weights_of_an_old_program_are_one() -> None:
    with nets.old_form():
        old = started(tied).program()
    assert steps(old) == pytest.approx(steps(started(tied).program()), rel=1e-5)


@pytest.mark.parametrize("learns_first", [False, True])
def test_a_name_for_two_weights_that_are_not_one(learns_first: bool) -> None:  # noqa: FBT001
    def forward(value: paddle.Tensor) -> paddle.Tensor:
        for trainable in (learns_first, not learns_first):
            value = paddle.nn.Linear(6, 6, paddle.ParamAttr("w", trainable=trainable))(value)
        return value

    net = Net.of(of(forward), initialised=False)
    with pytest.raises(purdist.NameClashError) as caught:
        net.program()
    learning, frozen = "a weight [6, 6] float32", "a weight [6, 6] float32, frozen"
    first, then = (frozen, learning) if learns_first else (learning, frozen)  # declared last first
    assert str(caught.value) == (
        f"Expected what bears one name to be one feed or weight, got 'w' as {first} and as "
        f"{then}.\n"
        "Give each a name of its own, or make both alike: they are then one."
    )


# --- old programs -----------------------------------------------------------------------


def old_network() -> dict[str, paddle.Tensor]:
    image = paddle.static.data("x", [None, 1, 4, 4])
    hidden = paddle.static.nn.conv2d(image, 3, 3, padding=1, name="c1", act="relu")
    hidden = paddle.static.nn.batch_norm(hidden, name="bn")
    hidden = paddle.nn.functional.dropout(hidden, 0.5)
    return {"logits": paddle.static.nn.fc(hidden, 4, name="f1")}


def test_every_name_of_an_old_program_is_kept() -> None:
    with nets.old_form():
        net = Net.of(old_network)
        program = net.program()
        kept = {v.name for v in net.main.list_vars()} - {"feed", "fetch"}
    assert kept <= set(program.variables)
    assert {"c1.tmp_1", "c1.w_0", "bn.w_1", "f1.b_0"} <= kept
    answers = net.names["logits"].name
    assert program.variables["logits"] is program.variables[answers]
    assert program.inputs == ("x",)
    roles = {
        name: program.variables[name].role for name in ("c1.w_0", "bn.w_0", "bn.w_1", "bn.w_2")
    }
    assert roles == {
        "c1.w_0": "parameter",
        "bn.w_0": "parameter",
        "bn.w_1": "buffer",
        "bn.w_2": "buffer",
    }


def test_an_old_network_infers_as_its_clone_for_test() -> None:
    with nets.old_form():
        net = Net.of(old_network)
        program = net.program()
        test = net.main.clone(for_test=True)
        answers = net.names["logits"].name
        (expected,) = paddle.static.Executor().run(
            test, feed=feed(1, 4, 4), fetch_list=[answers], scope=net.scope
        )
    assert program.run(feed(1, 4, 4), ["logits"])["logits"].tobytes() == expected.tobytes()


def test_a_variable_written_twice_means_its_last_version() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        value = paddle.assign(paddle.static.data("x", [None, 6]))
        paddle.assign(value * 2.0, output=value)
        paddle.assign(value + 1.0, output=value)
        return {"out": value}

    with nets.old_form():
        program = nets.program(forward)
    assert program.run(feed(6), ["out"])["out"] == pytest.approx(feed(6)["x"] * 2 + 1, rel=1e-6)


def test_an_input_that_a_loop_writes_over_is_still_fed() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        _, out = paddle.static.nn.while_loop(
            lambda k, _: k < 3,
            lambda k, value: [k + 1, value * 2.0],
            [paddle.full([1], 0, "int64"), paddle.static.data("x", [None, 6])],
        )
        return {"out": paddle.static.nn.fc(out, 4)}

    with nets.old_form():
        program = nets.program(forward)
    assert program.inputs == ("x",)
    got = program.run(feed(6), ["x", "fc_0.tmp_0"])
    assert got["x"].tobytes() == feed(6)["x"].tobytes()
    weight = nets.weights(program)["fc_0.w_0"]
    assert got["fc_0.tmp_0"] == pytest.approx(feed(6)["x"] * 8 @ weight, rel=1e-5, abs=1e-6)


def test_an_old_variable_of_any_name_may_be_named_again() -> None:
    with nets.old_form():
        net = Net.of(old_network)
        names = {"hidden": net.main.blocks[0].var("c1.tmp_1")}
        program = purdist.from_static(net.main, scope=net.scope, names=names)
    assert program.variables["hidden"].name == "c1.tmp_1"


def test_old_programs_are_taken_in_either_mode() -> None:
    with nets.old_form():
        net = Net.of(old_network)
        inside = net.program()
    outside = net.program()
    got = [program.run(feed(1, 4, 4), ["logits"])["logits"] for program in (inside, outside)]
    assert got[0].tobytes() == got[1].tobytes()
