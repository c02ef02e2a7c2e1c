"""Some weights of a file: those that fit, or those that are named; the others stay."""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec
from safetensors.numpy import save_file

import purdist
from purdist import PartialWeightsWarning, graphs
from tests.nets import moved, numbers, untouched, weights


class Network(nn.Layer):
    """A backbone of some layers, with a running statistic, and a head."""

    def __init__(self, layers: int = 2, classes: int = 4, *, norm: bool = True) -> None:
        super().__init__()
        self.layers = nn.LayerList([nn.Linear(6, 6) for _ in range(layers)])
        self.norm = nn.BatchNorm1D(6) if norm else nn.Sequential()
        self.head = nn.Linear(6, classes)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        for layer in self.layers:
            x = paddle.tanh(layer(x))
        logits: paddle.Tensor = self.head(self.norm(x))
        return logits


@cache
def network(seed: int, **options: Any) -> purdist.Program:
    with graphs.dynamic():
        paddle.seed(seed)
        return purdist.from_layer(Network(**options), {"x": InputSpec([None, 6])}, check=False)


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """A teacher of four layers, ten classes and no norm."""
    purdist.save_weights(network(1, layers=4, classes=10, norm=False), tmp_path / "teacher")
    return tmp_path / "teacher"


BACKBONE = {f"layers.{k}.{name}" for k in range(2) for name in ("weight", "bias")}
HEAD = ("head.weight", "head.bias")


def test_what_fits_is_taken_and_a_warning_tells_what_was_left(pretrained: Path) -> None:
    student = network(0)
    with untouched(student), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = purdist.load_weights(student, pretrained, partial=True)
    teacher, found = network(1, layers=4, classes=10, norm=False), weights(loaded)
    for name in BACKBONE:
        np.testing.assert_array_equal(found[name], weights(teacher)[name])
    assert moved(weights(student), found) <= BACKBONE
    (warning,) = caught
    said = warning.message
    assert isinstance(said, PartialWeightsWarning)
    assert Path(warning.filename) == Path(__file__)
    assert said.missing == ("norm.weight", "norm.bias", "norm._mean", "norm._variance")
    assert said.mismatched == HEAD
    assert set(said.unexpected) == {f"layers.{k}.{n}" for k in (2, 3) for n in ("weight", "bias")}
    assert str(said) == (
        f"4 weights are taken from {str(pretrained)!r}, but not 4 that the file does not have "
        "(norm.weight [6] float32, norm.bias [6] float32, norm._mean [6] float32, ...), nor 2 that "
        "are others there (head.weight [6, 4] float32, there head.weight [6, 10] float32, "
        "head.bias [4] float32, there head.bias [10] float32), nor 4 that the program does not "
        "have (layers.2.bias, layers.2.weight, layers.3.bias, ...)."
    )


def test_a_partial_load_is_a_program_like_any_other(pretrained: Path) -> None:
    with pytest.warns(PartialWeightsWarning):
        loaded = purdist.load_weights(network(0), pretrained, partial=True)
    training = purdist.minimize(
        purdist.apply(loaded, [purdist.CrossEntropyLoss("output", purdist.NewInput("label"))]),
        lambda: paddle.optimizer.SGD(0.1),
    )
    before, own = weights(loaded), weights(network(0))
    feed = {"x": numbers(0, 3, 6), "label": np.array([0, 1, 2])}
    assert len([*purdist.train(training, [feed] * 2)]) == 2
    assert moved(before, weights(loaded)) == moved(own, weights(network(0))) == set()


def test_a_teacher_s_weights_that_are_not_taken_are_shared(tmp_path: Path) -> None:
    merged = purdist.merge(network(2), network(0), {"x": "x"})
    purdist.save_weights(network(3), tmp_path / "w")
    names = {name: name for name in network(3).weights}
    loaded = purdist.load_weights(merged, tmp_path / "w", names=names)
    assert "head.weight" in moved(weights(merged), weights(loaded)) <= {*names}

    def address(program: purdist.Program, name: str) -> int:
        return program.scope.var(name).get_tensor()._ptr()

    assert address(loaded, "teacher_head.weight") == address(merged, "teacher_head.weight")
    assert address(loaded, "head.weight") != address(merged, "head.weight")


def test_nothing_is_warned_of_where_all_fits(tmp_path: Path) -> None:
    purdist.save_weights(network(1), tmp_path / "w")
    loaded = purdist.load_weights(network(0), tmp_path / "w", partial=True)
    assert moved(weights(network(1)), weights(loaded)) == set()


def test_a_file_of_which_nothing_fits_is_refused(tmp_path: Path) -> None:
    renamed = {f"backbone.{name}": array for name, array in weights(network(1)).items()}
    save_file(renamed, tmp_path / "w")
    with pytest.raises(purdist.UninitializedWeightsError) as caught:
        purdist.load_weights(network(0), tmp_path / "w", partial=True)
    assert re.fullmatch(
        r"Expected some of layers.0.weight \[6, 6\] float32, .*, \.\.\. in '.*', got none that "
        r"fits: it has backbone.head.bias \[4\] float32, .*, \.\.\.\.\n"
        r"Say which is which with names=\{weight of the program: its name in the file\}.",
        str(caught.value),
    )
    names = {name: f"backbone.{name}" for name in network(0).weights}
    loaded = purdist.load_weights(network(0), tmp_path / "w", names=names)
    assert moved(weights(network(1)), weights(loaded)) == set()


def test_another_dtype_does_not_fit(tmp_path: Path) -> None:
    other = weights(network(1))
    other["head.bias"] = other["head.bias"].astype("float16")
    save_file(other, tmp_path / "w")
    with pytest.warns(PartialWeightsWarning, match="float16") as caught:
        purdist.load_weights(network(0), tmp_path / "w", partial=True)
    (warning,) = caught
    assert warning.message.mismatched == ("head.bias",)  # type: ignore[union-attr]


# --- those that are named ------------------------------------------------------------------------

ALTERNATE = {
    f"layers.{own}.{name}": f"layers.{theirs}.{name}"
    for own, theirs in ((0, 0), (1, 2))
    for name in ("weight", "bias")
}


@pytest.mark.parametrize("partial", [False, True])
def test_a_student_begins_with_some_of_its_teacher_s_layers(
    pretrained: Path, *, partial: bool
) -> None:
    student, teacher = network(0), weights(network(1, layers=4, classes=10, norm=False))
    loaded = purdist.load_weights(student, pretrained, names=ALTERNATE, partial=partial)
    found = weights(loaded)
    for own, theirs in ALTERNATE.items():
        np.testing.assert_array_equal(found[own], teacher[theirs])
    assert moved(weights(student), found) <= set(ALTERNATE)


def test_one_of_the_file_may_begin_several(pretrained: Path) -> None:
    names = {"layers.0.weight": "layers.3.weight", "layers.1.weight": "layers.3.weight"}
    found = weights(purdist.load_weights(network(0), pretrained, names=names))
    np.testing.assert_array_equal(found["layers.0.weight"], found["layers.1.weight"])


def test_what_of_those_named_does_not_fit_is_told_by_a_partial_load(pretrained: Path) -> None:
    names = {**ALTERNATE, "head.bias": "head.bias", "norm.bias": "norm.bias"}
    with pytest.warns(PartialWeightsWarning) as caught:
        purdist.load_weights(network(0), pretrained, names=names, partial=True)
    (warning,) = caught
    said: Any = warning.message
    assert (said.missing, said.unexpected, said.mismatched) == (("norm.bias",), (), ("head.bias",))


REFUSED: dict[str, tuple[dict[str, str], type[purdist.PurdistError], str]] = {
    "no variable": (
        {"layer.0.weight": "layers.0.weight"},
        purdist.UnknownVariableError,
        "Did you mean layers.0.weight",
    ),
    "no weight": (
        {"x": "layers.0.weight"},
        purdist.UnknownVariableError,
        "Expected names to have weights of the program, got x [-1, 6] float32.",
    ),
    "not in the file": (
        {"layers.0.weight": "layer.0.weight"},
        purdist.UninitializedWeightsError,
        "Expected the weight layers.0.weight [6, 6] float32 as 'layer.0.weight' in",
    ),
    "of another shape": (
        {"head.bias": "head.bias", "layers.0.weight": "layers.0.weight"},
        purdist.ShapeMismatchError,
        "got [10] float32.",
    ),
}


@pytest.mark.parametrize(("names", "kind", "said"), REFUSED.values(), ids=REFUSED)
def test_names_that_are_wrong_are_refused(
    names: dict[str, str], kind: type[purdist.PurdistError], said: str, pretrained: Path
) -> None:
    with pytest.raises(kind) as caught:
        purdist.load_weights(network(0), pretrained, names=names)
    assert type(caught.value) is kind
    assert said in str(caught.value)


def test_a_file_is_whole_if_some_of_it_is_taken(pretrained: Path) -> None:
    content = bytearray(pretrained.read_bytes())
    content[-1] ^= 1  # of a weight that nobody takes
    pretrained.write_bytes(content)
    with pytest.raises(purdist.CorruptFileError):
        purdist.load_weights(network(0), pretrained, names=ALTERNATE)


def test_what_is_left_may_be_of_a_dtype_that_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "w"
    save_file({"layers.0.bias": np.zeros(6, "float32"), "other": np.zeros(3, "uint8")}, path)
    path.write_bytes(path.read_bytes().replace(b'"U8"', b'"F9"'))
    with pytest.warns(PartialWeightsWarning):
        loaded = purdist.load_weights(network(0), path, partial=True)
    assert not weights(loaded)["layers.0.bias"].any()


def test_the_warning_is_data_that_can_be_sent() -> None:
    given = PartialWeightsWarning("told", ["a"], ["b", "c"], ["d"])
    for sent in (pickle.loads(pickle.dumps(given)), copy.deepcopy(given)):
        assert type(sent) is PartialWeightsWarning
        assert str(sent) == "told"
        assert (sent.missing, sent.unexpected, sent.mismatched) == (("a",), ("b", "c"), ("d",))
