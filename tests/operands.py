"""Ops of several operands, each of which may be what learns.

A case is built in static mode and in dynamic mode alike, in a child process too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import numpy as np
import paddle
from paddle.nn import functional as F  # noqa: N812

import purdist
from tests.nets import Array, numbers, program, read

Op = Callable[..., paddle.Tensor]


@attrs.frozen(eq=False)
class Case:
    """An op, and what it is called with."""

    op: Op
    operands: tuple[Array, ...]


def _positive(seed: int, *shape: int) -> Array:
    return np.random.RandomState(seed).uniform(0.2, 1.0, shape).astype("float32")


def _batch_norm(
    x: paddle.Tensor, weight: paddle.Tensor, bias: paddle.Tensor | None
) -> paddle.Tensor:
    zeros, ones = paddle.zeros([4]), paddle.ones([4])
    return F.batch_norm(x, zeros, ones, weight, bias, training=True)


def _no_shift() -> paddle.Tensor | None:
    """None, with which dynamic mode would lose the scale's gradient."""
    if not paddle.in_dynamic_mode():
        return None
    shift = paddle.zeros([4])
    shift.stop_gradient = False
    return shift


def _hsigmoid(x: paddle.Tensor, weight: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:
    return F.hsigmoid_loss(x, paddle.arange(3), 4, weight, bias)


def _edges(message: str) -> Op:
    def along(x: paddle.Tensor, edges: paddle.Tensor) -> paddle.Tensor:
        start, end = paddle.arange(3), (paddle.arange(3) + 1) % 3
        return paddle.geometric.send_ue_recv(x, edges, start, end, message)

    return along


def _between(message: str) -> Op:
    def between(x: paddle.Tensor, y: paddle.Tensor) -> paddle.Tensor:
        start, end = paddle.arange(3), (paddle.arange(3) + 1) % 3
        return paddle.geometric.send_uv(x, y, start, end, message)

    return between


_MATRIX = (np.eye(4) * 3 + numbers(1, 4, 4) / 4).astype("float32")
_SCALES = (_positive(2, 4), numbers(3, 4))
_MAPS, _VECTORS = numbers(1, 2, 4, 6, 6), (numbers(1, 3, 4), numbers(2, 3, 4))

CASES: Mapping[str, Case] = {
    "add": Case(paddle.add, _VECTORS),
    "addmm": Case(paddle.addmm, (numbers(1, 3, 5), numbers(2, 3, 4), numbers(3, 4, 5))),
    "affine of a batch": Case(_batch_norm, (_MAPS, *_SCALES)),
    "affine of rows": Case(_batch_norm, (numbers(1, 5, 4), *_SCALES)),
    "batch_norm, the scale alone": Case(
        lambda x, w: _batch_norm(x, w, _no_shift()), (_MAPS, _SCALES[0])
    ),
    "bilinear": Case(F.bilinear, (numbers(1, 2, 3), numbers(2, 2, 4), numbers(3, 5, 3, 4))),
    "cholesky_solve": Case(
        lambda x, y: paddle.linalg.cholesky_solve(x, y.tril()), (numbers(1, 4, 2), _MATRIX)
    ),
    "conv2d": Case(F.conv2d, (_MAPS, numbers(2, 5, 4, 3, 3), numbers(3, 5))),
    "conv2d_transpose": Case(F.conv2d_transpose, (_MAPS, numbers(2, 4, 5, 3, 3), numbers(3, 5))),
    "cosine_similarity": Case(F.cosine_similarity, _VECTORS),
    "cross": Case(lambda x, y: paddle.cross(x, y, axis=0), _VECTORS),
    "deform_conv2d": Case(
        lambda x, offset, weight, mask: paddle.vision.ops.deform_conv2d(
            x, offset, weight, mask=mask
        ),
        (_MAPS, numbers(2, 2, 18, 4, 4), numbers(3, 5, 4, 3, 3), _positive(4, 2, 9, 4, 4)),
    ),
    "divide": Case(paddle.divide, (numbers(1, 3, 4), _positive(2, 3, 4))),
    "einsum": Case(lambda x, y: paddle.einsum("ij,kj->ik", x, y), _VECTORS),
    "gather, a grid": Case(
        lambda x, grid: F.grid_sample(x, paddle.tanh(grid)), (_MAPS, numbers(2, 2, 3, 3, 2))
    ),
    "gather, a volume": Case(
        lambda x, grid: F.grid_sample(x, paddle.tanh(grid)),
        (numbers(1, 2, 4, 3, 3, 3), numbers(2, 2, 2, 2, 2, 3)),
    ),
    "group_norm": Case(lambda x, w, b: F.group_norm(x, 2, weight=w, bias=b), (_MAPS, *_SCALES)),
    "hsigmoid_loss": Case(_hsigmoid, (numbers(1, 3, 5), numbers(2, 3, 5), numbers(3, 3, 1))),
    "instance_norm, the scale alone": Case(
        lambda x, w: F.instance_norm(x, weight=w, bias=_no_shift()), (_MAPS, _SCALES[0])
    ),
    "instance_norm": Case(lambda x, w, b: F.instance_norm(x, weight=w, bias=b), (_MAPS, *_SCALES)),
    "layer_norm": Case(lambda x, w, b: F.layer_norm(x, [4], w, b), (numbers(1, 3, 4), *_SCALES)),
    "layer_norm, the scale alone": Case(
        lambda x, w: F.layer_norm(x, [4], w), (numbers(1, 3, 4), _SCALES[0])
    ),
    "linear": Case(F.linear, (numbers(1, 5, 128), numbers(2, 128, 160), numbers(3, 160))),
    "matmul": Case(paddle.matmul, (numbers(1, 2, 3, 4), numbers(2, 2, 4, 5))),
    "maximum": Case(paddle.maximum, _VECTORS),
    "multiply": Case(paddle.multiply, (numbers(1, 3, 4), numbers(2, 4))),
    "PReLU": Case(F.prelu, (_MAPS, _positive(2, 4))),
    "PReLU of one": Case(F.prelu, (numbers(1, 3, 4), _positive(2, 1))),
    "scatter": Case(
        lambda x, y: paddle.scatter(x, paddle.arange(2), y), (_VECTORS[0], numbers(2, 2, 4))
    ),
    "send_ue_recv": Case(_edges("mul"), _VECTORS),
    "send_uv": Case(_between("mul"), _VECTORS),
    "solve": Case(paddle.linalg.solve, (_MATRIX, numbers(2, 4, 2))),
    "triangular_solve": Case(
        lambda x, y: paddle.linalg.triangular_solve(x.triu(), y), (_MATRIX, numbers(2, 4, 2))
    ),
    "where": Case(lambda x, y: paddle.where(x > 0, x * y, y), _VECTORS),
}


def loss(out: paddle.Tensor) -> paddle.Tensor:
    return (out.square() + out.sin()).mean()


def trained(
    name: str, learning: Sequence[int], *, frozen: bool = False, dtype: str = "float32"
) -> list[Array]:
    """The gradients of some operands of a case, by one step of SGD at a rate of 1.

    The others are fed, or ``frozen`` parameters. The op computes in ``dtype``.
    """
    paddle.enable_static()
    case = CASES[name]

    def forward() -> dict[str, paddle.Tensor]:
        given = []
        for k, array in enumerate(case.operands):
            if k in learning or frozen:
                value = paddle.create_parameter(array.shape, "float32", name=f"operand{k}")
                value.trainable = k in learning
                value.stop_gradient = k not in learning
            else:
                value = paddle.static.data(f"operand{k}", array.shape)
            given.append(value)
        out = case.op(*(value.astype(dtype) for value in given))
        return {"out": out.astype("float32")}

    network = program(forward)
    for k, array in enumerate(case.operands):
        if f"operand{k}" in network.weights:
            network.scope.var(f"operand{k}").get_tensor().set(array, paddle.CPUPlace())
    training = purdist.minimize(
        purdist.apply(network, [purdist.CustomLoss(loss, {"out": "out"})]),
        lambda: paddle.optimizer.SGD(1.0),
    )
    feed = {
        f"operand{k}": array
        for k, array in enumerate(case.operands)
        if k not in learning and not frozen
    }
    list(purdist.train(training, [feed]))
    held = read(training.program.scope)
    for k, array in enumerate(case.operands):
        if k not in learning and frozen:
            np.testing.assert_array_equal(held[f"operand{k}"], array)
    return [case.operands[k] - held[f"operand{k}"] for k in learning]


def in_dygraph(name: str) -> list[Array]:
    """The gradients of all operands of a case."""
    paddle.disable_static()
    case = CASES[name]
    given = [paddle.to_tensor(array, stop_gradient=False) for array in case.operands]
    loss(case.op(*given)).backward()
    return [np.array(value.grad) for value in given]


def alone_and_together(name: str) -> tuple[list[Array], list[list[Array]]]:
    """By dygraph the gradients of all operands; by ours those of each, and of all but each."""
    every = range(len(CASES[name].operands))
    expected = in_dygraph(name)
    got = []
    for k in every:
        others = [other for other in every if other != k]
        alone = (trained(name, [k]), trained(name, [k], frozen=True))
        without = trained(name, others) if len(others) > 1 else []
        got.append([*(pair[0] for pair in alone), *without])
    return expected, got


def in_bfloat16(name: str) -> tuple[list[Array], list[Array], list[Array]]:
    """By dygraph the gradients of all operands in float32; by ours those of each, and of all."""
    every = range(len(CASES[name].operands))
    alone = [trained(name, [k], dtype="bfloat16")[0] for k in every]
    return in_dygraph(name), alone, trained(name, every, dtype="bfloat16")
