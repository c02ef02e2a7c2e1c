"""The strategies and laws themselves: they reach what they should and catch what they should."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs
import numpy as np
import paddle
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from purdist import (
    CustomLoss,
    InvalidArgumentError,
    L2Loss,
    NewInput,
    Program,
    Schedule,
    Step,
    apply,
    from_static,
    minimize,
    scopes,
    train,
)
from purdist.testing import (
    LOSS_LAWS,
    BatchNorm,
    Branch,
    Conv,
    Dropout,
    Linear,
    LossLaw,
    Network,
    Relu,
    batch_may_be_unknown,
    evaluate_loss,
    feature_map_shapes,
    float32_agrees_with_float64,
    linear_in_weight,
    networks,
    nothing_flows_to_teacher,
    order_of_batch_is_free,
    unchanged,
)
from tests.nets import in_a_process
from tests.profiles import examples
from tests.properties.pairs import computed, differing, small

# --- networks ---------------------------------------------------------------------------


@settings(max_examples=examples(20))
@given(networks(), st.integers(1, 3), st.booleans())
def test_every_network_builds_and_names_each_layers_output(
    network: Network,
    count: int,
    known: bool,  # noqa: FBT001
) -> None:
    assert 1 <= len(network.layers) <= 12
    program = network.program(name="photo", batch=count if known else -1)

    assert program.inputs == ("photo",)
    found = program.run({"photo": network.images(count)}, network.outputs)

    for name, array in found.items():
        assert program.variables[name].shape[0] == (count if known else -1)
        assert array.shape == (count, *program.variables[name].shape[1:])
        assert np.isfinite(array).all()


@settings(max_examples=examples(10))
@given(small, st.integers(0, 1000))
def test_a_network_is_its_description_and_its_seed(network: Network, seed: int) -> None:
    with unchanged():
        one, same, other = (network.program(seed=s) for s in (seed, seed, seed + 1))

    assert one.variables == same.variables == other.variables
    images = {"image": network.images(2)}
    names = computed(one)
    assert differing(one.run(images, names), same.run(images, names)) == set()
    assert differing(one.run({}, one.weights), other.run({}, one.weights)) != set()


@settings(max_examples=50)
@given(small)
def test_a_network_prints_as_the_code_that_makes_it(network: Network) -> None:
    assert eval(repr(network)) == network


def test_networks_reach_every_layer() -> None:
    kinds = set[type]()

    @settings(max_examples=100)
    @given(networks())
    def look(network: Network) -> None:
        kinds.update(map(type, network.layers))

    look()
    assert kinds == {Conv, Linear, Relu, BatchNorm, Dropout, Branch}


def test_networks_shrink_to_little() -> None:
    found = find(networks(), lambda network: "concat" in repr(network))

    assert found == Network((1, 1, 1), (Branch("concat", (Linear(1),)),))


def test_networks_take_shape_classes_and_bounds() -> None:
    @settings(max_examples=50)
    @given(networks(shape=(3, 2, 1), classes=7, min_layers=2, max_layers=3))
    def holds(network: Network) -> None:
        assert network.shape == (3, 2, 1)
        assert network.layers[-1] == Linear(7)
        assert 2 <= len(network.layers) <= 3

    holds()


@pytest.mark.parametrize(
    "ask",
    [
        lambda: networks(min_layers=0),
        lambda: networks(min_layers=3, max_layers=2),
        lambda: networks(shape=(1, 2, 0)),
        lambda: networks(classes=0),
        lambda: feature_map_shapes(min_rank=3, max_rank=2),
        lambda: feature_map_shapes(max_size=0),
    ],
)
def test_arguments_that_make_no_strategy_are_refused(ask: Callable[[], object]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^Expected .*, got "):
        ask()


def test_a_convolution_after_a_linear_layer_is_refused() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Network((1, 2, 2), (Linear(3), Conv(1)))

    assert str(caught.value) == (
        "Expected convolutions before the first linear layer, got "
        "(Linear(width=3), Conv(channels=1, kernel=3)).\n"
        "Move Conv(channels=1, kernel=3) forward: a linear layer flattens the map."
    )


@given(feature_map_shapes(min_rank=2, max_rank=5, max_size=3))
def test_shapes_are_within_bounds(shape: tuple[int, ...]) -> None:
    assert 2 <= len(shape) <= 5
    assert set(shape) <= {-1, 1, 2, 3}


@given(feature_map_shapes(unknown=False))
def test_shapes_can_be_known(shape: tuple[int, ...]) -> None:
    assert min(shape) >= 1


# --- losses on arrays -------------------------------------------------------------------

ONE = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)
OTHER = np.array([[1.0, 0.0], [0.0, 1.0], [-2.0, 9.0]], np.float32)


@pytest.mark.parametrize("unknown_axes", [(), (0,), (0, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_evaluate_gives_value_and_gradients(
    unknown_axes: tuple[int, ...], dtype: type[np.floating]
) -> None:
    teacher, student = ONE.astype(dtype), OTHER.astype(dtype)

    with unchanged(teacher, student):
        found = evaluate_loss(
            0.5 * L2Loss("t", "s"),
            teacher={"t": teacher},
            student={"s": student},
            unknown_axes=unknown_axes,
        )

    assert found.value == pytest.approx(0.5 * np.square(OTHER - ONE).mean(), rel=1e-6)
    assert found.gradients.keys() == {"s"}
    assert found.gradients["s"].dtype == dtype
    np.testing.assert_allclose(found.gradients["s"], (OTHER - ONE) / 6, rtol=1e-6)


def test_evaluate_adds_up_what_flows_to_one_variable_twice() -> None:
    def product(left: paddle.Tensor, right: paddle.Tensor, by: paddle.Tensor) -> paddle.Tensor:
        return (left * right * by.astype("float32")).sum()

    found = evaluate_loss(
        CustomLoss(product, {"left": "s", "right": "s", "by": NewInput("n", (-1, 2))}),
        student={"s": OTHER},
        inputs={"n": np.full((3, 2), 2)},
    )

    assert found.value == 2 * np.square(OTHER).sum()
    np.testing.assert_array_equal(found.gradients["s"], 4 * OTHER)


def test_evaluate_leaves_out_what_nothing_flows_to() -> None:
    found = evaluate_loss(L2Loss("t", "s"), teacher={"t": ONE}, student={"s": OTHER, "idle": ONE})

    assert found.gradients.keys() == {"s"}


def detached(student: paddle.Tensor, teacher: paddle.Tensor) -> paddle.Tensor:
    return (student.detach() - teacher).square().mean()


def first_row_alone(student: paddle.Tensor, teacher: paddle.Tensor) -> paddle.Tensor:
    return (student[0] - teacher[0]).square().mean()


def neighbours(student: paddle.Tensor, teacher: paddle.Tensor) -> paddle.Tensor:
    return (student[1:] - teacher[:-1]).square().mean()


def by_static_batch(student: Any, teacher: Any) -> Any:
    """Of one size alone, so that `apply` cannot try it at others and refuse it."""
    known = isinstance(student.shape[0], int)
    assert not known or student.shape[0] == len(ONE)
    return (student - teacher).square().sum() / (len(ONE) if known else -1)


def coarse(student: paddle.Tensor, teacher: paddle.Tensor) -> paddle.Tensor:
    wide = 1e8 if student.dtype == paddle.float32 else 0.0
    return ((student + wide) - (teacher + wide)).square().mean()


@attrs.frozen
class Stubborn(CustomLoss):
    """A loss that looks at its own weight."""

    kind: ClassVar[str] = "stubborn"

    def build(self, values: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        return super().build(values) + float(self.weight == 1)


@pytest.mark.parametrize(
    ("law", "spec"),
    [
        (nothing_flows_to_teacher, CustomLoss(detached, {"student": "s", "teacher": "t"})),
        (order_of_batch_is_free, CustomLoss(first_row_alone, {"student": "s", "teacher": "t"})),
        (order_of_batch_is_free, CustomLoss(neighbours, {"student": "s", "teacher": "t"})),
        (linear_in_weight, Stubborn(detached, {"student": "s", "teacher": "t"})),
        (float32_agrees_with_float64, CustomLoss(coarse, {"student": "s", "teacher": "t"})),
        (batch_may_be_unknown, CustomLoss(by_static_batch, {"student": "s", "teacher": "t"})),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_law_catches_a_loss_that_breaks_it(law: LossLaw, spec: CustomLoss) -> None:
    assert law in LOSS_LAWS
    with pytest.raises(AssertionError):
        law(spec, teacher={"t": ONE}, student={"s": OTHER})


# --- what stays as it was ---------------------------------------------------------------


@pytest.fixture
def program() -> Program:
    """One that is nobody else's: some of what is seen here writes to it."""
    built = Network((1, 2, 2), (Linear(2), Dropout())).static()
    return from_static(built.main, scope=built.scope, names=built.names)


@pytest.mark.parametrize(
    ("touch", "what"),
    [
        (lambda: paddle.seed(7), "Paddle's random state"),
        (lambda: paddle.set_flags({"FLAGS_benchmark": True}), "Paddle's flag FLAGS_benchmark"),
        (lambda: paddle.static.global_scope().var("x"), "Paddle's global scope"),
        (lambda: paddle.utils.unique_name.generate("x"), "Paddle's unique-name counters"),
        (lambda: paddle.static.data("x", [1]), "Paddle's default programs"),
    ],
)
def test_unchanged_sees_paddles_state(touch: Callable[[], object], what: str) -> None:
    with pytest.raises(AssertionError) as caught, unchanged():
        touch()
    paddle.set_flags({"FLAGS_benchmark": False})

    assert str(caught.value) == f"Expected nothing to change, got changes of {what}."


def test_unchanged_sees_a_weight(program: Program) -> None:
    with pytest.raises(AssertionError) as caught, unchanged([program]):
        scopes.write(program.scope, "linear_0.b_0", 1.0, program.place)

    assert str(caught.value) == (
        "Expected nothing to change, got changes of argument 0.0.scope.linear_0.b_0."
    )


def test_unchanged_sees_a_graph(program: Program) -> None:
    with (
        pytest.raises(AssertionError, match=r"got changes of argument 0\.graph\.$"),
        unchanged(program),
        paddle.static.program_guard(program.graph),
    ):
        paddle.static.data("more", [1])


def test_unchanged_sees_a_training_go_on(program: Program) -> None:
    def square(value: paddle.Tensor) -> paddle.Tensor:
        return value.square().mean()

    training = minimize(
        apply(program, [CustomLoss(square, {"value": "layer1"})]), lambda: paddle.optimizer.SGD(0.1)
    )
    feed = {"image": np.ones((3, 1, 2, 2), np.float32)}
    list(train(training, [feed]))

    with pytest.raises(AssertionError) as caught, unchanged(training):
        list(train(training, [feed]))

    assert str(caught.value).endswith(
        "argument 0.program.scope.linear_0.b_0, argument 0.program.scope.linear_0.w_0, "
        "argument 0.steps."
    )


def test_unchanged_sees_arrays_and_maps() -> None:
    feed, names = {"x": ONE.copy()}, {"a": "b"}

    def touch() -> None:
        feed["x"][0, 0] = 9.0
        names["a"] = "c"

    with pytest.raises(AssertionError) as caught, unchanged(feed, names):
        touch()

    assert str(caught.value) == (
        "Expected nothing to change, got changes of argument 0.x, argument 1.a."
    )


@pytest.mark.usefixtures("dynamic")
def test_unchanged_sees_sets_layers_tensors_steps_and_schedules() -> None:
    layer = paddle.nn.Sequential(paddle.nn.Linear(2, 2), paddle.nn.BatchNorm1D(2))
    tensor, names, fetched = paddle.ones([2]), {"a"}, {"f": ONE.copy()}
    step = Step(0, 1.0, {"l2_0": 1.0}, {"l2_0": 1.0}, 0.1, fetched)
    touches: dict[str, Callable[[], object]] = {
        r"argument 0\.0\.weight": lambda: layer[0].weight.set_value(np.zeros((2, 2), np.float32)),
        r"argument 0\.1\._mean": lambda: layer[1]._mean.set_value(np.ones(2, np.float32)),
        r"argument 0\.training\.0": layer.eval,
        r"argument 1": lambda: tensor.add_(tensor),
        r"argument 2": lambda: names.add("b"),
        r"argument 3\.f": lambda: fetched["f"].fill(3.0),
    }
    for what, touch in touches.items():
        with (
            pytest.raises(AssertionError, match=f"got changes of {what}"),
            unchanged(layer, tensor, names, fetched, step, Schedule.warmup(3)),
        ):
            touch()


def test_unchanged_looks_also_where_a_step_refuses() -> None:
    names = {"a": "b"}

    def refuse() -> None:
        names["a"] = "c"
        raise InvalidArgumentError("Expected something else.")

    with pytest.raises(AssertionError, match=r"argument 0\.a\.$"), unchanged(names):
        refuse()


def test_unchanged_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(InvalidArgumentError) as caught, unchanged({"it": object()}):
        pass

    assert str(caught.value) == (
        "Expected something whose contents can be compared, got argument 0.it, a object.\n"
        "Hand over programs, scopes, layers, arrays, losses, or lists and mappings of such."
    )


# --- hypothesis is asked for here alone -------------------------------------------------


def test_purdist_does_not_import_hypothesis_and_testing_says_what_it_needs() -> None:
    code = """
import sys
import purdist
print("hypothesis" in sys.modules)
sys.modules["hypothesis"] = None
from purdist.testing import evaluate_loss
try:
    from purdist.testing import networks
except ImportError as error:
    print(error)
"""
    assert in_a_process(code).endswith(
        "False\n"
        "purdist.testing.networks needs hypothesis, which is not installed.\n"
        "Install it: pip install 'purdist[testing]'.\n"
    )


def test_what_fails_fails_without_asserts_too() -> None:
    script = """
import numpy, purdist
from purdist.testing import nothing_flows_to_teacher, unchanged

array = numpy.ones([2, 3], "float32")
loss = purdist.CustomLoss(lambda t, s: (t - s).square().mean(), {"t": "t", "s": "s"})
try:
    nothing_flows_to_teacher(loss, teacher={"t": array}, student={"s": 2 * array})
except AssertionError as error:
    print(error)
try:
    with unchanged(array):
        array[0] = 2
except AssertionError as error:
    print(error)
"""
    assert in_a_process(script, PYTHONOPTIMIZE="1") == (
        "Expected gradients of ['s'], got those of ['s', 't'].\n"
        "Expected nothing to change, got changes of argument 0.\n"
    )
