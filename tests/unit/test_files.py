"""What is read from a file, in every format, infers and trains as what was written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

import attrs
import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

import purdist
from purdist import graphs
from purdist.sources.weights import held_by
from tests.nets import Array, numbers, old_form
from tests.profiles import SLOW

Make = Callable[[], nn.Layer]

zoo: Any = nn
"""Paddle's layers, more than the stubs have."""

ROWS, SEQUENCES, IMAGES, VOLUMES = (6, 8), (3, 5, 6), (3, 4, 8, 8), (3, 4, 4, 4, 4)


class Calling(nn.Layer):
    """A function as a layer."""

    def __init__(self, function: Callable[[paddle.Tensor], paddle.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.function(x)


class First(nn.Layer):
    """What comes first, or last, of all that a layer puts out."""

    def __init__(self, layer: nn.Layer, place: int = 0) -> None:
        super().__init__()
        self.layer = layer
        self.place = place

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        found: Any = self.layer(x)
        while isinstance(found, tuple | list):
            found = found[self.place]
        first: paddle.Tensor = found
        return first


class Attending(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.attention = zoo.MultiHeadAttention(6, 2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        attended: paddle.Tensor = self.attention(x, x, x)
        return attended


class Network(nn.Layer):
    """What is tested, behind weights that gradients are to reach."""

    def __init__(self, make: Make, width: int) -> None:
        super().__init__()
        self.before = nn.Linear(width, width) if width else None
        self.tested = make()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        tested: paddle.Tensor = self.tested(x if self.before is None else self.before(x))
        return tested


@attrs.frozen(eq=False)
class Case:
    """A layer.

    Attributes:
        make: Makes it.
        shape: Of what it is fed.
        words: How many integers it looks up, 0 where it takes floats.
        trains_as: What is left of it in a file of Paddle's, where that is not the layer itself:
            the one table of what `from_exported` says is lost. A file of ours says so, and
            `minimize` refuses it.
        static: Whether it is taken when it is built in static mode.
    """

    make: Make
    shape: tuple[int, ...] = ROWS
    words: int = 0
    trains_as: Make | None = None
    static: bool = True

    @property
    def feed(self) -> dict[str, Array]:
        if self.words:
            return {"x": np.random.RandomState(0).randint(0, self.words, self.shape)}
        return {"x": numbers(0, *self.shape)}

    @property
    def spec(self) -> InputSpec:
        return InputSpec([None, *self.shape[1:]], "int64" if self.words else "float32", "x")

    def network(self, make: Make | None = None) -> Network:
        return Network(make or self.make, 0 if self.words else self.shape[-1])


def calling(function: Callable[[paddle.Tensor], paddle.Tensor]) -> Make:
    return lambda: Calling(function)


def without_gradient(x: paddle.Tensor) -> paddle.Tensor:
    with paddle.no_grad():
        return paddle.exp(x * 2.0)


def recurrent(kind: str, place: int = 0, **options: Any) -> Case:
    return Case(lambda: First(getattr(zoo, kind)(6, 4, **options), place), SEQUENCES)


def lost(make: Make, shape: tuple[int, ...]) -> Case:
    """A dropout that is no op of its own: an export leaves it out, static mode does not do it."""
    return Case(make, shape, trains_as=zoo.Identity, static=False)


CASES: Mapping[str, Case] = {
    "batch norm": Case(lambda: zoo.BatchNorm2D(4), IMAGES),
    "batch norm, of the batch": Case(lambda: zoo.BatchNorm2D(4, use_global_stats=False), IMAGES),
    "batch norm, trainable statistics": Case(
        lambda: zoo.BatchNorm(4, trainable_statistics=True), IMAGES
    ),
    "batch norm, gathered": Case(
        lambda: zoo.BatchNorm2D(4, use_global_stats=True),
        IMAGES,
        trains_as=lambda: zoo.BatchNorm2D(4),
    ),
    **{f"recurrent, {kind}": recurrent(kind) for kind in ("LSTM", "GRU", "SimpleRNN")},
    "recurrent, dropout": recurrent("GRU", num_layers=2, dropout=0.5, direction="bidirect"),
    "recurrent, last state": recurrent("LSTM", -1),
    "recurrent, cell": Case(lambda: First(zoo.RNN(zoo.LSTMCell(6, 4))), SEQUENCES),
    "dropout": Case(lambda: zoo.Dropout(0.4)),
    "dropout of rows": lost(lambda: zoo.Dropout(0.4, axis=0), ROWS),
    "dropout of maps": lost(lambda: zoo.Dropout2D(0.4), IMAGES),
    "alpha dropout": lost(lambda: zoo.AlphaDropout(0.4), ROWS),
    "random slopes": Case(zoo.RReLU),
    "embedding, padded": Case(lambda: zoo.Embedding(9, 4, padding_idx=2), (3, 5), words=9),
    "encoder": Case(lambda: zoo.TransformerEncoderLayer(6, 2, 8, 0.3), SEQUENCES),
    "largest, and back": Case(
        calling(
            lambda x: zoo.functional.max_unpool2d(
                *zoo.functional.max_pool2d(x, 2, return_mask=True), 2
            )
        ),
        IMAGES,
    ),
    "products": Case(calling(lambda x: paddle.einsum("ij,kj->ik", x, x))),
    "a part": Case(calling(lambda x: paddle.split(x, 4, -1)[1])),
    "a part, twice": Case(calling(lambda x: paddle.split(x, 4, -1)[0] * x[:, 2:3])),
    "without gradient": Case(calling(lambda x: without_gradient(x) * x)),
    "detached": Case(calling(lambda x: x.detach() * x)),
    "layers of maps": Case(
        lambda: zoo.Sequential(
            zoo.Conv2D(4, 8, 3, 2, "SAME", groups=2),
            zoo.InstanceNorm2D(8),
            zoo.Conv2DTranspose(8, 6, 3, 2),
            zoo.GroupNorm(2, 6),
            zoo.Maxout(2),
            zoo.Upsample(scale_factor=2, mode="bicubic"),
            zoo.AvgPool2D(3, 2, 1),
            zoo.Pad2D(1, mode="reflect"),
            zoo.BatchNorm2D(3),
        ),
        IMAGES,
    ),
    "more layers of maps": Case(
        lambda: zoo.Sequential(
            zoo.PReLU(4),
            zoo.Conv2D(4, 3, 3),
            zoo.Upsample([5, 5], mode="bilinear"),
            zoo.AdaptiveMaxPool2D(3),
            zoo.Unfold(2),
            zoo.Conv1D(12, 3, 2),
            zoo.LayerNorm(3),
        ),
        IMAGES,
    ),
    "layers of maps, channels last": Case(
        lambda: zoo.Sequential(
            zoo.Conv2D(8, 6, 3, data_format="NHWC"), zoo.BatchNorm2D(6, data_format="NHWC")
        ),
        IMAGES,
    ),
    "layers of volumes": Case(
        lambda: zoo.Sequential(
            zoo.BatchNorm3D(4), zoo.Conv3D(4, 2, 3), zoo.Conv3DTranspose(2, 2, 3), zoo.AvgPool3D(2)
        ),
        VOLUMES,
    ),
}


@attrs.frozen(eq=False)
class Static:
    """The network of a case built in static mode."""

    main: paddle.static.Program
    scope: paddle.static.Scope
    x: paddle.Tensor
    output: paddle.Tensor

    @classmethod
    def of(cls, case: Case, values: Mapping[str, Array]) -> Self | None:
        """With these weights; None where Paddle does not build it.

        Some of its functions take no old variables, unless the process began in static mode.
        """
        main, startup = paddle.static.Program(), paddle.static.Program()
        scope = paddle.static.Scope()
        with paddle.static.program_guard(main, startup):
            x = paddle.static.data("x", case.spec.shape, case.spec.dtype)
            network = case.network()
            try:
                output = network(x)
            except (TypeError, ValueError):
                return None
        paddle.static.Executor().run(startup, scope=scope)
        for name, tensor, _ in held_by(network):
            variable = scope.find_var(tensor.name)
            if variable is not None and name in values:
                variable.get_tensor().set(values[name], paddle.CPUPlace())
        return cls(main, scope, x, output)

    def program(self) -> purdist.Program:
        """As it is."""
        return purdist.from_static(self.main, scope=self.scope, names={"output": self.output})

    def saved(self, path: Path) -> purdist.Program:
        """Written by Paddle, and read."""
        with paddle.static.scope_guard(self.scope):
            paddle.static.save_inference_model(
                str(path), [self.x], [self.output], paddle.static.Executor(), program=self.main
            )
        return purdist.from_exported(path)

    @staticmethod
    def loaded(path: Path) -> purdist.Program:
        """What Paddle loads of that."""
        scope = paddle.static.Scope()
        with paddle.static.scope_guard(scope):
            program, feeds, outputs = paddle.static.load_inference_model(
                str(path), paddle.static.Executor()
            )
        assert feeds == ["x"]
        return purdist.from_static(program, scope=scope, names={"output": outputs[0]})


def behaviour(program: purdist.Program, feed: dict[str, Array]) -> dict[str, Any]:
    """How it infers, three steps of training, and how it infers then."""
    loss = purdist.CustomLoss(
        lambda value: (value - 0.3).square().mean() + paddle.tanh(value).mean(), {"value": "output"}
    )
    distillation = purdist.apply(program, [loss])
    training = purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.05), seed=0)
    return {
        "inputs": program.inputs,
        "infers": program.run(feed, ["output"])["output"],
        "losses": [step.loss for step in purdist.train(training, [feed] * 3)],
        "infers then": purdist.student_of(training).run(feed, ["output"])["output"],
    }


def same(got: Mapping[str, Any], expected: Mapping[str, Any], where: str) -> None:
    for key, value in expected.items():
        if key == "inputs":
            assert got[key] == value, where
        else:
            scale = max(1.0, float(np.abs(value).max()))
            np.testing.assert_allclose(
                got[key], value, rtol=2e-5, atol=2e-6 * scale, err_msg=f"{where}: {key}"
            )


@pytest.mark.usefixtures("dynamic")
@pytest.mark.filterwarnings("ignore")  # Paddle's own, of how it saves and what it tracks
@pytest.mark.parametrize("name", CASES if SLOW else list(CASES)[::2])
def test_a_file_infers_and_trains_as_the_layer_that_was_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "has_fast_kernels", lambda _: False)  # compare kernels of one kind
    case = CASES[name]
    paddle.seed(0)
    layer = case.network()
    layer.eval()
    for path, tensor, _ in held_by(layer):
        if path.endswith("_mean"):
            tensor.set_value(np.linspace(-0.5, 0.5, tensor.shape[0], dtype="float32"))
    held = {path: t for path, t, _ in held_by(layer) if t._is_initialized()}
    values = {path: tensor.numpy() for path, tensor in held.items()}
    program = purdist.from_layer(layer, {"x": case.spec})
    own = behaviour(program, case.feed)
    filed = own
    if case.trains_as is not None:
        left = case.network(case.trains_as)
        for path, tensor, _ in held_by(left):
            tensor.set_value(values[path])
        filed = behaviour(purdist.from_layer(left, {"x": case.spec}), case.feed)

    purdist.export(program, tmp_path / "ours", ["output"], check=False)
    paddle.jit.save(layer, str(tmp_path / "jit"), input_spec=[case.spec])
    same(behaviour(purdist.from_exported(tmp_path / "jit"), case.feed), filed, "jit")
    ours = purdist.from_exported(tmp_path / "ours")
    if case.trains_as is None:
        same(behaviour(ours, case.feed), own, "ours")
    else:
        infers = {"infers": ours.run(case.feed, ["output"])["output"]}
        same(infers, {"infers": own["infers"]}, "ours")
        with pytest.raises(purdist.InvalidArgumentError, match="to train as they did before"):
            behaviour(ours, case.feed)

    paddle.enable_static()
    for form, guard in (("pir", nullcontext), ("old", old_form)):
        with guard():
            built = Static.of(case, values)
            if built is None:
                assert form == "old" or not case.static
            elif not case.static:
                with pytest.raises(purdist.RandomInferenceError):
                    built.program()
            else:
                same(behaviour(built.program(), case.feed), own, form)
                saved, loaded = built.saved(tmp_path / form), built.loaded(tmp_path / form)
                same(behaviour(saved, case.feed), filed, f"{form}, read")
                same(behaviour(loaded, case.feed), filed, f"{form}, loaded")
