"""AMD processors, on which Paddle's products are slow unless the environment says otherwise."""

from __future__ import annotations

import os

import paddle
import pytest
from paddle.static import InputSpec

import purdist
from purdist import processor
from tests.nets import in_a_process


@pytest.fixture(params=["AuthenticAMD EPYC", "GenuineIntel Xeon", ""])
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(processor, "model", lambda: request.param)
    monkeypatch.setenv(processor.VARIABLE, "")  # so that it is put back
    monkeypatch.delenv(processor.VARIABLE)
    return str(request.param)


@pytest.mark.usefixtures("dynamic")
def test_a_training_says_where_products_are_slow(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, student = (
        purdist.from_layer(paddle.nn.Linear(2, 2), {k: InputSpec([None, 2])}) for k in ("y", "x")
    )
    merged = purdist.merge(teacher, student, {"y": "x"})
    distilled = purdist.apply(merged, [purdist.KDLoss("teacher_output", "output")])
    training = purdist.minimize(distilled, lambda: paddle.optimizer.SGD(0.1))
    assert ("MKL_DEBUG_CPU_TYPE=5" in str(training)) == ("AMD" in model)
    monkeypatch.setenv(processor.VARIABLE, "5")
    assert "products" not in str(training)


def test_a_program_sets_it_on_amd_alone_and_leaves_what_is_set(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor.set_for_own_process()
    assert processor.has_generic_products() is False
    assert (processor.VARIABLE in os.environ) == ("AMD" in model)
    monkeypatch.setenv(processor.VARIABLE, "4")
    processor.set_for_own_process()
    assert processor.has_generic_products() == ("AMD" in model)


def test_the_library_sets_nothing() -> None:
    code = """
        import os
        before = dict(os.environ)
        import purdist
        print(os.environ.get("MKL_DEBUG_CPU_TYPE") == before.get("MKL_DEBUG_CPU_TYPE"))
    """
    assert in_a_process(code).split()[-1] == "True"
