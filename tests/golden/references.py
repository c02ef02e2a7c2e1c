"""Losses in numpy, from the equations of their papers: loops and probabilities, no tricks.

Arrays come as ``t`` and ``s``, teacher and student; ``w`` holds the parameters of the
loss's own layers, by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tests.nets import Array

Weights = Mapping[str, Array]


# --- parts ------------------------------------------------------------------------------


def softmax(z: Array) -> Array:
    raised: Array = np.exp(z - z.max(-1, keepdims=True))
    raised /= raised.sum(-1, keepdims=True)
    return raised


def kl(p: Array, q: Array) -> Array:
    """KL(p || q) over the last axis."""
    return np.asarray((p * np.log(p / q)).sum(-1))


def pooled(x: Array, height: int, width: int) -> Array:
    """Adaptive average pooling of [N, C, H, W]."""
    out = np.empty((*x.shape[:2], height, width))
    for i in range(height):
        for j in range(width):
            rows = slice(i * x.shape[2] // height, -(-(i + 1) * x.shape[2] // height))
            columns = slice(j * x.shape[3] // width, -(-(j + 1) * x.shape[3] // width))
            out[:, :, i, j] = x[:, :, rows, columns].mean((2, 3))
    return out


def smaller(t: Array, s: Array) -> tuple[Array, Array]:
    height, width = min(t.shape[2], s.shape[2]), min(t.shape[3], s.shape[3])
    return pooled(t, height, width), pooled(s, height, width)


def nearest(x: Array, height: int, width: int) -> Array:
    rows = np.arange(height) * x.shape[2] // height
    columns = np.arange(width) * x.shape[3] // width
    return x[:, :, rows][:, :, :, columns]


def conv(
    x: Array, weight: Array, bias: Array | None = None, stride: int = 1, padding: int = 0
) -> Array:
    """Cross-correlation with ``weight`` [C', C, K, L]."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    k, m = weight.shape[2:]
    height, width = (x.shape[2] - k) // stride + 1, (x.shape[3] - m) // stride + 1
    out = np.empty((len(x), len(weight), height, width))
    for i in range(height):
        for j in range(width):
            patch = x[:, :, i * stride : i * stride + k, j * stride : j * stride + m]
            out[:, :, i, j] = np.einsum("nchw,dchw->nd", patch, weight)
    return out if bias is None else out + bias[:, None, None]


def transposed_conv(x: Array, weight: Array, bias: Array, stride: int, padding: int) -> Array:
    """Every place of ``x`` spread by ``weight`` [C, C', K, K]."""
    k = weight.shape[2]
    height, width = (x.shape[2] - 1) * stride + k, (x.shape[3] - 1) * stride + k
    out = np.zeros((len(x), weight.shape[1], height, width))
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            spread = np.einsum("nc,cdhw->ndhw", x[:, :, i, j], weight)
            out[:, :, i * stride : i * stride + k, j * stride : j * stride + k] += spread
    out = out[:, :, padding : height - padding, padding : width - padding]
    return out + bias[:, None, None]


def batch_norm(x: Array) -> Array:
    """As it begins, in training: scale 1, shift 0."""
    mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    return np.asarray((x - mean) / np.sqrt(var + 1e-5))


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


# --- between logits ---------------------------------------------------------------------


def cross_entropy(s: Array, y: Array, smoothing: float) -> float:
    wanted = np.full(s.shape, smoothing / s.shape[1])
    wanted[np.arange(len(s)), y] += 1 - smoothing
    return float(-(wanted * np.log(softmax(s))).sum(1).mean())


def kd(t: Array, s: Array, temperature: float) -> float:
    return float(temperature**2 * kl(softmax(t / temperature), softmax(s / temperature)).mean())


def standardised(z: Array) -> Array:
    deviation = z.std(-1, ddof=1, keepdims=True)
    return np.asarray((z - z.mean(-1, keepdims=True)) / (deviation + 1e-7))


def spherical(t: Array, s: Array, temperature: float) -> float:
    scale = t.std(-1, ddof=1, keepdims=True) / s.std(-1, ddof=1, keepdims=True)
    return kd(t, s * scale, temperature)


def dkd(t: Array, s: Array, y: Array, alpha: float, beta: float, temperature: float) -> float:
    total = 0.0
    for row_t, row_s, label in zip(t / temperature, s / temperature, y, strict=True):
        p, q = softmax(np.asarray(row_t)), softmax(np.asarray(row_s))
        right = kl(np.array([p[label], 1 - p[label]]), np.array([q[label], 1 - q[label]]))
        others = kl(softmax(np.delete(row_t, label)), softmax(np.delete(row_s, label)))
        total += float(alpha * right + beta * others)
    return float(temperature**2 * total / len(t))


def dist(t: Array, s: Array, beta: float, gamma: float, temperature: float) -> float:
    p, q = softmax(t / temperature), softmax(s / temperature)
    samples = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)])
    classes = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)])
    return float(temperature**2 * (beta * (1 - samples) + gamma * (1 - classes)))


# --- between maps -----------------------------------------------------------------------


def attention(t: Array, s: Array, p: float) -> float:
    maps = []
    for x in smaller(t, s):
        q = (np.abs(x) ** p).mean(1).reshape(len(x), -1)
        maps.append(q / np.linalg.norm(q, axis=1, keepdims=True))
    return float(np.square(maps[0] - maps[1]).mean())


def nst(t: Array, s: Array) -> float:
    """The squared maximum mean discrepancy, pair by pair of channels."""
    a, b = (x.reshape(*x.shape[:2], -1) for x in smaller(t, s))
    a, b = (x / np.linalg.norm(x, axis=2, keepdims=True) for x in (a, b))

    def mean_kernel(x: Array, y: Array) -> float:
        return float(np.mean([(u @ v) ** 2 for u in x for v in y]))

    return float(
        np.mean(
            [
                mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)
                for x, y in zip(a, b, strict=True)
            ]
        )
    )


def vid(t: Array, s: Array, w: Weights) -> float:
    """The negative log-likelihood of a Gaussian, without its constant."""
    t, s = smaller(t, s)
    mean = conv(relu(conv(s, w["conv2d_0.w_0"])), w["conv2d_1.w_0"])
    mean = conv(relu(mean), w["conv2d_2.w_0"])
    variance = (np.log(1 + np.exp(w["layer_0.w_0"])) + 1e-5)[:, None, None]
    return float((np.square(t - mean) / (2 * variance) + np.log(variance) / 2).mean())


def hint(t: Array, s: Array, w: Weights, adaptor: str) -> float:
    if adaptor == "linear":
        s = s @ w["linear_0.w_0"] + w["linear_0.b_0"]
    elif 2 * s.shape[2] == t.shape[2]:
        s = transposed_conv(
            s, w["conv2d_transpose_0.w_0"], w["conv2d_transpose_0.b_0"], stride=2, padding=1
        )
    else:
        half = s.shape[2] == 2 * t.shape[2]
        stride, padding = (2, 1) if half else (1, 0)
        s = conv(s, w["conv2d_0.w_0"], w["conv2d_0.b_0"], stride, padding)
    if adaptor == "conv_bn_relu":
        s = relu(batch_norm(s))
    return float(np.square(s - t).mean())


def hierarchical_context(t: Array, s: Array) -> float:
    """The maps as they are, then at each coarser level with half the weight."""
    levels = [level for level in (4, 2, 1) if level < s.shape[2]]
    pairs = [(t, s), *((pooled(t, k, k), pooled(s, k, k)) for k in levels)]
    parts = [np.square(x - y).mean() for x, y in pairs]
    weights = 0.5 ** np.arange(len(parts))
    return float(weights @ parts / weights.sum())


def review(ts: Sequence[Array], ss: Sequence[Array], w: Weights) -> float:
    """Attention-based fusion from the deepest pair on, then the hierarchical context loss."""
    total, deeper, count = 0.0, None, iter(range(99))
    for t, s in zip(reversed(ts), reversed(ss), strict=True):
        x = batch_norm(conv(s, w[f"conv2d_{next(count)}.w_0"]))
        if deeper is not None:
            y = nearest(deeper, *s.shape[2:])
            name = f"conv2d_{next(count)}"
            z = conv(np.concatenate([x, y], 1), w[f"{name}.w_0"], w[f"{name}.b_0"])
            z = 1 / (1 + np.exp(-z))
            x = x * z[:, :1] + y * z[:, 1:]
        deeper = nearest(x, *t.shape[2:])
        out = batch_norm(conv(deeper, w[f"conv2d_{next(count)}.w_0"], padding=1))
        total += hierarchical_context(t, out)
    return total


# --- between samples, between tokens ----------------------------------------------------


def pkt(t: Array, s: Array) -> float:
    """KL between whom each sample would pick, by the cosine kernel, and its 1e-7s."""
    picks = []
    for x in (t, s):
        unit = x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-7)
        kernel = (unit @ unit.T + 1) / 2
        picks.append(kernel / kernel.sum(1, keepdims=True))
    return float((picks[0] * np.log((picks[0] + 1e-7) / (picks[1] + 1e-7))).mean())


def contrastive(t: Array, s: Array, w: Weights, temperature: float) -> float:
    """CRD's critic h on every pair of the batch, seen from the student and from the teacher."""
    u = s.reshape(len(s), -1) @ w["linear_0.w_0"] + w["linear_0.b_0"]
    v = t.reshape(len(t), -1) @ w["linear_1.w_0"] + w["linear_1.b_0"]
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (u, v))
    scores = np.exp(u @ v.T / temperature)
    negatives = len(s) - 1
    h = scores / w.get("normalisation", scores.mean())
    h = h / (h + negatives)
    total = 0.0
    for i in range(len(s)):
        others = np.arange(len(s)) != i
        total -= np.log(h[i, i]) + np.log(1 - h[i, others]).sum()  # the student's anchor
        total -= np.log(h[i, i]) + np.log(1 - h[others, i]).sum()  # the teacher's
    return float(total / len(s))


def normalisation(t: Array, s: Array, w: Weights, temperature: float) -> float:
    """The constant that `contrastive` divides scores by."""
    u = s.reshape(len(s), -1) @ w["linear_0.w_0"] + w["linear_0.b_0"]
    v = t.reshape(len(t), -1) @ w["linear_1.w_0"] + w["linear_1.b_0"]
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (u, v))
    return float(np.exp(u @ v.T / temperature).mean())


def relation(x: Array, y: Array, *, seen: Array) -> Array:
    """softmax(x y^T / sqrt(d)) among the tokens ``seen``, of one head [L, d]."""
    return softmax(x[seen] @ y[seen].T / math.sqrt(x.shape[1]))


def minilm(
    t: Mapping[str, Array],
    s: Mapping[str, Array],
    heads: int,
    relations: Sequence[str],
    mask: Array | None,
) -> float:
    """One sequence, one head, one relation at a time; ``t["q"]`` are the teacher's queries."""
    total = 0.0
    rows, tokens, _ = t["v"].shape
    for n in range(rows):
        seen = np.ones(tokens, bool) if mask is None else mask[n] > 0
        if not seen.any():
            continue
        for a in range(heads):
            for pair in relations:
                taught, got = (
                    relation(*[np.split(side[part][n], heads, 1)[a] for part in pair], seen=seen)
                    for side in (t, s)
                )
                total += float(kl(taught, got).sum() / (heads * seen.sum()))
    return float(total / rows)


# --- PaddleSlim 2.6 -----------------------------------------------------------------------


def slim_fsp(t1: Array, t2: Array, s1: Array, s2: Array) -> float:
    flows = [
        np.einsum("nchw,ndhw->ncd", a, b) / (a.shape[2] * a.shape[3])
        for a, b in ((t1, t2), (s1, s2))
    ]
    return float(np.square(flows[0] - flows[1]).mean())


def slim_l2(t: Array, s: Array) -> float:
    return float(np.square(s - t).mean())


def slim_soft_label(t: Array, s: Array, teacher: float, student: float) -> float:
    return float(-(softmax(t / teacher) * np.log(softmax(s / student))).sum(-1).mean())


def slim_skd(t: Array, s: Array) -> float:
    """Both normalised by the variance of the row, then times the deviation of a sample."""
    spread = t.std(-1, ddof=1, keepdims=True)

    def normal(z: Array) -> Array:
        return np.asarray((z - z.mean(-1, keepdims=True)) / z.std(-1, keepdims=True) * spread)

    return slim_soft_label(normal(t), normal(s), 1.0, 1.0)


def slim_dkd(t: Array, s: Array) -> float:
    """The teacher's top class for the label, and the student's probabilities for their logs."""
    top = t == t.max(-1, keepdims=True)

    def parts(z: Array) -> tuple[Array, Array]:
        right = (softmax(z) * top).sum(-1)
        return np.stack([right, 1 - right], -1), softmax(z - 1e5 * top)

    return sum(
        float(np.where(p > 0, p * (np.log(np.maximum(p, 1e-300)) - q), 0).mean())
        for p, q in zip(parts(t), parts(s), strict=True)
    )
