"""Gradients where some operands of an op take none."""

from __future__ import annotations

import paddle
import pytest

import purdist
from purdist import graphs
from purdist.graphs.learning.differentiating import WHOLE
from purdist.trying import agree
from tests import operands
from tests.nets import numbers, program


@pytest.mark.parametrize("name", operands.CASES)
def test_an_operand_learns_as_it_does_where_all_others_learn_too(name: str) -> None:
    outcome = graphs.tried(operands.alone_and_together, name)
    assert outcome.failure == ""
    expected, got = outcome.value
    for k, (fed, frozen, *without) in enumerate(got):
        assert agree(fed, expected[k]), f"operand {k} alone, the others fed"
        assert agree(frozen, expected[k]), f"operand {k} alone, the others frozen"
        others = [right for other, right in enumerate(expected) if other != k]
        for gradient, right in zip(without, others, strict=False):
            assert agree(gradient, right), f"all operands but {k}"


def test_each_op_whose_gradient_is_whole_is_tried() -> None:
    tried: set[str] = set()
    for case in operands.CASES.values():
        main = paddle.static.Program()
        with paddle.static.program_guard(main, paddle.static.Program()):
            case.op(*(paddle.static.data(f"x{k}", a.shape) for k, a in enumerate(case.operands)))
        tried.update(op.name() for op in graphs.operations(main))
    assert {name.rstrip("_") for name in WHOLE} <= {name.rstrip("_") for name in tried}


def test_a_scale_learns_whose_shift_is_left_out() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        x = paddle.static.data("x", [None, 4, 3, 3])
        return {"out": paddle.nn.BatchNorm2D(4, bias_attr=False)(x)}

    network = program(forward)
    loss = purdist.CustomLoss(lambda out: (out - 0.3).square().mean(), {"out": "out"})
    training = purdist.minimize(purdist.apply(network, [loss]), lambda: paddle.optimizer.SGD(0.5))
    first, second = purdist.train(training, [{"x": numbers(1, 2, 4, 3, 3)}] * 2)
    assert second.loss < first.loss


def test_a_fill_that_would_lose_its_gradient_is_refused() -> None:
    def forward() -> dict[str, paddle.Tensor]:
        x = paddle.static.data("x", [None, 3])
        filling = paddle.create_parameter([1], "float32")
        return {"out": paddle.nn.Linear(3, 3)(x).masked_fill(x > 0, filling)}

    network = program(forward)
    distillation = purdist.apply(network, [purdist.CustomLoss(operands.loss, {"out": "out"})])
    with pytest.raises(purdist.InvalidArgumentError, match="masked_fill"):
        purdist.minimize(distillation, lambda: paddle.optimizer.SGD(0.1))
