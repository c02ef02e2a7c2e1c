"""Every optimizer, clip, regularizer and schedule trains as in dygraph, or is refused."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn, regularizer
from paddle.optimizer import lr
from paddle.static import InputSpec

import purdist
from purdist import scopes
from tests.nets import in_a_process, numbers, weights

pytestmark = pytest.mark.usefixtures("dynamic")

FEED = {"x": numbers(0, 8, 6)}
Make = Callable[..., Any]

REFUSED = {"LBFGS"}
"""Of ``paddle.optimizer``: it computes the loss many times in a step."""

OPTIMIZERS: dict[str, Make] = {
    name: getattr(paddle.optimizer, name)
    for name in vars(paddle.optimizer)["__all__"]
    if name not in {"Optimizer", *REFUSED}
}


def is_bias(parameter: paddle.Tensor) -> bool:
    """By a name's end, which a copy of a layer (``..._deepcopy_1``) does not keep."""
    return parameter.name.endswith(".b_0")


WAYS: dict[str, dict[str, Any]] = {
    "clipped by value": {"grad_clip": nn.ClipGradByValue(0.01)},
    "clipped by norm": {"grad_clip": nn.ClipGradByNorm(0.01)},
    "clipped by global norm": {"grad_clip": nn.ClipGradByGlobalNorm(0.01)},
    "clipped where it must be": {"grad_clip": nn.ClipGradByGlobalNorm(0.01, auto_skip_clip=True)},
    "clipped nowhere": {"grad_clip": nn.ClipGradByGlobalNorm(1e3, auto_skip_clip=True)},
    "decayed": {"weight_decay": 0.1},
    "L1": {"weight_decay": regularizer.L1Decay(0.1)},
    "L2": {"weight_decay": regularizer.L2Decay(0.1)},
}

OPTIONS: dict[str, Make] = {
    f"{name} {', '.join(given)}": functools.partial(OPTIMIZERS[name], 0.05, **given)
    for name, given in (
        ("Momentum", {"momentum": 0.8, "use_nesterov": True}),
        ("Momentum", {"use_multi_tensor": True}),
        ("Adam", {"beta1": 0.5, "beta2": 0.6, "epsilon": 1e-3}),
        ("Adam", {"amsgrad": True}),
        ("AdamW", {"weight_decay": 0.3, "amsgrad": True}),
        ("Adamax", {"beta1": 0.5, "beta2": 0.6, "epsilon": 1e-3}),
        ("Adagrad", {"epsilon": 1e-2, "initial_accumulator_value": 0.3}),
        ("Adadelta", {"epsilon": 1e-2, "rho": 0.5}),
        ("RMSProp", {"rho": 0.5, "epsilon": 1e-2, "momentum": 0.4, "centered": True}),
        ("NAdam", {"beta1": 0.5, "beta2": 0.6, "momentum_decay": 0.1}),
        ("RAdam", {"beta1": 0.5, "beta2": 0.6}),
        ("Rprop", {"learning_rate_range": (0.001, 0.055), "etas": (0.3, 1.7)}),
        ("Lamb", {"lamb_weight_decay": 0.5, "beta1": 0.5, "beta2": 0.6}),
        ("Lamb", {"lamb_weight_decay": 0.5, "exclude_from_weight_decay_fn": is_bias}),
        (
            "Lamb",
            {
                "lamb_weight_decay": 0.5,
                "exclude_from_weight_decay_fn": is_bias,
                "always_adapt": True,
            },
        ),
    )
}
"""What does not change an optimizer's name but its numbers. ASGD's ``batch_num`` is refused: a
plain graph of Paddle's, run by its executor, takes every number of batches for one, as SGD,
where dygraph follows the formula of Paddle's documentation to the bit."""

SCHEDULES: dict[str, tuple[Any, ...]] = {
    "NoamDecay": (16, 2, 0.1),
    "PiecewiseDecay": ([1, 2], [0.1, 0.05, 0.01]),
    "NaturalExpDecay": (0.1, 0.5),
    "InverseTimeDecay": (0.1, 0.5),
    "PolynomialDecay": (0.1, 3),
    "LinearWarmup": (0.1, 2, 0.0, 0.1),
    "ExponentialDecay": (0.1, 0.5),
    "MultiStepDecay": (0.1, [1, 2]),
    "StepDecay": (0.1, 2),
    "LambdaDecay": (0.1, lambda k: 0.5**k),
    "ReduceOnPlateau": (0.1, "min", 0.1, 0, 0.5),
    "CosineAnnealingDecay": (0.1, 3),
    "MultiplicativeDecay": (0.1, lambda _: 0.5),
    "OneCycleLR": (0.1, 5),
    "CyclicLR": (0.1, 0.2, 2),
    "LinearLR": (0.1, 3),
    "CosineAnnealingWarmRestarts": (0.1, 2),
}
"""Of ``paddle.optimizer.lr``: what each is made with."""


def network() -> nn.Layer:
    paddle.seed(5)
    named = paddle.ParamAttr(name="enc_w")
    return nn.Sequential(nn.Linear(6, 5, weight_attr=named), nn.LayerNorm(5), nn.Linear(5, 4))


def loss_of(answer: paddle.Tensor) -> paddle.Tensor:
    return (answer - 1.0).square().mean()


def distillation(layer: nn.Layer) -> purdist.Distillation:
    program = purdist.from_layer(layer, {"x": InputSpec([None, 6])})
    return purdist.apply(program, [purdist.CustomLoss(loss_of, {"answer": "output"})])


def assert_trains_as_in_dygraph(make: Make) -> None:
    layer = network()
    training = purdist.minimize(distillation(layer), make)
    list(purdist.train(training, [FEED] * 3))
    optimizer = make(parameters=layer.parameters())
    for _ in range(3):
        loss = loss_of(layer(paddle.to_tensor(FEED["x"])))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        schedule = optimizer._learning_rate
        if isinstance(schedule, lr.ReduceOnPlateau):
            schedule.step(float(loss))
        elif isinstance(schedule, lr.LRScheduler):
            schedule.step()
    held = weights(training.program)
    for path, tensor in layer.state_dict().items():
        np.testing.assert_allclose(held[path], tensor.numpy(), rtol=1e-4, atol=1e-5, err_msg=path)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_trains_as_in_dygraph(name: str) -> None:
    assert_trains_as_in_dygraph(lambda **options: OPTIMIZERS[name](0.05, **options))


@pytest.mark.parametrize("options", OPTIONS)
def test_options_train_as_in_dygraph(options: str) -> None:
    assert_trains_as_in_dygraph(OPTIONS[options])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_clips_and_regularizers_train_as_in_dygraph(name: str, way: str) -> None:
    assert_trains_as_in_dygraph(lambda **options: OPTIMIZERS[name](0.05, **WAYS[way], **options))


def test_every_schedule_is_here() -> None:
    assert set(SCHEDULES) == {*vars(lr)["__all__"]} - {"LRScheduler"}


def made(name: str) -> lr.LRScheduler:
    schedule: lr.LRScheduler = getattr(lr, name)(*SCHEDULES[name])
    return schedule


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_trains_as_in_dygraph(name: str) -> None:
    assert_trains_as_in_dygraph(lambda **options: paddle.optimizer.SGD(made(name), **options))


def test_the_clip_of_an_optimizer_stays_as_it_was() -> None:
    clip = nn.ClipGradByGlobalNorm(0.01, auto_skip_clip=True)
    purdist.minimize(distillation(network()), lambda: paddle.optimizer.SGD(0.1, grad_clip=clip))
    assert clip.auto_skip_clip


def test_what_cannot_run_is_refused_with_what_to_write_instead() -> None:
    printed = in_a_process(
        """
        import numpy, paddle, purdist
        from tests.unit.test_optimizers import distillation, network
        from paddle.incubate import optimizer as incubate

        tensor = paddle.to_tensor([1e-3])
        sgd = lambda **options: paddle.optimizer.SGD(0.1, **options)
        lr, l2 = paddle.optimizer.lr, paddle.regularizer.L2Decay

        class InDygraph(paddle.nn.clip.ClipGradBase):
            def _dygraph_clip(self, gradients):
                return gradients

        class Asks(l2):
            def __call__(self, parameter, gradient, block):
                return parameter if parameter.sum() > 0 else gradient

        made = distillation(network())
        for make in (
            lambda: paddle.optimizer.LBFGS(0.1),
            lambda: incubate.LBFGS(0.1),
            lambda: paddle.incubate.ModelAverage(0.15),
            lambda: paddle.static.ExponentialMovingAverage(0.9),
            lambda: paddle.incubate.LookAhead(sgd()),
            lambda: incubate.RecomputeOptimizer(sgd()),
            lambda: incubate.PipelineOptimizer(sgd()),
            lambda: incubate.GradientMergeOptimizer(sgd(), 2),
            lambda: incubate.DistributedFusedLamb(0.1),
            lambda: paddle.static.amp.decorate(sgd()),
            lambda: paddle.optimizer.AdamW(0.1, lr_ratio=lambda p: 0.5),
            lambda: paddle.optimizer.Adam(0.1, lazy_mode=True),
            lambda: paddle.optimizer.ASGD(0.1, batch_num=2),
            lambda: paddle.optimizer.AdamW(0.1, beta2=paddle.to_tensor([0.9])),
            lambda: paddle.optimizer.Lamb(0.1, epsilon=tensor),
            lambda: paddle.optimizer.Momentum(0.1, momentum=tensor),
            lambda: sgd(weight_decay=tensor),
            lambda: sgd(weight_decay=l2(tensor)),
            lambda: sgd(weight_decay=l2(paddle.to_tensor(0.1))),
            lambda: sgd(weight_decay=numpy.float32(0.1)),
            lambda: sgd(grad_clip=InDygraph()),
            lambda: sgd(weight_decay=Asks(0.1)),
            lambda: paddle.optimizer.SGD(lr.LinearWarmup(lr.ReduceOnPlateau(0.1), 2, 0.0, 0.1)),
        ):
            try:
                purdist.minimize(made, make)
            except purdist.InvalidArgumentError as error:
                print(str(error).splitlines()[0].rpartition("got ")[2])

        attribute = paddle.ParamAttr(regularizer=l2(tensor))
        made = distillation(paddle.nn.Linear(6, 4, weight_attr=attribute))
        try:
            purdist.minimize(made, sgd)
        except purdist.InvalidArgumentError as error:
            print(error)
        """
    )
    assert [line for line in printed.splitlines() if line] == [
        "LBFGS.",
        "LBFGS.",
        "ModelAverage.",
        "ExponentialMovingAverage.",
        "LookAhead.",
        "RecomputeOptimizer.",
        "PipelineOptimizer.",
        "GradientMergeOptimizer.",
        "DistributedFusedLamb.",
        "OptimizerWithMixedPrecision.",
        "Expected make_optimizer to return a Paddle optimizer, it raised NotImplementedError: "
        "'lr_ratio' is unimplemented in CPU.",
        "Adam(lazy_mode=True).",
        "ASGD(batch_num=2), which Paddle runs there as SGD.",
        "Value.",
        "Tensor.",
        "Tensor.",
        "Tensor.",
        "Tensor.",
        "Value.",
        "float32.",
        "Expected SGD, with its clip and its regularizers, to run in a graph, it raised "
        "NotImplementedError",
        "Expected SGD, with its clip and its regularizers, to run in a graph, it raised TypeError: "
        "bool(Tensor) is not supported in static graph mode. Because it's value is not available "
        "during the static mode.",
        "it in LinearWarmup, where Paddle tells it the count of steps in place of the loss.",
        "Expected L2Decay with a number as coeff, got Tensor.",
        "Give the number itself: a tensor made elsewhere is in no graph of ours.",
    ]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_of_a_layer_are_to_be_left_out(name: str) -> None:
    layer = network()
    with pytest.raises(purdist.InvalidArgumentError) as caught:
        purdist.minimize(
            distillation(layer), lambda: OPTIMIZERS[name](0.1, parameters=layer.parameters())
        )
    assert str(caught.value) == (
        f"Expected an optimizer without parameters=, got {name}(parameters=...), which would train "
        "nothing of this program.\n"
        f"Leave parameters= out: lambda: paddle.optimizer.{name}(...). It trains every trainable "
        "parameter of the student and of the losses."
    )


def test_what_needs_numbers_is_to_be_computed_outside() -> None:
    rate, layer = paddle.to_tensor(0.1), network()
    made = distillation(layer)
    computed: list[Callable[[], Any]] = [
        lambda: rate + 1.0,
        lambda: paddle.to_tensor(0.1),
        lambda: layer(paddle.ones([2, 6])).mean(),
        lambda: sum(parameter.sum() for parameter in layer.parameters()),
    ]
    for number in computed:  # which ended the process
        with pytest.raises(purdist.InvalidArgumentError) as caught:
            purdist.minimize(made, lambda: paddle.optimizer.SGD(float(number())))  # noqa: B023
        assert caught.value.remedy == (
            "Make one of paddle.optimizer, with arguments that it takes. The function is called in "
            "static mode: compute outside of it what it needs numbers for."
        )


# --- names ------------------------------------------------------------------------------


def decayed(make: Callable[[], paddle.optimizer.Optimizer], layer: nn.Layer) -> set[str]:
    """The weights that an optimizer moves though no gradient does."""
    program = purdist.from_layer(layer, {"x": InputSpec([None, 6])})
    zero = purdist.CustomLoss(lambda answer: 0.0 * answer.mean(), {"answer": "output"})
    training = purdist.minimize(purdist.apply(program, [zero]), make)
    before = weights(training.program)
    list(purdist.train(training, [FEED]))
    after = weights(training.program)
    return {path for path in before if np.abs(after[path] - before[path]).max() > 0}


def filled() -> nn.Layer:
    """A network without zeros, so that all that is decayed moves."""
    layer = network()
    for parameter in layer.parameters():
        parameter.set_value(paddle.full_like(parameter, 0.5))
    return layer


def names_of(layer: nn.Layer, *endings: str) -> list[str]:
    return [p.name for path, p in layer.named_parameters() if path.endswith(endings)]


WEIGHTS = {"0.weight", "1.weight", "2.weight"}


def test_adamw_is_asked_by_the_names_that_the_layer_gave_or_by_paths() -> None:
    layer = filled()
    names = names_of(layer, "weight")
    functions: list[Callable[[str], bool]] = [
        names.__contains__,
        WEIGHTS.__contains__,
        lambda name: not name.endswith("bias"),
        lambda name: ".b_" not in name,
    ]
    for function in functions:
        assert (
            decayed(
                lambda: paddle.optimizer.AdamW(
                    0.1,
                    weight_decay=0.5,
                    apply_decay_param_fun=function,  # noqa: B023
                ),
                layer,
            )
            == WEIGHTS
        )


def test_the_names_of_a_layer_are_read_in_the_function_too() -> None:
    layer = filled()

    def make() -> paddle.optimizer.Optimizer:
        names = names_of(layer, "weight")
        assert len(layer.parameters()) == 6
        assert len(layer.parameters(include_sublayers=False)) == 0
        return paddle.optimizer.AdamW(
            0.1, weight_decay=0.5, apply_decay_param_fun=names.__contains__
        )

    assert decayed(make, layer) == WEIGHTS


HINT = {"hint_0/linear_0.w_0": True, "hint_0/linear_0.b_0": False}


@pytest.mark.parametrize(
    ("function", "ours"),
    [
        (lambda name: not name.endswith("bias"), HINT),
        (lambda name: name.endswith("weight"), HINT),
        (lambda name: ".b_" not in name, HINT),
        ((WEIGHTS | {"hint_0/linear_0.w_0"}).__contains__, HINT),
        ((WEIGHTS | {"hint_0/linear_0.b_0"}).__contains__, {k: not v for k, v in HINT.items()}),
        (WEIGHTS.__contains__, dict.fromkeys(HINT, False)),
        (lambda name: name in WEIGHTS or "hint" in name, dict.fromkeys(HINT, True)),
    ],
)
def test_the_parameters_of_a_loss_are_asked_for_by_paths_as_a_network_has_them(
    function: Callable[[str], bool], ours: dict[str, bool]
) -> None:
    program = purdist.from_layer(filled(), {"x": InputSpec([None, 6])})
    spec = purdist.CustomLoss(
        lambda answer: 0.0 * nn.Linear(4, 3)(answer).mean(), {"answer": "output"}, name="hint_0"
    )
    training = purdist.minimize(
        purdist.apply(program, [spec]),
        lambda: paddle.optimizer.AdamW(0.1, weight_decay=0.5, apply_decay_param_fun=function),
    )
    for name in HINT:
        shape = training.program.variables[name].shape
        scopes.put(training.program.scope, name, np.full(shape, 0.5, "float32"), paddle.CPUPlace())
    before = weights(training.program)
    list(purdist.train(training, [FEED]))
    after = weights(training.program)
    moved = {path for path in before if np.abs(after[path] - before[path]).max() > 0}
    assert moved == WEIGHTS | {name for name, yes in ours.items() if yes}


def test_lamb_is_handed_parameters_with_those_names() -> None:
    layer = filled()
    biases = names_of(layer, "bias")
    functions: list[Callable[[paddle.Tensor], bool]] = [
        lambda parameter: parameter.name in biases,
        lambda parameter: parameter.name.endswith("bias"),
        lambda parameter: len(parameter.shape) == 1 and parameter.name in biases,
    ]
    for function in functions:
        assert (
            decayed(
                lambda: OPTIMIZERS["Lamb"](
                    0.1,
                    lamb_weight_decay=0.5,
                    exclude_from_weight_decay_fn=function,  # noqa: B023
                ),
                layer,
            )
            == WEIGHTS
        )


def test_a_name_belongs_to_its_network_in_a_joined_program() -> None:
    with paddle.utils.unique_name.guard():
        one = nn.Linear(6, 6)
    with paddle.utils.unique_name.guard():
        other = nn.Linear(6, 6)
    assert one.weight.name == other.weight.name
    inputs = {"x": InputSpec([None, 6])}
    joined = purdist.join(
        purdist.from_layer(other, inputs), purdist.from_layer(one, inputs), {"x": "x"}
    )
    assert joined.variables["weight"].given_name == one.weight.name
    assert joined.variables["peer_weight"].given_name == f"peer_{one.weight.name}"


def test_a_function_that_never_says_yes_is_warned_of() -> None:
    with pytest.warns(
        purdist.PurdistWarning, match="apply_decay_param_fun says yes to none of the 6"
    ):
        purdist.minimize(
            distillation(network()),
            lambda: paddle.optimizer.AdamW(0.1, apply_decay_param_fun=lambda name: name == "w"),
        )


# --- tables -----------------------------------------------------------------------------


class Looking(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.last = nn.Embedding(9, 4, sparse=True), nn.Linear(4, 3)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.last(self.embed(x))


def test_a_table_that_learns_with_sparse_gradients_is_refused_and_a_still_one_is_not() -> None:
    ids = {"x": InputSpec([None, 2], "int64")}
    loss = purdist.CustomLoss(loss_of, {"answer": "output"})

    def sgd() -> paddle.optimizer.Optimizer:
        return paddle.optimizer.SGD(0.1)

    with pytest.raises(purdist.InvalidArgumentError) as caught:
        purdist.minimize(purdist.apply(purdist.from_layer(Looking(), ids), [loss]), sgd)
    assert str(caught.value) == (
        "Expected tables that learn with dense gradients, got sparse=True for 'embed.weight'.\n"
        "Make the embedding with sparse=False, and every row of it moves; or freeze it."
    )
    still = Looking()
    still.embed.weight.stop_gradient = True
    student = purdist.from_layer(still, ids)
    merged = purdist.merge(purdist.from_layer(Looking(), ids), student, {"x": "x"})
    taught = purdist.apply(merged, [purdist.L2Loss("teacher_output", "output")])
    (step,) = purdist.train(
        purdist.minimize(taught, sgd), [{"x": np.array([[1, 2], [3, 4]], "int64")}]
    )
    assert step.loss > 0
