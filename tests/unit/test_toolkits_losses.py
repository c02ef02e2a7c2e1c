"""Losses as the toolkits write them, in a `CustomLoss` at unknown sizes: equal to dynamic mode's.

Each in the idiom of its toolkit, which is what is tried here: how it reads sizes and lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np
import paddle
import pytest

from purdist import CustomLoss, NewInput
from purdist.testing import evaluate_loss
from tests import nets
from tests.nets import Array

# Typed as Any, for what our stubs leave out.
F: Any = paddle.nn.functional
P: Any = paddle

ROWS, MAPS, TOKENS, HEADS = (6, 8), (4, 3, 6, 6), (4, 5, 8), (4, 2, 5, 5)


def cwd(t: Any, s: Any, tau: float = 2.0) -> Any:
    """PaddleDetection's ChannelWiseDivergence: over the places of each channel."""
    n, c, h, w = s.shape
    one, two = (F.softmax(x.reshape([-1, h * w]) / tau, axis=-1) for x in (t, s))
    return (one * (one.log() - two.log())).sum() * tau**2 / (c * n)


def mgd(t: Any, s: Any) -> Any:
    """PaddleDetection's MGDFeatureLoss, its mask of places made of the sizes."""
    n, _, h, w = t.shape
    mask = paddle.ones([n, 1, h, w])
    return F.mse_loss(s * mask, t, reduction="sum") / n * 2e-3


def fgd(t: Any, s: Any, temp: float = 0.5) -> Any:
    """PaddleDetection's FGDFeatureLoss: attentions over space and channels."""
    shape = P.shape(t)
    n, c, h, w = shape

    def attention(x: Any) -> Any:
        value = x.abs().mean(axis=1, keepdim=True).reshape([n, -1])
        return (h * w * F.softmax(value / temp, axis=1)).reshape([n, h, w])

    spatial = attention(t)
    loss = F.mse_loss(
        s * spatial.unsqueeze(1).sqrt(), t * spatial.unsqueeze(1).sqrt(), reduction="sum"
    )
    return loss / len(s) + (attention(s) - spatial).abs().sum() / s.shape[0] + 0.0 * c.sum()


class KnowledgeDistillationKL(paddle.nn.Layer):
    """PaddleDetection's distribution loss of LD: a layer made inside the function."""

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        self.t = temperature

    def forward(self, pred: Any, soft: Any) -> Any:
        assert pred.shape == soft.shape
        target = F.softmax(soft / self.t, axis=1)
        loss = F.kl_div(F.log_softmax(pred / self.t, axis=1), target, reduction="none")
        return (loss.mean(1) * self.t * self.t).sum() / pred.shape[0]


def ld(t: Any, s: Any) -> Any:
    return KnowledgeDistillationKL()(s, t)


def dml(t: Any, s: Any) -> Any:
    """PaddleClas' and PaddleOCR's DMLLoss: a divergence each way."""

    def kl(x: Any, y: Any) -> Any:
        loss = y * ((y + 1e-10) / (x + 1e-10)).log()
        return loss.sum() / loss.shape[0]

    one, two = F.softmax(t, axis=-1), F.softmax(s, axis=-1)
    return (kl(one, two) + kl(two, one)) / 2.0


def dkd(t: Any, s: Any, label: Any, temp: float = 2.0) -> Any:
    """PaddleClas' DKDLoss, its masks made by scatter over the classes."""
    gt = F.one_hot(label.reshape([-1]), num_classes=s.shape[-1])
    other = 1 - gt

    def cat(x: Any) -> Any:
        p = F.softmax(x / temp, axis=1)
        return paddle.concat([(p * m).sum(1, keepdim=True) for m in (gt, other)], 1)

    tckd = F.kl_div(cat(s).log(), cat(t), reduction="sum") * temp**2 / s.shape[0]
    rest = F.kl_div(
        F.log_softmax(s / temp - 1000.0 * gt, axis=1),
        F.softmax(t / temp - 1000.0 * gt, axis=1),
        reduction="sum",
    )
    return tckd + 8.0 * rest * temp**2 / s.shape[0]


def rkd(t: Any, s: Any) -> Any:
    """PaddleClas' RKDDistance: distances between rows, their diagonal cut out by an eye."""

    def pdist(e: Any) -> Any:
        square = e.square().sum(axis=1)
        res = (square.unsqueeze(1) + square.unsqueeze(0) - 2 * e @ e.t()).clip(min=1e-12).sqrt()
        res = res * (1 - P.eye(e.shape[0]))
        n = e.shape[0]
        return res / (res.sum() / (n * (n - 1)))

    return F.smooth_l1_loss(pdist(s), pdist(t), reduction="mean")


def pkd(t: Any, s: Any) -> Any:
    """PaddleClas' and PaddleDetection's PKD: maps of mean 0 and deviation 1, channel by channel."""

    def norm(x: Any) -> Any:
        n, c, h, w = x.shape
        x = x.transpose([1, 0, 2, 3]).reshape([c, -1])
        x = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6)
        return x.reshape([c, n, h, w]).transpose([1, 0, 2, 3])

    return F.mse_loss(norm(s), norm(t)) / 2


def skd(t: Any, s: Any, temp: float = 4.0) -> Any:
    """PaddleClas' SKDLoss: standardised logits, and a batchmean."""
    one, two = (F.layer_norm(x, x.shape[1:]) for x in (t, s))
    kl = F.kl_div(
        F.log_softmax(two / temp, axis=1), F.softmax(one / temp, axis=1), reduction="batchmean"
    )
    return kl * temp * temp


def afd(t: Any, s: Any) -> Any:
    """PaddleClas' AFD: an attention between pooled maps, scaled by the root of a size."""
    n, c = t.shape[:2]
    query, key = (x.mean([2, 3]).reshape([n, 1, c]) for x in (t, s))
    attention = F.softmax(paddle.matmul(query, key.transpose([0, 2, 1])) / np.sqrt(c), axis=-1)
    return ((s - t).pow(2).mean([1, 2, 3]) * attention.reshape([n])).sum() / n


def pairwise(t: Any, s: Any) -> Any:
    """PaddleSeg's and the structured losses' pair-wise: similarities between pooled places."""

    def similarity(x: Any) -> Any:
        n, c = x.shape[0], x.shape[1]
        x = F.max_pool2d(x, 2, 2).reshape([n, c, -1])
        x = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-8)
        return paddle.matmul(x.transpose([0, 2, 1]), x)

    one, two = similarity(t), similarity(s)
    return (one - two).square().sum() / (one.shape[-1] * one.shape[-2]) / one.shape[0]


def pixelwise(t: Any, s: Any) -> Any:
    """PaddleSeg's KLLoss: classes last, each place a row."""
    c = s.shape[1]
    one, two = (x.transpose([0, 2, 3, 1]).reshape([-1, c]) for x in (t, s))
    loss = -(F.softmax(one, axis=1) * F.log_softmax(two, axis=1)).sum()
    return loss / s.shape[0] / s.shape[2] / s.shape[3]


def ctc(t: Any, s: Any) -> Any:
    """PaddleOCR's CTCLoss: a list of lengths, as long as the batch."""
    predicts = s.transpose((1, 0, 2))
    n, b, _ = predicts.shape
    lengths = P.to_tensor([n] * b, dtype="int64")
    labels = (t[:, :2, 0] * 0 + 1).astype("int32") + P.to_tensor([0, 1], dtype="int32")
    label_lengths = P.to_tensor([2] * b, dtype="int64")
    loss = F.ctc_loss(predicts, labels, lengths, label_lengths, blank=0, reduction="none")
    return loss.mean()


def dkd_ctc(t: Any, s: Any, temp: float = 1.0) -> Any:
    """PaddleOCR's CTCDKDLoss: divergences of the rows and of the most frequent classes."""

    def kl(p: Any, q: Any) -> Any:
        loss = (F.softmax(q, axis=-1) * (F.log_softmax(q, -1) - F.log_softmax(p, -1))).sum(-1)
        return loss.sum() / (loss.shape[0] * loss.shape[1])

    b, steps, classes = s.shape
    mask = F.one_hot(t.argmax(-1).reshape([-1]), classes).reshape([b, steps, classes])
    one, two = ((F.softmax(x / temp, axis=-1) * mask).sum(-1) for x in (s, t))
    binary = ((two - one).square()).sum() / (b * steps)
    return kl(s, t) + binary


def minilm(t: Any, s: Any, heads: int = 2) -> Any:
    """PaddleNLP's minilm relation loss: heads cut out of the hidden, rows of unknown length."""

    def relation(x: Any) -> Any:
        x = x.reshape([0, 0, heads, x.shape[-1] // heads]).transpose([0, 2, 1, 3])
        return paddle.matmul(x, x.transpose([0, 1, 3, 2])) / (x.shape[-1] ** 0.5)

    scores = relation(s)
    loss = F.kl_div(F.log_softmax(scores), F.softmax(relation(t)), reduction="sum")
    return loss / (scores.shape[0] * heads * s.shape[1])


def tinybert(t: Any, s: Any) -> Any:
    """PaddleNLP's ofa and tinybert: attentions under a mask of -1e2."""
    one, two = (paddle.where(x <= -1e2, paddle.zeros_like(x), x) for x in (t, s))
    return F.mse_loss(two, one) + (one - two).abs().sum() / P.numel(one)


def smoothed(s: Any, label: Any, epsilon: float = 0.1) -> Any:
    """PaddleClas' CELoss with label smoothing."""
    target = F.label_smooth(F.one_hot(label, s.shape[-1]), epsilon=epsilon)
    target = target.reshape([-1, s.shape[-1]])
    return (-(target * F.log_softmax(s, axis=-1)).sum(axis=-1)).mean()


def focal(s: Any, label: Any) -> Any:
    """PaddleDetection's sigmoid focal loss, divided by the positives."""
    target = F.one_hot(label, s.shape[1]).astype(s.dtype)
    return F.sigmoid_focal_loss(s, target, reduction="sum") / target.sum().clip(min=1)


def dice(s: Any, label: Any) -> Any:
    """PaddleSeg's DiceLoss, class by class."""
    n, c = s.shape
    p, y = F.softmax(s, axis=1), F.one_hot(label, c)
    loss: Any = 0
    for k in range(c):
        loss = (
            loss
            + 1
            - (2 * (p[:, k] * y[:, k]).sum() + 1) / (p[:, k] + y[:, k]).sum().add(P.ones([]))
        )
    return loss / c + 0.0 * n


CENTERS = np.linspace(-1, 1, 64).astype("float32").reshape(8, 8)


def center(s: Any, label: Any) -> Any:
    """PaddleClas' and PaddleOCR's CenterLoss: distances to centres kept as an array."""
    centers = P.to_tensor(CENTERS).astype(s.dtype)
    n, c = s.shape[0], centers.shape[0]
    square = s.square().sum(1, keepdim=True).expand([n, c])
    distance = square + centers.square().sum(1).unsqueeze(0) - 2 * s @ centers.t()
    mask = label.unsqueeze(1).expand((n, c)) == P.arange(c).unsqueeze(0).expand((n, c))
    return (distance * mask.astype("float32")).clip(1e-12, 1e12).sum() / n


@attrs.frozen
class Case:
    """A loss, the shape of what it gets, and how many axes of that are unknown."""

    function: Callable[..., Any]
    shape: tuple[int, ...]
    unknown: tuple[int, ...] = (0,)
    with_label: bool = False


CASES = [
    Case(cwd, MAPS), Case(cwd, MAPS, (0, 2, 3)), Case(mgd, MAPS, (0, 2, 3)), Case(fgd, MAPS),
    Case(fgd, MAPS, (0, 2, 3)), Case(ld, ROWS), Case(dml, ROWS), Case(dkd, ROWS, with_label=True),
    Case(rkd, ROWS), Case(pkd, MAPS), Case(pkd, MAPS, (0, 2, 3)), Case(skd, ROWS), Case(afd, MAPS),
    Case(pairwise, MAPS), Case(pairwise, MAPS, (0, 2, 3)), Case(pixelwise, MAPS, (0, 2, 3)),
    Case(ctc, TOKENS), Case(ctc, TOKENS, (0, 1)), Case(dkd_ctc, TOKENS, (0, 1)),
    Case(minilm, TOKENS), Case(minilm, TOKENS, (0, 1)), Case(tinybert, HEADS, (0, 2, 3)),
    Case(smoothed, ROWS, with_label=True), Case(focal, ROWS, with_label=True),
    Case(dice, ROWS, with_label=True), Case(center, ROWS, with_label=True),
]  # fmt: skip


def dynamic(case: Case, arrays: dict[str, Array]) -> tuple[float, Array]:
    paddle.disable_static()
    try:
        tensors = {k: paddle.to_tensor(a, stop_gradient=k != "s") for k, a in arrays.items()}
        loss = case.function(**tensors)
        loss.backward()
        assert tensors["s"].grad is not None
        return float(loss), tensors["s"].grad.numpy()
    finally:
        paddle.enable_static()


@pytest.fixture
def default_dtype(request: pytest.FixtureRequest) -> Iterator[str]:
    """Layers that a loss makes, and numbers that it starts from, are of the dtype that is tried."""
    found = P.get_default_dtype()
    P.set_default_dtype(request.param)
    yield request.param
    P.set_default_dtype(found)


@pytest.mark.parametrize(
    ("case", "default_dtype"),
    [(case, "float64") for case in CASES]
    + [(case, "float32") for case in CASES if case.function in (cwd, dkd, ctc)],
    ids=lambda c: c if isinstance(c, str) else f"{c.function.__name__}-{c.unknown}",
    indirect=["default_dtype"],
)
def test_a_loss_of_a_toolkit_works_as_it_is(case: Case, default_dtype: str) -> None:
    """In float64 to 1e-6; float32 has not the digits for more than its value."""
    arrays = {
        name: nets.numbers(seed, *case.shape, dtype=default_dtype) for seed, name in enumerate("ts")
    }
    variables: dict[str, str | NewInput] = {"s": "s"}
    inputs: dict[str, Array] = {}
    if case.with_label:
        inputs["label"] = np.arange(case.shape[0]) * 3 % case.shape[-1]
        variables["label"] = NewInput("label")
    if "t" in case.function.__code__.co_varnames[: case.function.__code__.co_argcount]:
        variables["t"] = "t"
    else:
        del arrays["t"]
    expected, gradient = dynamic(case, {**arrays, **inputs})
    found = evaluate_loss(
        CustomLoss(case.function, variables),
        teacher={k: a for k, a in arrays.items() if k == "t"},
        student={"s": arrays["s"]},
        inputs=inputs,
        unknown_axes=case.unknown,
    )
    assert found.value == pytest.approx(expected, rel=1e-6)
    if default_dtype == "float64":
        np.testing.assert_allclose(found.gradients["s"], gradient, rtol=1e-6, atol=1e-12)
