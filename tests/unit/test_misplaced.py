"""What Paddle's users have in hand, given to the wrong function: the text names the right one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

import purdist
from purdist import graphs
from tests import nets

paddle_: Any = paddle  # more of it than purdist has types for
X = {"x": InputSpec([None, 6])}


def linear() -> nn.Layer:
    with graphs.dynamic():
        return nn.Linear(6, 4)


@functools.cache
def network() -> purdist.Program:
    return purdist.from_layer(linear(), X)


@functools.cache
def distillation() -> purdist.Distillation:
    loss = purdist.CrossEntropyLoss("output", purdist.NewInput("label"))
    return purdist.apply(network(), [loss])


def refusal(call: Callable[[], object]) -> purdist.PurdistError:
    with pytest.raises(purdist.PurdistError) as caught:
        call()
    return caught.value


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """What ``paddle.jit.save`` wrote of a layer."""
    with graphs.dynamic():
        spec = [InputSpec([None, 6], "float32", "x")]
        paddle_.jit.save(linear(), str(tmp_path / "m"), input_spec=spec)
    return tmp_path / "m"


def test_what_jit_load_returned_goes_to_from_exported(saved: Path) -> None:
    with graphs.dynamic():
        loaded = paddle_.jit.load(str(saved))
        holding = nn.Sequential(loaded, nn.Linear(4, 2))
    for call, where in (
        (lambda: purdist.from_layer(loaded, X), ""),
        (lambda: purdist.from_layer(holding, X), " as its sublayer '0'"),
        (lambda: purdist.to_layer(network(), loaded), ""),
    ):
        error = refusal(call)
        assert isinstance(error, purdist.InvalidArgumentError)
        assert error.problem == (
            f"Expected a layer whose forward can be traced, got {type(loaded).__name__}{where}, "
            "which paddle.jit.load returned."
        )
        assert error.remedy == "Give from_exported the path that paddle.jit.load was given."
    assert "give from_exported the path" in refusal(lambda: purdist.from_static(loaded)).remedy
    program = loaded.program()
    error = refusal(lambda: purdist.from_static(program))
    assert "goes to from_exported, by its path." in error.remedy
    assert purdist.from_exported(saved).parameters  # which is right


def test_what_is_no_static_program_is_told_where_it_goes() -> None:
    for thing, remedy in (
        (linear(), "A layer goes to from_layer: from_layer(layer, {'x': InputSpec([None, 8])})."),
        ("m", "A path goes to from_exported."),
        (Path("m"), "A path goes to from_exported."),
        (paddle.static.Program, "Give the program that the network was built in: "),
        (network(), "Give the program that the network was built in: "),
        (None, "Give the program that the network was built in: "),
    ):
        error = refusal(lambda thing=thing: purdist.from_static(thing))  # type: ignore[misc]
        assert error.problem.startswith("Expected main to be a paddle.static.Program, got ")
        assert error.remedy.startswith(remedy)


def test_the_network_of_a_model_is_taken() -> None:
    model = paddle_.Model(linear(), [InputSpec([None, 6], "float32", "x")])
    for call in (
        lambda: purdist.from_layer(model, X),
        lambda: purdist.to_layer(network(), model),
    ):
        assert str(refusal(call)) == (
            "Expected layer to be a paddle.nn.Layer, got a Model.\n"
            "Give the network in it: model.network."
        )
    assert purdist.from_layer(model.network, X).parameters


def test_where_a_program_or_training_is_wanted_what_makes_one_of_it_is_told() -> None:
    with graphs.building():
        main = paddle.static.Program()
    for thing, remedy in (
        (linear(), "A layer goes to from_layer: from_layer(layer, {'x': InputSpec([None, 8])})."),
        ("m", "A path goes to from_exported."),
        (main, "from_static makes one of a Paddle program."),
        (3, "minimize makes one, of what apply returned."),
    ):
        assert refusal(lambda thing=thing: purdist.student_of(thing)).remedy == remedy  # type: ignore[misc]
    error = refusal(lambda: purdist.minimize(distillation(), print, teacher=purdist.TeacherCache))  # type: ignore[arg-type]
    assert error.remedy == "cache_teacher makes one."


def test_a_layer_made_in_static_mode_is_none_to_trace_nor_to_fill() -> None:
    with graphs.building():
        layer = nn.Linear(6, 4)
    for call in (
        lambda: purdist.from_layer(layer, X),
        lambda: purdist.to_layer(network(), layer),
    ):
        assert refusal(call).problem == (
            "Expected a layer made in dynamic mode, got Linear made in static mode."
        )


def test_a_place_that_is_none_is_told_once() -> None:
    for call in (
        lambda: purdist.from_layer(linear(), X, place="tpu"),
        lambda: purdist.merge(network(), network(), {"x": "x"}, place="tpu"),
    ):
        assert str(refusal(call)) == (
            "Expected place to be one that Paddle runs at, got 'tpu'.\nWrite place='cpu'."
        )


def test_a_path_is_told_without_its_suffix(saved: Path) -> None:
    for suffix in (".json", ".pdiparams"):
        error = refusal(lambda end=suffix: purdist.from_exported(f"{saved}{end}"))  # type: ignore[misc]
        assert isinstance(error, purdist.MissingFileError)
        assert error.remedy == f"Give the path without a suffix: {str(saved)!r}."
    error = refusal(lambda: purdist.from_exported(saved.parent))
    assert error.remedy == f"It is a folder: give the path of a model in it, {str(saved)!r}."
    (saved.parent / "empty").mkdir()
    error = refusal(lambda: purdist.from_exported(saved.parent / "empty"))
    assert "a folder, without a model in it" in error.remedy
    error = refusal(lambda: purdist.from_exported(saved.parent / "other"))
    assert error.remedy == "Give the path without a suffix, as it was given to paddle.jit.save."


def static(folder: Path) -> tuple[paddle.static.Program, paddle.static.Scope]:
    """What ``paddle.static.save`` wrote of a network, and the folder of an older Paddle."""
    scope = paddle.static.Scope()
    with nets.old_form():
        main, startup = paddle.static.Program(), paddle.static.Program()
    with (
        nets.old_form(),
        paddle.static.program_guard(main, startup),
        paddle.static.scope_guard(scope),
    ):
        x = paddle.static.data("x", [None, 6])
        y = paddle.static.nn.fc(x, 3)
        executor = paddle.static.Executor()
        executor.run(startup)
        paddle_.static.save(main, str(folder / "s"))
        paddle_.static.save_inference_model(str(folder / "m"), [x], [y], executor)
    (folder / "fluid").mkdir()
    (folder / "m.pdmodel").rename(folder / "fluid" / "__model__")
    (folder / "m.pdiparams").rename(folder / "fluid" / "__params__")
    return main, scope


def test_weights_of_another_kind_beside_a_model_are_told_how_to_be_loaded(tmp_path: Path) -> None:
    main, scope = static(tmp_path)
    for name in ("s", "s.pdmodel", "s.pdparams"):
        error = refusal(lambda name=name: purdist.from_exported(tmp_path / name))  # type: ignore[misc]
        assert isinstance(error, purdist.MissingFileError)
        assert f"call paddle.static.load(main, {str(tmp_path / 's')!r})" in error.remedy
        assert "and give from_static main" in error.remedy
    new = paddle.static.Scope()
    with nets.old_form(), paddle.static.scope_guard(new):  # what the text says is right
        paddle_.static.load(main, str(tmp_path / "s"), paddle.static.Executor())
        read = purdist.from_static(main)
    as_it_was = purdist.from_static(main, scope=scope)
    assert nets.moved(nets.weights(as_it_was), nets.weights(read)) == set()


def test_the_folder_of_an_older_paddle_is_told_how_to_be_read(tmp_path: Path) -> None:
    static(tmp_path)
    folder = tmp_path / "fluid"
    for path in (folder, folder / "__model__"):
        error = refusal(lambda path=path: purdist.from_exported(path))  # type: ignore[misc]
        assert "under paddle.pir_utils.OldIrGuard(), read it with" in error.remedy
        assert f"load_inference_model({str(folder)!r}, exe, model_filename=" in error.remedy
    with nets.old_form(), paddle.static.scope_guard(paddle.static.Scope()):
        main, *_ = paddle_.static.load_inference_model(
            str(folder),
            paddle.static.Executor(),
            model_filename="__model__",
            params_filename="__params__",
        )
        assert purdist.from_static(main).parameters


def test_weights_that_paddle_saved_are_told_how_to_be_brought_in(
    tmp_path: Path, saved: Path
) -> None:
    path = str(tmp_path / "w.pdparams")
    layer = linear()
    with graphs.dynamic():
        paddle_.save(layer.state_dict(), path)
        paddle_.save(layer.state_dict(), str(tmp_path / "w"))
    for name in ("w.pdparams", "w"):
        error = refusal(lambda name=name: purdist.load_weights(network(), tmp_path / name))  # type: ignore[misc]
        assert isinstance(error, purdist.CorruptFileError)
        assert error.problem.endswith("got one that paddle.save wrote.")
        told = f"layer.set_state_dict(paddle.load({str(tmp_path / name)!r})), and give from_layer"
        assert told in error.remedy
    error = refusal(lambda: purdist.load_weights(network(), f"{saved}.pdiparams"))
    assert error.remedy == f"Read the model with from_exported({str(saved)!r})."
    with graphs.dynamic():
        other = linear()
        other.set_state_dict(paddle_.load(path))
    brought = purdist.from_layer(other, X)
    np.testing.assert_array_equal(nets.weights(brought)["weight"], layer.weight.numpy())


def test_layers_that_forward_makes_are_told_where_to_be_made() -> None:
    class Making(nn.Layer):
        def forward(self, x: paddle.Tensor) -> paddle.Tensor:
            return nn.Linear(6, 4)(x)

    class Creating(nn.Layer):
        def forward(self, x: paddle.Tensor) -> paddle.Tensor:
            return x * self.create_parameter([6])

    for kind in (Making, Creating):
        with graphs.dynamic():
            layer = kind()
        error = refusal(lambda layer=layer: purdist.from_layer(layer, X))  # type: ignore[misc]
        assert isinstance(error, purdist.TracingError)
        assert f"Expected {kind.__name__} to hold the weights that it computes" in error.problem
        assert "that its forward makes at each call" in error.problem
        assert error.remedy.startswith("Make layers and parameters in __init__")


# --- optimizers -------------------------------------------------------------------------------


def grouped() -> object:
    return paddle_.optimizer.Adam(0.1, parameters=[{"params": linear().parameters()}])


def merging() -> object:
    return paddle_.incubate.optimizer.GradientMergeOptimizer(paddle.optimizer.SGD(0.1))


def mixed() -> object:
    return paddle_.static.amp.decorate(paddle.optimizer.SGD(0.1))


def distributed() -> object:
    return paddle_.distributed.fleet.distributed_optimizer(paddle.optimizer.SGD(0.1))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "problem", "remedy"),
    [
        (grouped, "got Adam with groups of them", "ParamAttr(learning_rate=0.1"),
        (merging, "got GradientMergeOptimizer", "accumulate=k"),
        (mixed, "got OptimizerWithMixedPrecision", "auto_cast(dtype='bfloat16'): in forward"),
        (distributed, "got Fleet", "minimize(..., data_parallel=True)"),
    ],
)
def test_an_optimizer_that_is_refused_is_told_what_does_the_same(
    make: Callable[[], Any], problem: str, remedy: str
) -> None:
    error = refusal(lambda: purdist.minimize(distillation(), make))
    assert isinstance(error, purdist.InvalidArgumentError)
    assert problem in error.problem
    assert remedy in error.remedy
    assert "lambda: paddle.optimizer.Adam(" in error.remedy


# --- names and losses -------------------------------------------------------------------------


def product(value: paddle.Tensor, factor: object) -> paddle.Tensor:
    return (value * factor).mean()  # type: ignore[operator]


@pytest.mark.parametrize("factor", [4.0, None, np.ones(2), ["output"]])
def test_what_is_no_variable_of_a_custom_loss_is_told_where_it_goes(factor: Any) -> None:
    error = refusal(lambda: purdist.CustomLoss(product, {"value": "output", "factor": factor}))
    assert isinstance(error, purdist.InvalidArgumentError)
    assert error.problem == (
        "Expected variables['factor'] to be the name of a variable or a NewInput, got "
        f"{type(factor).__name__}."
    )
    assert "functools.partial(function, factor=...)" in error.remedy
    fixed = purdist.CustomLoss(functools.partial(product, factor=4.0), {"value": "output"})
    assert purdist.apply(network(), [fixed]).terms


def test_a_custom_loss_wants_its_variables_in_a_mapping() -> None:
    variables: Any = ["output"]
    error = refusal(lambda: purdist.CustomLoss(product, variables))
    assert error.problem == "Expected variables= to be a mapping, got list."


def test_a_kind_of_ones_own_is_told_how_to_be_known() -> None:
    table = {"kind": "mine", "teacher_var": "t", "student_var": "s"}
    error = refusal(lambda: purdist.losses_from_data([table]))
    assert error.remedy.endswith("One of your own is known by own=[YourLoss].")


def test_another_size_may_be_fed_on_its_own() -> None:
    teacher = nets.program(nets.linear("y", (8, 4)))
    error = refusal(lambda: purdist.merge(teacher, network(), {"y": "x"}))
    assert isinstance(error, purdist.ShapeMismatchError)
    assert "keep_inputs=['y']" in error.remedy
    assert purdist.merge(teacher, network(), {}, keep_inputs=["y"]).inputs == ("x", "teacher_y")


def test_a_near_variable_is_named_once() -> None:
    with graphs.dynamic():
        deep = purdist.from_layer(nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 4)), X)
    assert deep.variables["output"] is deep.variables["1"]
    for name in ("outptu", "1s", "outpu"):
        error = refusal(lambda name=name: deep.variable(name))  # type: ignore[misc]
        assert error.remedy.count("[-1, 4] float32") == 1


@pytest.mark.parametrize("fetch", [("teacher_0",), ("output", "teacher_0")])
def test_what_a_teacher_elsewhere_keeps_to_itself_is_said_so(fetch: tuple[str, ...]) -> None:
    with graphs.dynamic():
        deep = purdist.from_layer(nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 4)), X)
    merged = purdist.merge(deep, network(), {"x": "x"})
    distilled = purdist.apply(merged, [purdist.KDLoss("teacher_output", "output")])
    training = purdist.minimize(distilled, lambda: paddle.optimizer.SGD(0.1), teacher="inference")
    error = refusal(lambda: purdist.train(training, [], fetch=fetch))
    assert isinstance(error, purdist.InvalidArgumentError)
    assert error.problem.startswith(
        "Expected variables that the step computes, got 'teacher_0' of a teacher that runs in "
        "Paddle Inference"
    )
    assert "Of that teacher a step gets 'teacher_" in error.remedy
    feed = {"x": nets.numbers(0, 2, 6)}
    (step,) = purdist.train(training, [feed], fetch=["output", "teacher_output"])
    assert set(step.fetched) == {"output", "teacher_output"}
    assert set(training.program.run(feed, ["teacher_0"])) == {"teacher_0"}  # as the text says


def test_names_may_be_any_iterable() -> None:
    feed = {"x": nets.numbers(0, 2, 6)}
    names: Any = (name for name in ["output"])
    assert set(network().run(feed, names)) == {"output"}
    training = purdist.minimize(distillation(), lambda: paddle.optimizer.SGD(0.1))
    names = (name for name in ["output"])
    (step,) = purdist.train(training, [{**feed, "label": np.zeros(2, int)}], fetch=names)
    assert set(step.fetched) == {"output"}
