"""Weights into a file and out of it, to the bit, and back into a layer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec
from safetensors import safe_open

import purdist
from purdist.sources.weights import held_by
from tests import layers, nets
from tests.layers import CASES
from tests.nets import Array, moved, numbers, untouched, weights
from tests.unit.test_layer import one_step

DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "int64", "uint8", "bool")


class Holding(nn.Layer):
    """A weight of some dtype, a scalar of it, and something to compute."""

    def __init__(self, dtype: str, size: int = 3, *, more: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        numbers = np.random.default_rng().integers(0, 2, [size, 2])
        self.register_buffer("held", paddle.to_tensor(numbers).astype(dtype))
        self.register_buffer("scalar", paddle.to_tensor(1.0).astype(dtype))
        if more:
            self.more = nn.Linear(2, 2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.linear(x)


def holding(dtype: str, size: int = 3, *, more: bool = False) -> purdist.Program:
    layer = Holding(dtype, size, more=more)
    return purdist.from_layer(layer, {"x": InputSpec([None, 2])})


@pytest.mark.usefixtures("dynamic")
@pytest.mark.parametrize("dtype", DTYPES)
def test_saved_and_loaded_are_equal_to_the_bit(dtype: str, tmp_path: Path) -> None:
    source, other = holding(dtype), holding(dtype)
    with untouched(source, other):
        purdist.save_weights(source, tmp_path / "w.safetensors")
        loaded = purdist.load_weights(other, tmp_path / "w.safetensors")
    assert source.variables["held"].dtype == dtype
    assert moved(weights(source), weights(loaded)) == set()
    assert moved(weights(other), weights(loaded)) >= {"linear.weight"}
    feed = {"x": numbers(0, 3, 2)}
    np.testing.assert_array_equal(
        loaded.run(feed, ["output"])["output"], source.run(feed, ["output"])["output"]
    )
    again = purdist.load_weights(loaded, tmp_path / "w.safetensors")
    for name, array in weights(again).items():
        assert array.shape == source.variables[name].shape


def test_the_weights_of_a_training_as_they_are_now(tmp_path: Path) -> None:
    network = nets.program(nets.images())
    training = one_step(network, ["logits"], {"x": numbers(0, 3, 1, 4, 4)})
    purdist.save_weights(training, tmp_path / "w")
    loaded = purdist.load_weights(network, tmp_path / "w")
    assert moved(weights(network), weights(loaded)) == set(network.weights)
    assert moved(weights(training.program), weights(loaded)) == set()
    merged = purdist.merge(loaded, network, {"x": "x"})  # it is a program like any other
    assert merged.run({"x": numbers(0, 3, 1, 4, 4)}, ["teacher_logits"])["teacher_logits"].any()
    with safe_open(tmp_path / "w", framework="np") as file:
        assert set(file.keys()) == set(network.weights)


# A way out -> the weights that it takes from what holds them.
OUT: dict[str, Callable[[purdist.Training, nn.Layer, Path], Mapping[str, Array]]] = {
    "student_of": lambda source, _, __: weights(purdist.student_of(source)),
    "save_weights": lambda source, _, path: _saved(source, path),
    "export": lambda source, _, path: _exported(source, path),
    "to_layer": lambda source, layer, _: {
        name: tensor.numpy() for name, tensor, _ in held_by(purdist.to_layer(source, layer))
    },
}


def _saved(source: purdist.Training, path: Path) -> dict[str, Array]:
    purdist.save_weights(source, path)
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping


def _exported(source: purdist.Training, path: Path) -> dict[str, Array]:
    purdist.export(source, path, ["output"], check=False)
    return weights(purdist.from_exported(path))


def trained() -> tuple[nn.Layer, purdist.Distillation, purdist.Training]:
    layer = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1D(3), nn.Linear(3, 2))
    network = purdist.from_layer(layer, {"x": InputSpec([None, 4])})
    loss = purdist.CrossEntropyLoss("output", purdist.NewInput("label"))
    distillation = purdist.apply(network, [loss])
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
    feed = {"x": numbers(0, 3, 4), "label": np.array([0, 1, 1])}
    list(purdist.train(training, [feed] * 2))
    return layer, distillation, training


@pytest.mark.usefixtures("dynamic")
@pytest.mark.parametrize("out", OUT)
def test_what_is_taken_out_of_a_training_has_learned(out: str, tmp_path: Path) -> None:
    layer, distillation, training = trained()
    taken = OUT[out](training, layer, tmp_path / "w")
    assert moved(weights(training.program), taken) == set()
    before = weights(distillation.program)
    assert moved({name: before[name] for name in taken}, taken) == set(before)


@pytest.mark.usefixtures("dynamic")
@pytest.mark.parametrize("out", OUT)
def test_what_never_trains_is_refused(out: str, tmp_path: Path) -> None:
    layer, distillation, training = trained()
    for other in (distillation, training.program.graph, None):
        with pytest.raises(purdist.PurdistError) as caught:
            OUT[out](other, layer, tmp_path / "w")  # type: ignore[arg-type]
        assert caught.value.problem.startswith("Expected source to be a Program or a Training, got")
        assert any(
            maker in caught.value.remedy for maker in ("minimize", "from_layer", "from_static")
        )
    assert not [*tmp_path.iterdir()]


def test_a_name_that_is_there_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"something else" * 1000)
    network = nets.program(nets.linear())
    purdist.save_weights(network, path)
    assert moved(weights(network), weights(purdist.load_weights(network, path))) == set()
    assert list(tmp_path.iterdir()) == [path]


# --- into a layer -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["dynamic", "static"])
@pytest.mark.parametrize("name", ["resnet18", "lstm", "shared", "transformer"])
def test_trained_weights_in_a_new_layer(name: str, mode: str) -> None:
    paddle.disable_static()
    case, layer = CASES[name], layers.layer(name)
    outputs = list(case.call(layer))
    program = purdist.from_layer(layer, case.inputs())
    training = one_step(program, outputs, dict(case.feed))
    before = [np.array(t).tobytes() for _, t, _ in held_by(layer) if t._is_initialized()]
    if mode == "static":
        paddle.enable_static()
    made = purdist.to_layer(training, layer)
    assert paddle.in_dynamic_mode() == (mode == "dynamic")
    paddle.disable_static()
    after = [np.array(t).tobytes() for _, t, _ in held_by(layer) if t._is_initialized()]
    assert before == after
    assert made is not layer
    assert made.training == layer.training
    expected = training.program.run(dict(case.feed), outputs)
    for output, tensor in case.call(made).items():
        np.testing.assert_array_equal(tensor.numpy(), expected[output])
    # It is a layer like any other: it goes on learning, alone.
    made.train()
    case.call(made)[outputs[0]].sum().backward()
    paddle.optimizer.SGD(0.1, parameters=made.parameters()).step()
    np.testing.assert_array_equal(
        training.program.run(dict(case.feed), outputs)[outputs[0]], expected[outputs[0]]
    )
    paddle.enable_static()


@pytest.mark.usefixtures("dynamic")
def test_the_student_of_a_merge_goes_into_a_layer() -> None:
    layer = nn.Sequential(nn.Linear(4, 2))
    student = purdist.from_layer(layer, {"x": InputSpec([None, 4])})
    teacher = purdist.from_layer(nn.Linear(4, 2), {"y": InputSpec([None, 4])})
    merged = purdist.merge(teacher, student, {"y": "x"})
    made = purdist.to_layer(merged, layer)
    np.testing.assert_array_equal(made[0].weight.numpy(), layer[0].weight.numpy())


@pytest.mark.usefixtures("dynamic")
def test_layers_that_were_made_share_no_name_so_that_one_optimizer_takes_them_all() -> None:
    layer = nn.Sequential(nn.Linear(4, 2))
    program = purdist.from_layer(layer, {"x": InputSpec([None, 4])})
    with nets.untouched(program):
        made = [purdist.to_layer(program, layer) for _ in range(2)]
    names = [p.name for one in (layer, *made, copy.deepcopy(layer)) for p in one.parameters()]
    assert len(names) == len(set(names)) == 8


# --- errors -----------------------------------------------------------------------------


def refused(program: purdist.Program, path: Path) -> tuple[type[purdist.PurdistError], str]:
    with pytest.raises(purdist.PurdistError) as caught:
        purdist.load_weights(program, path)
    return type(caught.value), str(caught.value)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "w"
    assert refused(nets.program(nets.linear()), path) == (
        purdist.MissingFileError,
        f"Expected weights in {str(path)!r}, got no such file.\n"
        "Give the path that was given to save_weights, suffix included.",
    )


@pytest.mark.usefixtures("dynamic")
def test_all_that_does_not_fit_is_said_together(tmp_path: Path) -> None:
    path = tmp_path / "w"
    purdist.save_weights(holding("float32", 4, more=True), path)
    program = holding("float16")
    assert refused(program, path) == (
        purdist.SeveralFaultsError,
        "3 faults:\n"
        f"1. Expected the weight held [3, 2] float16 in {str(path)!r}, got [4, 2] float32.\n"
        "It is that of another network.\n"
        f"2. Expected the weight scalar [] float16 in {str(path)!r}, got [] float32.\n"
        "It is that of another network.\n"
        f"3. Expected the weights of the program alone in {str(path)!r}, got 2 more: "
        "more.bias, more.weight.\n"
        "They are those of another network, or of more than the program holds. "
        "save_weights(student_of(training), ...) writes the student alone.",
    )
    purdist.save_weights(program, path)
    assert refused(holding("float16", more=True), path) == (
        purdist.UninitializedWeightsError,
        f"Expected 6 weights in {str(path)!r}, got none for 2 of them: more.weight [2, 2] float32, "
        "more.bias [2] float32.\n"
        "They are those of another network, or of a part of it.",
    )


@pytest.mark.usefixtures("dynamic")
def test_a_layer_of_another_structure() -> None:
    program = holding("float32")
    with pytest.raises(purdist.SeveralFaultsError) as caught:
        purdist.to_layer(program, nn.Sequential(nn.Linear(2, 2)))
    assert str(caught.value) == (
        "2 faults:\n"
        "1. Expected 2 weights in Sequential, got none for 2 of them: linear.weight [2, 2] "
        "float32, linear.bias [2] float32.\n"
        "They are those of another network, or of a part of it.\n"
        "2. Expected the weights of the program alone in Sequential, got 2 more: 0.weight, "
        "0.bias.\n"
        "They are those of another network, or of more than the program holds."
    )


@pytest.mark.usefixtures("dynamic")
def test_a_dtype_that_the_format_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(purdist.DtypeMismatchError) as caught:
        purdist.save_weights(holding("complex128"), tmp_path / "w")
    assert str(caught.value) == (
        "Expected weights of the dtypes that safetensors knows, got held [3, 2] complex128.\n"
        "They are bool, int8, uint8, int16, int32, int64, float16, bfloat16, float32, float64, "
        "complex64."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_cut_or_damaged_anywhere(tmp_path: Path) -> None:
    network = nets.program(nets.linear(sizes=(2, 2)))
    path = tmp_path / "w"
    purdist.save_weights(network, path)
    whole = path.read_bytes()
    for k in range(len(whole)):
        for damaged in (whole[:k], whole[:k] + whole[k + 1 :]):
            path.write_bytes(damaged)
            with pytest.raises(purdist.CorruptFileError):
                purdist.load_weights(network, path)
    path.write_bytes(whole[:20])
    assert refused(network, path) == (
        purdist.CorruptFileError,
        f"Expected a safetensors file in {str(path)!r}, got a header that ends behind the "
        "20 bytes of the file.\n"
        "Save the weights again: the file is cut off, damaged or of another format.",
    )
