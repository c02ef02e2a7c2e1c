"""What is warned of points at the line of who called, and says in one line what is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

import purdist
from purdist import graphs
from purdist.engine import Way
from purdist.graphs.child import Outcome
from purdist.teachers import inference
from tests import engines
from tests.nets import numbers
from tests.unit.test_engine import distilled, sgd

LAYER_NORM = """ValueError: In user code:


    InvalidArgumentError: MKL-DNN Layer Norm supports only last logical axis:3.
      [Hint: Expected begin_norm_axis == 3.] (at /paddle/paddle/phi/kernels/onednn/a.cc:90)
      [operator < onednn_kernel.phi_kernel > error]"""
"""What Paddle raises."""

SEEN = (
    "InvalidArgumentError: MKL-DNN Layer Norm supports only last logical axis:3. "
    "[Hint: Expected begin_norm_axis == 3.]"
)


@contextmanager
def warned_here(count: int = 1) -> Iterator[list[warnings.WarningMessage]]:
    """What is warned of inside, ``count`` times, by lines of this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught
    ours = [w for w in caught if issubclass(w.category, purdist.PurdistWarning)]
    assert [Path(w.filename) for w in ours] == [Path(__file__)] * count
    lines = Path(__file__).read_text().splitlines()
    assert all("# warns" in lines[w.lineno - 1] for w in ours)


@pytest.fixture
def no_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paddle Inference raises with oneDNN."""

    def tried(_: object, __: object, way: Way, *___: object, **____: object) -> Outcome:
        return Outcome(None, LAYER_NORM, "") if way.onednn else Outcome("", "", "")

    monkeypatch.setattr(inference, "_CHOSEN", {})
    monkeypatch.setattr(graphs, "tried", tried)


def test_of_a_function_that_never_says_yes() -> None:
    distillation = distilled(*engines.CASES["MLP"][:2])
    make: Callable[[], paddle.optimizer.Optimizer] = lambda: paddle.optimizer.AdamW(  # noqa: E731
        0.1, apply_decay_param_fun=lambda _: False
    )
    with warned_here():
        purdist.minimize(distillation, make)  # warns


@pytest.mark.usefixtures("no_onednn")
def test_of_a_teacher_that_onednn_computes_wrongly() -> None:
    distillation = distilled(*engines.CASES["MLP"][:2])
    with warned_here() as caught:
        purdist.minimize(distillation, sgd, teacher="inference")  # warns
    assert str(caught[-1].message) == (
        "Expected Paddle Inference to compute the teacher with oneDNN, got a teacher that it "
        f"computes rightly only without: {SEEN}.\n"
        "The numbers are those of the graph; teacher='graph' may be as fast."
    )


@pytest.mark.usefixtures("no_onednn")
def test_of_a_teacher_that_is_tried_with_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "samples_of", lambda *_: [])
    make, shape, _ = engines.CASES["MLP"]
    distillation = distilled(make, shape)
    with warned_here(2):
        training = purdist.minimize(distillation, sgd, teacher="inference")  # warns
        list(purdist.train(training, [{"x": numbers(0, 4, *shape)}] * 2))  # warns


@pytest.mark.usefixtures("no_onednn")
def test_of_an_export(tmp_path: Path) -> None:
    make, shape, _ = engines.CASES["MLP"]
    student = engines.network(make, "x", shape)
    with warned_here() as caught:
        purdist.export(student, tmp_path / "s", ["output"])  # warns
    assert str(caught[-1].message) == (
        f"Expected Paddle Inference to compute {str(tmp_path / 's')!r} as the student does, got, "
        f"as its Config is by default: {SEEN}.\n"
        "Before paddle.inference.create_predictor(config), write config.disable_mkldnn()"
    )


def test_no_module_warns_of_a_line_of_its_own() -> None:
    modules = [*Path(purdist.__file__).parent.rglob("*.py")]
    assert {m.name for m in modules if "warnings.warn(" in m.read_text()} == {"errors.py"}


# --- Paddle's own -------------------------------------------------------------------------


class Normalised(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        features: paddle.Tensor = self.norm(self.convolution(x))
        return features, self.head(features.mean([2, 3]))


@pytest.mark.usefixtures("dynamic")
def test_paddle_does_not_warn_of_what_is_as_it_should_be(tmp_path: Path) -> None:
    maps, logits = ("teacher_output.0", "output.0"), ("teacher_output.1", "output.1")
    label = purdist.NewInput("label")
    specs = [
        purdist.KDLoss(*logits),
        purdist.DKDLoss(*logits, label),
        purdist.DISTLoss(*logits),
        purdist.SphericalKDLoss(*logits),
        purdist.RKDAngleLoss(*logits),
        purdist.RKDDistanceLoss(*logits),
        purdist.ContrastiveLoss(*logits),
        purdist.SimilarityPreservingLoss(*logits),
        purdist.CrossEntropyLoss("output.1", label),
        purdist.HintLoss(*maps, adaptor="conv_bn_relu"),
        purdist.CustomLoss(
            lambda t, s: paddle.where(t > 0, s, paddle.zeros_like(s)).mean(),
            dict(zip("ts", logits, strict=True)),
        ),
    ]
    layers = Normalised(), Normalised()
    with warned_here(0) as caught:
        teacher, student = (
            purdist.from_layer(layer, {"x": InputSpec([None, 3, 6, 6])}) for layer in layers
        )
        merged = purdist.merge(teacher, student, {"x": "x"})
        distillation = purdist.apply(merged, specs)
        training = purdist.minimize(distillation, lambda: paddle.optimizer.Adam(0.1))
        feed = {"x": numbers(0, 4, 3, 6, 6), "label": np.arange(4) % 5}
        list(purdist.train(training, [feed]))
        training.program.run(feed, ["loss"])
        purdist.export(training, tmp_path / "s", ["output.1"], check=False)
    assert [str(w.message) for w in caught] == []


NORMS: dict[str, tuple[Callable[[], nn.Layer], tuple[int, ...]]] = {
    "BatchNorm1D": (lambda: nn.BatchNorm1D(3), (3,)),
    "BatchNorm2D": (lambda: nn.BatchNorm2D(3), (3, 4, 4)),
    "BatchNorm3D": (lambda: nn.BatchNorm3D(3), (3, 2, 4, 4)),
}


@pytest.mark.usefixtures("dynamic")
@pytest.mark.parametrize(("make", "shape"), NORMS.values(), ids=NORMS)
def test_a_batch_norm_goes_where_warnings_are_errors(
    make: Callable[[], nn.Layer], shape: tuple[int, ...]
) -> None:
    layer, batch = make(), numbers(0, 4, *shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program = purdist.from_layer(layer, {"x": InputSpec([None, *shape])})
        mean = purdist.CustomLoss(lambda y: y.square().mean(), {"y": "output"})
        training = purdist.minimize(
            purdist.apply(program, [mean]), lambda: paddle.optimizer.SGD(0.1)
        )
        (step,) = purdist.train(training, [{"x": batch}])
        purdist.student_of(training).run({"x": batch}, ["output"])
    assert step.loss == pytest.approx(1.0, rel=1e-3)  # normalised
