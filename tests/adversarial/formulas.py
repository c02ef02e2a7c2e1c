"""Losses of the catalogue, and the same by the plain formula."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import paddle
from paddle.nn import functional as F  # noqa: N812

import purdist
from purdist import NewInput

Tensors: TypeAlias = Mapping[str, paddle.Tensor]
"""``"logits"`` [N, C], ``"features"`` [N, ...], and with the student ``"label"`` [N]."""


def unit(rows: paddle.Tensor, axis: int) -> paddle.Tensor:
    """What is shorter than 1e-12 counts as that long, in ``F.normalize`` of PyTorch's."""
    return rows / (rows**2).sum(axis, keepdim=True).clip(min=1e-24).sqrt()


def kd(t: Tensors, s: Tensors) -> paddle.Tensor:
    p, log_q = F.softmax(t["logits"] / 4.0), F.log_softmax(s["logits"] / 4.0)
    return 16.0 * (p * (p.log() - log_q)).sum(-1).mean()


def soft_label(t: Tensors, s: Tensors) -> paddle.Tensor:
    return -(F.softmax(t["logits"] / 2.0) * F.log_softmax(s["logits"])).sum(-1).mean()


def l2(t: Tensors, s: Tensors) -> paddle.Tensor:
    return ((t["logits"] - s["logits"]) ** 2).mean()


def cross_entropy(_: Tensors, s: Tensors) -> paddle.Tensor:
    chosen = F.one_hot(s["label"], s["logits"].shape[-1]).astype(s["logits"].dtype)
    return -(chosen * F.log_softmax(s["logits"])).sum(-1).mean()


def features(t: Tensors, s: Tensors) -> paddle.Tensor:
    return ((t["features"] - s["features"]) ** 2).mean()


def attention(t: Tensors, s: Tensors) -> paddle.Tensor:
    maps = [(v["features"] ** 2).mean(1).flatten(1) for v in (t, s)]
    units = [unit(m, 1) for m in maps]
    return ((units[0] - units[1]) ** 2).mean()


def fsp(t: Tensors, s: Tensors) -> paddle.Tensor:
    flat = [v["features"].flatten(2) for v in (t, s)]
    flows = [m.matmul(m.transpose([0, 2, 1])) / float(m.shape[2]) for m in flat]
    return ((flows[0] - flows[1]) ** 2).mean()


def spherical(t: Tensors, s: Tensors) -> paddle.Tensor:
    scale = t["logits"].std(-1, keepdim=True) / s["logits"].std(-1, keepdim=True)
    return kd(t, {"logits": s["logits"] * scale})


def dkd(t: Tensors, s: Tensors) -> paddle.Tensor:
    chosen = F.one_hot(s["label"], s["logits"].shape[-1]).astype(s["logits"].dtype)
    p, q = (F.softmax(v["logits"] / 4.0) for v in (t, s))
    right = [(v * chosen).sum(-1) for v in (p, q)]
    others = [
        v * (1.0 - chosen) / (1.0 - v_y).unsqueeze(-1) for v, v_y in zip((p, q), right, strict=True)
    ]
    among = (others[0] * ((others[0] + chosen) / (others[1] + chosen)).log()).sum(-1)
    of_it = sum(a * (a / b).log() for a, b in (right, [1.0 - v for v in right]))
    return 16.0 * (of_it + 8.0 * among).mean()


def dist(t: Tensors, s: Tensors) -> paddle.Tensor:
    p, q = (F.softmax(v["logits"]) for v in (t, s))
    total = paddle.zeros([], p.dtype)
    for axis in (1, 0):
        a, b = (v - v.mean(axis, keepdim=True) for v in (p, q))
        lengths = [(v**2).sum(axis).sqrt() for v in (a, b)]
        total = total + 1.0 - ((a * b).sum(axis) / (lengths[0] * lengths[1] + 1e-8)).mean()
    return total


def pkt(t: Tensors, s: Tensors) -> paddle.Tensor:
    near = []
    for v in (t, s):
        rows = v["logits"] / ((v["logits"] ** 2).sum(1, keepdim=True).sqrt() + 1e-7)
        kernel = (rows.matmul(rows, transpose_y=True) + 1.0) / 2.0
        near.append(kernel / kernel.sum(1, keepdim=True))
    return (near[0] * ((near[0] + 1e-7) / (near[1] + 1e-7)).log()).mean()


def similarity(t: Tensors, s: Tensors) -> paddle.Tensor:
    flat = [v["features"].flatten(1) for v in (t, s)]
    alike = [m.matmul(m, transpose_y=True) for m in flat]
    units = [unit(m, 1) for m in alike]
    return ((units[0] - units[1]) ** 2).mean()


def distances(t: Tensors, s: Tensors) -> paddle.Tensor:
    apart = []
    for v in (t, s):
        rows = v["features"].flatten(1)
        count = rows.shape[0]
        pairs = [
            ((rows[i] - rows[j]) ** 2).sum().sqrt()
            for i in range(count)
            for j in range(count)
            if i != j
        ]
        apart.append(paddle.stack(pairs) / (sum(pairs) / len(pairs)))
    off = (apart[0] - apart[1]).abs()
    losses = paddle.where(off <= 1.0, off**2 / 2.0, off - 0.5)
    return losses.sum() / float(s["logits"].shape[0] ** 2)


def nst(t: Tensors, s: Tensors) -> paddle.Tensor:
    maps = [v["features"].flatten(2) for v in (t, s)]
    a, b = (unit(m, 2) for m in maps)
    kernels = [(m.matmul(n, transpose_y=True) ** 2).mean() for m, n in ((a, a), (b, b), (a, b))]
    return kernels[0] + kernels[1] - 2.0 * kernels[2]


Plain: TypeAlias = Callable[[Tensors, Tensors], paddle.Tensor]
LOSSES: Mapping[str, tuple[Plain, Callable[[str, str, str, str], purdist.LossSpec]]] = {
    "kd": (kd, lambda t, s, tf, sf: purdist.KDLoss(t, s)),
    "soft_label": (soft_label, lambda t, s, tf, sf: purdist.SoftLabelLoss(t, s, 2.0, 1.0)),
    "l2": (l2, lambda t, s, tf, sf: purdist.L2Loss(t, s)),
    "cross_entropy": (
        cross_entropy,
        lambda t, s, tf, sf: purdist.CrossEntropyLoss(s, NewInput("label")),
    ),
    "spherical": (spherical, lambda t, s, tf, sf: purdist.SphericalKDLoss(t, s)),
    "dkd": (dkd, lambda t, s, tf, sf: purdist.DKDLoss(t, s, NewInput("label"))),
    "dist": (dist, lambda t, s, tf, sf: purdist.DISTLoss(t, s)),
    "pkt": (pkt, lambda t, s, tf, sf: purdist.PKTLoss(t, s)),
    "similarity": (similarity, lambda t, s, tf, sf: purdist.SimilarityPreservingLoss(tf, sf)),
    "distances": (distances, lambda t, s, tf, sf: purdist.RKDDistanceLoss(tf, sf)),
    "nst": (nst, lambda t, s, tf, sf: purdist.NSTLoss(tf, sf)),
    "features": (features, lambda t, s, tf, sf: purdist.L2Loss(tf, sf)),
    "attention": (attention, lambda t, s, tf, sf: purdist.AttentionTransferLoss(tf, sf)),
    "fsp": (fsp, lambda t, s, tf, sf: purdist.FspLoss(tf, tf, sf, sf)),
}
ON_MAPS = ("attention", "fsp", "nst")
"""Losses over maps."""
