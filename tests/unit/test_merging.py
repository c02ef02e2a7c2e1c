from __future__ import annotations

import gc

import attrs
import numpy as np
import paddle
import pytest

import purdist
from purdist import graphs
from purdist.program import internals_of
from purdist.variables import changes
from tests import nets
from tests.nets import Array, Forward


def teacher_net(kind: str) -> Forward:
    return {
        "linear": nets.linear("y", (6, 7, 4)),
        "images": nets.images("y", channels=5),
        "looping": nets.looping("y"),
    }[kind]


def student_net(kind: str) -> Forward:
    return {"linear": nets.linear(), "images": nets.images(), "looping": nets.looping()}[kind]


def a_feed(kind: str, seed: int = 0) -> dict[str, Array]:
    return {"x": nets.numbers(seed, 5, 1, 4, 4) if kind == "images" else nets.numbers(seed, 5, 6)}


def computed(network: purdist.Program) -> list[str]:
    """What a network infers, loop conditions apart: Paddle's while overwrites its own."""
    return [
        name
        for name, v in network.variables.items()
        if v.role == "activation" and v.mode == "both" and v.dtype != "bool"
    ]


PAIRS = [
    ("linear", "linear"),
    ("images", "images"),
    ("looping", "looping"),
    ("looping", "linear"),
    ("linear", "looping"),
]


def trained(program: purdist.Program, feed: dict[str, Array], *fetch: str) -> dict[str, Array]:
    """A forward pass of the graph that trains, on Paddle's own kernels.

    `purdist.train` moves convolutions to faster ones, whose last bits are others.
    """
    fresh = purdist.minimize(
        purdist.apply(
            program, [purdist.CustomLoss(mean_square, {"logits": "logits"})], prune=False
        ),
        sgd,
    ).program
    runner = graphs.Runner(internals_of(fresh).modes.training, fetch, fresh.scope, fresh.place)
    return dict(zip(fetch, runner(feed), strict=True))


def mean_square(logits: paddle.Tensor) -> paddle.Tensor:
    return logits.square().mean()


def sgd() -> paddle.optimizer.Optimizer:
    return paddle.optimizer.SGD(0.1)


@pytest.mark.parametrize(("of_teacher", "of_student"), PAIRS)
def test_each_network_infers_as_it_does_alone(of_teacher: str, of_student: str) -> None:
    teacher = nets.program(teacher_net(of_teacher), seed=1)
    student = nets.program(student_net(of_student), seed=2)
    merged = purdist.merge(teacher, student, {"y": "x"})
    feed = a_feed(of_student)
    mine, theirs = computed(student), computed(teacher)
    together = merged.run(feed, [*mine, *(f"teacher_{name}" for name in theirs)])
    alone = student.run(feed, mine)
    taught = teacher.run({"y": feed["x"]}, theirs)
    assert nets.moved(alone, together) == set()
    assert nets.moved({f"teacher_{k}": v for k, v in taught.items()}, together) == set()
    assert together["logits"].tobytes() != together["teacher_logits"].tobytes()


@pytest.mark.parametrize(("of_teacher", "of_student"), PAIRS)
def test_each_network_trains_as_it_does_alone(of_teacher: str, of_student: str) -> None:
    teacher = nets.program(teacher_net(of_teacher), seed=1)
    student = nets.program(student_net(of_student), seed=2)
    merged = purdist.merge(teacher, student, {"y": "x"})
    spec = purdist.CustomLoss(mean_square, {"logits": "logits"})
    alone = purdist.minimize(purdist.apply(student, [spec]), sgd, seed=7)
    beside = purdist.minimize(purdist.apply(merged, [spec], prune=False), sgd, seed=7)
    feeds = [a_feed(of_student, seed=k) for k in range(3)]
    lonely = [s.fetched["logits"] for s in purdist.train(alone, feeds, fetch=["logits"])]
    fetch = ["logits", "teacher_logits"]
    steps = [step.fetched for step in purdist.train(beside, feeds, fetch=fetch)]
    for feed, expected, step in zip(feeds, lonely, steps, strict=True):
        taught = teacher.run({"y": feed["x"]}, ["logits"])["logits"]
        assert step["logits"].tobytes() == expected.tobytes()
        assert step["teacher_logits"] == pytest.approx(taught, rel=1e-5, abs=1e-6)
        exact = trained(merged, feed, "teacher_logits")["teacher_logits"]
        assert exact.tobytes() == taught.tobytes()


@pytest.mark.parametrize("kind", ["images", "looping"])
def test_the_teacher_is_still_while_the_student_trains(kind: str) -> None:
    teacher = nets.program(teacher_net(kind), seed=1)
    merged = purdist.merge(teacher, nets.program(student_net(kind), seed=2), {"y": "x"})
    spec = purdist.L2Loss("teacher_logits", "logits")
    training = purdist.minimize(purdist.apply(merged, [spec]), sgd)
    before = nets.weights(training.program)
    feed = a_feed(kind)
    taught = teacher.run({"y": feed["x"]}, ["logits"])["logits"]
    steps = list(purdist.train(training, [feed] * 3, fetch=["teacher_logits", "logits"]))
    assert len({step.fetched["teacher_logits"].tobytes() for step in steps}) == 1
    assert steps[0].fetched["teacher_logits"] == pytest.approx(taught, rel=1e-5, abs=1e-6)
    assert len({s.fetched["logits"].tobytes() for s in steps}) == 3
    moved = nets.moved(before, nets.weights(training.program))
    assert moved == {name for name in before if not name.startswith("teacher_")}
    buffers = [k for k, v in training.program.variables.items() if v.role == "buffer"]
    assert any(name in moved for name in buffers)
    assert any(name not in moved for name in buffers)


def test_dropout_drops_while_training_alone() -> None:
    merged = purdist.merge(
        nets.program(teacher_net("images"), seed=1),
        nets.program(student_net("images"), seed=2),
        {"y": "x"},
    )
    feed, fetch = a_feed("images"), ("dropped", "normed", "teacher_dropped", "teacher_normed")
    inferred = merged.run(feed, fetch)
    for name in ("dropped", "teacher_dropped"):
        assert inferred[name].tobytes() == inferred[name.replace("dropped", "normed")].tobytes()
    got = trained(merged, feed, *fetch)
    assert (got["dropped"] == 0).mean() > (got["normed"] == 0).mean()
    assert got["teacher_dropped"].tobytes() == inferred["teacher_dropped"].tobytes()


def test_what_is_known_of_the_variables() -> None:
    teacher, student = (nets.program(f) for f in (nets.images("y", channels=5), nets.images()))
    merged = purdist.merge(teacher, student, {"y": "x"})
    assert merged.inputs == ("x",)
    inferred = {name: v for name, v in teacher.variables.items() if v.mode == "both"}
    assert set(merged.variables) == {*student.variables, *(f"teacher_{k}" for k in inferred)}
    for name, variable in student.variables.items():
        assert merged.variables[name] == variable
    for name, variable in inferred.items():
        known = merged.variables[f"teacher_{name}"]
        assert known.name == f"teacher_{variable.name}"
        assert (known.shape, known.dtype, known.op) == (variable.shape, variable.dtype, variable.op)
        assert (known.owner, known.trainable, changes(known)) == ("teacher", False, False)
        assert known.role == ("activation" if name == "y" else variable.role)


def test_no_value_of_the_teacher_takes_a_gradient() -> None:
    merged = purdist.merge(
        nets.program(nets.looping("y")), nets.program(nets.looping()), {"y": "x"}
    )
    for graph in (internals_of(merged).modes.training, internals_of(merged).modes.inference):
        stopped = {name: value.stop_gradient for name, value in graph.values.items()}
        assert all(stop for name, stop in stopped.items() if name.startswith("teacher_"))
    assert not internals_of(merged).modes.training.values["logits"].stop_gradient


def test_a_mapped_input_is_the_student_variable() -> None:
    merged = purdist.merge(nets.program(nets.linear("y")), nets.program(nets.linear()), {"y": "x"})
    feed = a_feed("linear")
    assert merged.run(feed, ["teacher_y"])["teacher_y"].tobytes() == feed["x"].tobytes()


def test_a_teacher_can_read_what_the_student_computes() -> None:
    teacher = nets.program(nets.linear("y", (5, 4)))
    student = nets.program(nets.linear())
    hidden = next(n for n, v in student.variables.items() if v.op == "tanh")
    merged = purdist.merge(teacher, student, {"y": hidden})
    feed = a_feed("linear")
    between = student.run(feed, [hidden])[hidden]
    expected = teacher.run({"y": between}, ["logits"])["logits"]
    assert merged.run(feed, ["teacher_logits"])["teacher_logits"].tobytes() == expected.tobytes()


def test_a_kept_input_is_fed_under_its_prefixed_name() -> None:
    teacher, student = nets.program(nets.linear("y")), nets.program(nets.linear())
    merged = purdist.merge(teacher, student, {}, keep_inputs=["y"])
    assert set(merged.inputs) == {"x", "teacher_y"}
    y = nets.numbers(4, 3, 6)
    expected = teacher.run({"y": y}, ["logits"])["logits"]
    taught = merged.run({"teacher_y": y}, ["teacher_logits"])["teacher_logits"]
    assert taught.tobytes() == expected.tobytes()


def test_two_teachers_teach_under_two_prefixes() -> None:
    first, second = (nets.program(nets.linear("y"), seed=k) for k in (1, 2))
    student = nets.program(nets.linear(), seed=3)
    both = purdist.merge(
        second, purdist.merge(first, student, {"y": "x"}), {"y": "x"}, name_prefix="second_"
    )
    feed = a_feed("linear")
    got = both.run(feed, ["logits", "teacher_logits", "second_logits"])
    for name, network, inside in (
        ("logits", student, "x"),
        ("teacher_logits", first, "y"),
        ("second_logits", second, "y"),
    ):
        assert (
            got[name].tobytes() == network.run({inside: feed["x"]}, ["logits"])["logits"].tobytes()
        )
    owners = {both.variables[name].owner for name in ("teacher_logits", "second_logits")}
    assert owners == {"teacher"}


def test_a_variable_knows_its_network_where_names_cannot_tell() -> None:
    one, other = nets.program(nets.linear("y"), seed=1), nets.program(nets.linear("1_b"), seed=2)
    student = nets.program(nets.linear())
    both = purdist.merge(one, student, {"y": "x"}, name_prefix="t_1_")
    both = purdist.merge(other, both, {"1_b": "x"}, name_prefix="t_")
    both = purdist.join(nets.program(nets.linear("z")), both, {"z": "x"})
    assert (both.teachers, both.peers) == (("t_1_", "t_"), ("peer_",))
    of = {name: variable.network for name, variable in both.variables.items()}
    assert (of["t_1_b"], of["t_1_y"], of["t_1_logits"]) == ("t_", "t_1_", "t_1_")
    assert (of["x"], of["peer_logits"]) == ("", "peer_")
    distillation = purdist.apply(both, [purdist.L2Loss("t_logits", "logits")])
    assert distillation.program.variables["loss"].network is None
    assert distillation.program.teachers == ("t_",)
    for prefix, network in (("t_1_", one), ("t_", other)):
        alone = purdist.student_of(both, name_prefix=prefix)
        assert (alone.inputs, alone.weights) == (network.inputs, network.weights)
        feed = dict.fromkeys(network.inputs, a_feed("linear")["x"])
        assert nets.moved(network.run(feed, ["logits"]), alone.run(feed, ["logits"])) == set()


def test_a_teacher_of_a_peer_stays_a_teacher_and_one_of_a_teacher_is_part_of_it() -> None:
    inner = purdist.merge(
        nets.program(nets.linear("y"), seed=1), nets.program(nets.linear("z"), seed=2), {"y": "z"}
    )
    joined = purdist.join(inner, nets.program(nets.linear()), {"z": "x"})
    assert (joined.teachers, joined.peers) == (("peer_teacher_",), ("peer_",))
    merged = purdist.merge(inner, nets.program(nets.linear()), {"z": "x"})
    assert (merged.teachers, merged.peers) == (("teacher_",), ())
    assert merged.variables["teacher_teacher_logits"].network == "teacher_"
    again = purdist.student_of(merged, name_prefix="teacher_")
    assert (again.inputs, again.teachers) == (("z",), ())
    feed = {"z": a_feed("linear")["x"]}
    fetch = ["logits", "teacher_logits"]
    assert nets.moved(inner.run(feed, fetch), again.run(feed, fetch)) == set()


def test_the_network_of_a_prefix_has_the_given_names_that_it_had() -> None:
    other = nets.program(nets.linear("y"), seed=1)
    joined = purdist.join(other, nets.program(nets.linear()), {"y": "x"})
    alone = purdist.student_of(joined, name_prefix="peer_")
    for name in alone.weights:
        assert alone.variables[name].given_name == other.variables[name].given_name


def test_a_merged_program_teaches_too() -> None:
    inner = purdist.merge(
        nets.program(nets.linear("y"), seed=1), nets.program(nets.linear("z"), seed=2), {"y": "z"}
    )
    outer = purdist.merge(
        inner, nets.program(nets.linear(), seed=3), {"z": "x"}, name_prefix="both_"
    )
    feed = a_feed("linear")
    expected = inner.run({"z": feed["x"]}, ["logits", "teacher_logits"])
    got = outer.run(feed, ["both_logits", "both_teacher_logits"])
    assert {f"both_{name}": array.tobytes() for name, array in expected.items()} == {
        name: array.tobytes() for name, array in got.items()
    }


def _address(network: purdist.Program, name: str) -> int:
    return int(network.scope.var(name).get_tensor()._ptr())


def test_the_teachers_weights_are_shared_and_the_students_copied() -> None:
    teacher, student = nets.program(nets.linear("y")), nets.program(nets.linear())
    merged = purdist.merge(teacher, student, {"y": "x"})
    training = purdist.minimize(
        purdist.apply(merged, [purdist.L2Loss("teacher_logits", "logits")]), sgd
    )
    for name in teacher.parameters:
        assert _address(merged, f"teacher_{name}") == _address(teacher, name)
        assert _address(training.program, f"teacher_{name}") == _address(teacher, name)
    for name in student.parameters:
        addresses = {_address(p, name) for p in (student, merged, training.program)}
        assert len(addresses) == 3


def test_a_network_in_training_teaches_as_it_is_now() -> None:
    teacher, student = nets.program(nets.linear("y"), seed=1), nets.program(nets.linear(), seed=2)
    merged = purdist.merge(teacher, student, {"y": "x"})
    training = purdist.minimize(
        purdist.apply(merged, [purdist.L2Loss("teacher_logits", "logits")]), sgd
    )
    pupil = nets.program(nets.linear("z"), seed=3)
    later = purdist.merge(purdist.student_of(training), pupil, {"x": "z"})
    trained = purdist.merge(training.program, pupil, {"x": "z"})
    feed = {"z": a_feed("linear")["x"]}
    before = [p.run(feed, ["teacher_logits"])["teacher_logits"] for p in (later, trained)]
    list(purdist.train(training, [a_feed("linear")]))
    after = [p.run(feed, ["teacher_logits"])["teacher_logits"] for p in (later, trained)]
    assert [a.tobytes() for a in after] == [b.tobytes() for b in before]


def test_nothing_is_needed_of_the_networks_once_they_are_merged() -> None:
    teacher, student = nets.program(nets.linear("y")), nets.program(nets.linear())
    merged = purdist.merge(teacher, student, {"y": "x"})
    feed = a_feed("linear")
    before = merged.run(feed, ["logits", "teacher_logits"])
    del teacher, student
    gc.collect()
    another = nets.program(nets.linear("y"))
    wider = purdist.merge(another, merged, {"y": "x"}, name_prefix="other_")
    after = wider.run(feed, ["logits", "teacher_logits"])
    assert nets.moved(before, after) == set()


def test_place_is_the_students_unless_given() -> None:
    teacher, student = nets.program(nets.linear("y")), nets.program(nets.linear())
    here = purdist.merge(teacher, student, {"y": "x"})
    assert here.place is student.place
    there = purdist.merge(teacher, student, {"y": "x"}, place="cpu")
    assert str(there.place) == "Place(cpu)"
    feed = a_feed("linear")
    assert np.array_equal(
        here.run(feed, ["teacher_logits"])["teacher_logits"],
        there.run(feed, ["teacher_logits"])["teacher_logits"],
    )


# --- two networks in one scope --------------------------------------------------------------


def in_scope(scope: paddle.static.Scope, feed: str, *, extra: bool = False) -> nets.Net:
    """A network whose weights are called as those of every other here; not yet started."""

    def forward() -> dict[str, paddle.Tensor]:
        hidden = paddle.nn.BatchNorm1D(6)(paddle.static.data(feed, [None, 6]))
        logits = paddle.nn.Linear(6, 4)(hidden)
        return {"logits": paddle.nn.Linear(4, 4)(logits) if extra else logits}

    return attrs.evolve(nets.Net.of(forward, initialised=False), scope=scope)


def start(net: nets.Net) -> None:
    paddle.static.Executor().run(net.startup, scope=net.scope)


@pytest.mark.parametrize("extra", [False, True])
def test_a_network_that_was_copied_before_the_next_was_started_is_its_own(*, extra: bool) -> None:
    scope = paddle.static.Scope()
    taken = []
    for net in (in_scope(scope, "y"), in_scope(scope, "x", extra=extra)):
        start(net)
        taken.append(net.program())
    teacher, student = taken
    merged = purdist.merge(teacher, student, {"y": "x"})
    feed = nets.numbers(0, 3, 6)
    fetched = merged.run({"x": feed}, ["teacher_logits", "logits"])
    for program, name, source in zip(taken, ("teacher_logits", "logits"), "yx", strict=True):
        expected = program.run({source: feed}, ["logits"])["logits"]
        np.testing.assert_array_equal(fetched[name], expected)
    assert np.abs(fetched["teacher_logits"] - fetched["logits"]).max() > 0.1


@pytest.mark.parametrize("share", ["neither", "the first", "the second"])
@pytest.mark.parametrize("extra", [False, True])
def test_networks_of_which_one_was_overwritten_are_refused(share: str, *, extra: bool) -> None:
    scope = paddle.static.Scope()
    one, other = in_scope(scope, "y"), in_scope(scope, "x", extra=extra)
    start(one)
    if share == "neither":
        start(other)
    first = purdist.from_static(one.main, scope=scope, share=share == "the first")
    if share != "neither":  # what is looked at where it lies is overwritten afterwards, too
        start(other)
    else:  # as its statistics move, the weights stay the same
        paddle.static.Executor().run(other.main, feed={"x": nets.numbers(0, 3, 6)}, scope=scope)
    second = purdist.from_static(other.main, scope=scope, share=share == "the second")
    with pytest.raises(purdist.NameClashError, match="both own in one scope"):
        purdist.merge(first, second, {"y": "x"})
