"""Every loss against values and student gradients of its original implementation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

import purdist
from tests import nets
from tests.losses import ROWS
from tests.nets import Array
from tests.profiles import SLOW

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "losses.json").read_text(encoding="utf-8")
)["cases"]

SPECS = {entry: make for row in ROWS for entry, make in row.golden.items()}
"""Which spec each entry is of."""

TOLERANCE = {"float64": 1e-6, "float32": 1e-4}

FORMS = [("float64", None), ("float32", 8), *([("float64", 8), ("float32", None)] if SLOW else [])]
"""In which dtype, and of how many rows, if the graph is told."""


def _arrays(case: Mapping[str, Any], side: str, dtype: str) -> dict[str, Array]:
    given = case[side] if isinstance(case[side], list) else [case[side]]
    return {
        f"{side}_{k}": (nets.numbers(a["seed"], *a["shape"], dtype="float64") * a["scale"]).astype(
            dtype
        )
        for k, a in enumerate(given)
    }


def _label(case: Mapping[str, Any]) -> dict[str, Array]:
    if "label" not in case:
        return {}
    how = case["label"]
    return {"label": np.random.RandomState(how["seed"]).randint(0, how["high"], how["n"])}


def _features(arrays: Mapping[str, Array], batch: int | None) -> dict[str, paddle.Tensor]:
    """Feeds, one per array, of the array's shape but for the batch."""
    return {
        name: paddle.static.data(f"feed_{name}", [batch, *array.shape[1:]], array.dtype.name)
        for name, array in arrays.items()
    }


def _shifted(feature: paddle.Tensor, name: str, shape: tuple[int, ...]) -> paddle.Tensor:
    """The feature plus a parameter ``name`` of its shape that is zero.

    One step of SGD with learning rate 1 makes minus the feature's gradient of it, exactly:
    0 - 1 * gradient. The slice keeps an unknown batch unknown.
    """
    zero = paddle.nn.initializer.Constant(0.0)
    shift = paddle.create_parameter(list(shape), feature.dtype, name=name, default_initializer=zero)
    return feature + paddle.slice(shift, [0], [0], paddle.shape(feature)[:1])


def _measured(
    case: Mapping[str, Any], dtype: str, batch: int | None
) -> tuple[float, list[Array], tuple[int, ...]]:
    """The value of the loss, its student gradients, and the student variable's shape."""
    taught, taken = _arrays(case, "teacher", dtype), _arrays(case, "student", dtype)

    def student() -> dict[str, paddle.Tensor]:
        features = _features(taken, batch)
        return {k: _shifted(v, f"shift_{k}", taken[k].shape) for k, v in features.items()}

    def teacher() -> dict[str, paddle.Tensor]:
        return {name.removeprefix("teacher_"): v for name, v in _features(taught, batch).items()}

    merged = purdist.merge(
        nets.program(teacher),
        nets.program(student),
        {},
        keep_inputs=[f"feed_{name}" for name in taught],
    )
    spec = SPECS[case["loss"]](case["params"])
    training = purdist.minimize(
        purdist.apply(merged, [spec]), lambda: paddle.optimizer.SGD(learning_rate=1.0)
    )
    feed = {f"teacher_feed_{k}": v for k, v in taught.items()}
    feed |= {f"feed_{k}": v for k, v in taken.items()} | _label(case)
    (step,) = purdist.train(training, [feed])
    held = nets.weights(purdist.student_of(training))
    gradients = [-held[f"shift_{name}"] for name in taken]
    return step.loss, gradients, merged.variables["student_0"].shape


@pytest.mark.parametrize(("dtype", "batch"), FORMS)
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=f"{case['loss']} {k}") for k, case in enumerate(CASES)],
)
def test_value_and_gradient_are_the_originals(
    case: dict[str, Any], dtype: str, batch: int | None
) -> None:
    value, gradients, shape = _measured(case, dtype, batch)
    assert shape[0] == (-1 if batch is None else batch)
    tolerance = TOLERANCE[dtype]
    assert value == pytest.approx(case["value"], rel=tolerance)
    norms, heads = case["student_grad_l2"], case["student_grad_head"]
    if not isinstance(norms, list):
        norms, heads = [norms], [heads]
    assert len(gradients) == len(norms)
    for gradient, norm, head in zip(gradients, norms, heads, strict=True):
        assert np.linalg.norm(gradient.astype("float64")) == pytest.approx(norm, rel=tolerance)
        # An entry near zero is off by the rounding of the whole gradient.
        assert gradient.ravel()[:4] == pytest.approx(
            np.array(head), rel=tolerance, abs=tolerance * norm
        )


def test_every_entry_has_a_row() -> None:
    assert {case["loss"] for case in CASES} == SPECS.keys()
