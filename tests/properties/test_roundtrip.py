"""Out to a file and back: `export` with `from_exported`, `save_weights` with `load_weights`."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle import nn
from paddle.static import InputSpec

import purdist
from purdist import scopes
from purdist.program import internals_of
from tests import nets
from tests.nets import moved, weights
from tests.profiles import examples

WIDTHS = st.integers(1, 5)
Part = Callable[[int, int], nn.Layer]


class Added(nn.Layer):
    """Two ways that meet."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.one = nn.Linear(inside, outside)
        self.other = nn.Linear(inside, outside)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.one(x) + self.other(x)


PARTS: dict[str, Part] = {
    "linear": nn.Linear,
    "normed": lambda inside, outside: nn.Sequential(
        nn.Linear(inside, outside), nn.BatchNorm1D(outside)
    ),
    "dropped": lambda inside, outside: nn.Sequential(nn.Linear(inside, outside), nn.Dropout(0.5)),
    "added": Added,
    "softmax": lambda inside, outside: nn.Sequential(nn.Linear(inside, outside), nn.Softmax()),
}


@st.composite
def programs(draw: st.DrawFn) -> purdist.Program:
    """A program of a few layers, in one of the dtypes that Paddle trains in on the CPU."""
    sizes = draw(st.lists(WIDTHS, min_size=2, max_size=4))
    kinds = [draw(st.sampled_from(sorted(PARTS))) for _ in sizes[1:]]
    dtype = draw(st.sampled_from(["float32", "float64"]))
    batch = draw(st.sampled_from([None, 2]))
    paddle.disable_static()
    paddle.seed(draw(st.integers(0, 100)))
    paddle.set_default_dtype(dtype)
    pairs = itertools.pairwise(sizes)
    layer = nn.Sequential(*(PARTS[kind](*pair) for kind, pair in zip(kinds, pairs, strict=True)))
    paddle.set_default_dtype("float32")
    program = purdist.from_layer(layer, {"x": InputSpec([batch, sizes[0]], dtype)})
    paddle.enable_static()
    return program


@st.composite
def chosen(draw: st.DrawFn, program: purdist.Program) -> list[str]:
    """Some of the activations that a program infers, each once."""
    values = internals_of(program).modes.inference.values
    by_value = {
        values[name].id: name
        for name, v in program.variables.items()
        if v.role == "activation" and name in values and v.dtype.startswith("float")
    }
    names = sorted(by_value.values())
    return draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))


@settings(max_examples=examples(12))  # each traces a layer, which takes Paddle a tenth of a second
@given(program=programs(), data=st.data())
def test_an_exported_program_comes_back(program: purdist.Program, data: st.DataObject) -> None:
    outputs = data.draw(chosen(program))
    x = program.variables["x"]
    feed = {"x": np.random.RandomState(0).randn(2, x.shape[1]).astype(x.dtype)}
    with tempfile.TemporaryDirectory() as folder:
        purdist.export(program, Path(folder) / "m", outputs)
        back = purdist.from_exported(Path(folder) / "m")
        purdist.export(back, Path(folder) / "again", outputs)
        once, twice = (Path(folder) / f"{stem}.pdiparams" for stem in ("m", "again"))
        assert once.exists() == twice.exists() == bool(back.weights)
        assert not back.weights or once.read_bytes() == twice.read_bytes()
    assert set(back.inputs) <= {"x"}
    for name in (*outputs, *back.weights, *back.inputs):
        ours, theirs = program.variables[name], back.variables[name]
        assert (ours.shape, ours.dtype, ours.role) == (theirs.shape, theirs.dtype, theirs.role)
    kept = {name: array for name, array in weights(program).items() if name in back.weights}
    assert moved(kept, weights(back)) == set()
    fed = {name: feed[name] for name in back.inputs}
    got, expected = back.run(fed, outputs), program.run(feed, outputs)
    for name in outputs:
        np.testing.assert_array_equal(got[name], expected[name])


@settings(max_examples=examples(30))
@given(
    sizes=st.lists(WIDTHS, min_size=2, max_size=4),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_loading_what_was_saved_is_the_identity(sizes: list[int], dtype: str, seed: int) -> None:
    random = np.random.RandomState(seed)
    program = nets.program(nets.linear(sizes=tuple(sizes), dtype=dtype))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w"
        purdist.save_weights(program, path)
        loaded = purdist.load_weights(program, path)
        assert moved(weights(program), weights(loaded)) == set()
        # Any bits at all, NaNs and infinities among them.
        for name, array in weights(loaded).items():
            noise = np.frombuffer(random.bytes(array.nbytes), array.dtype).reshape(array.shape)
            scopes.put(loaded.scope, name, noise, loaded.place)
        held = weights(loaded)
        purdist.save_weights(loaded, path)
        assert moved(held, weights(purdist.load_weights(program, path))) == set()
