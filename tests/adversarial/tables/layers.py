"""With what each layer of ``paddle.nn`` is made and called."""

from __future__ import annotations

from typing import Any

import paddle

from tests.adversarial.cases import (
    IMAGE,
    SEQUENCE,
    VOLUME,
    Case,
    Cases,
    Made,
    f,
    formats,
    i,
    new,
    p,
    w,
    x,
)
from tests.adversarial.whole import nn


def _on(operand: object, *arguments: object, **options: object) -> Case:
    return new(*arguments, on=(operand,), **options)  # type: ignore[arg-type]


def _by_rank(name: str, *arguments: object, ranks: str = "123", **options: object) -> Cases:
    """The layers ``name`` with each rank in its place, in both formats."""
    maps = {"1": SEQUENCE, "2": IMAGE, "3": VOLUME}
    made: dict[str, tuple[Case, ...]] = {}
    for rank in ranks:
        case = new(*arguments, on=(maps[rank],), **options)  # type: ignore[arg-type]
        made[name.format(rank)] = formats(case)
    return made


def _first_format(cases: Cases) -> Cases:
    return {name: case[0] if isinstance(case, tuple) else case for name, case in cases.items()}


def _by_rows(made: Any) -> list[paddle.Tensor]:
    """A recurrent layer's outputs and states, the batch first."""
    outputs, states = made
    kept = states if isinstance(states, tuple | list) else [states]
    return [outputs, *(state.transpose([1, 0, 2]) for state in kept)]


LAYERS: Cases = {
    "BatchNorm": new(4, on=(IMAGE,)),
    **_by_rank("BatchNorm{}D", 4),
    "GroupNorm": formats(new(2, 4, on=(IMAGE,))),
    "LayerNorm": (new(6), new([6, 6], on=(IMAGE,))),
    "SpectralNorm": new([6, 5], on=(w(6, 5),), power_iters=2, whole=True),
    **_first_format(_by_rank("InstanceNorm{}D", 4)),
    "LocalResponseNorm": formats(new(3, on=(IMAGE,))),
    "Embedding": (new(7, 5, on=(i(7, 3),)), new(7, 5, padding_idx=0, on=(i(7, 3),))),
    "Linear": new(6, 5),
    "Upsample": (
        *formats(new(scale_factor=2, on=(IMAGE,))),
        new(size=[9, 7], mode="bilinear", on=(IMAGE,)),
        new(scale_factor=2, mode="bicubic", on=(IMAGE,)),
        new(size=[5], mode="linear", data_format="NCW", on=(SEQUENCE,)),
        new(size=[5, 6, 7], mode="trilinear", data_format="NCDHW", on=(VOLUME,)),
    ),
    "UpsamplingNearest2D": formats(new(scale_factor=2, on=(IMAGE,))),
    "UpsamplingBilinear2D": formats(new(size=[9, 8], on=(IMAGE,))),
    "Pad1D": tuple(
        case
        for mode in ("constant", "reflect", "replicate", "circular")
        for case in formats(new([1, 2], mode=mode, on=(SEQUENCE,)))
    ),
    "Pad2D": tuple(
        case
        for mode in ("constant", "reflect", "replicate", "circular")
        for case in formats(new([1, 0, 2, 1], mode=mode, on=(IMAGE,)))
    ),
    "Pad3D": formats(new([1, 0, 2, 1, 0, 1], on=(VOLUME,))),
    **_by_rank("ConstantPad{}D", 1, 0.5),
    **_by_rank("CircularPad{}D", 1),
    **_by_rank("ReplicationPad{}D", 1),
    **_by_rank("ReflectionPad{}D", 1),
    **_by_rank("ZeroPad{}D", 1),
    "CosineSimilarity": new(on=(x(6), x(6))),
    "Dropout": (new(0.5), new(0.5, mode="downscale_in_infer"), new(0.5, axis=0)),
    "Dropout2D": formats(new(0.5, on=(IMAGE,))),
    "Dropout3D": formats(new(0.5, on=(VOLUME,))),
    "FeatureAlphaDropout": new(on=(IMAGE,)),
    "Bilinear": new(6, 5, 3, on=(x(6), x(5))),
    "Unfold": new([2, 3], on=(IMAGE,)),
    "Fold": (new([4, 5], [2, 2], on=(x(8, 12),), fixed=True), new([4, 5], [2, 2], on=(x(8, 12),))),
    "SimpleRNNCell": new(6, 5),
    "LSTMCell": new(6, 5),
    "GRUCell": new(6, 5),
    "RNN": new(Made(lambda: nn.LSTMCell(6, 5)), on=(x(3, 6),)),
    "BiRNN": new(Made(lambda: nn.GRUCell(6, 5)), Made(lambda: nn.GRUCell(6, 5)), on=(x(3, 6),)),
    "SimpleRNN": (
        new(6, 5, on=(x(3, 6),), take=_by_rows),
        new(6, 5, 2, "bidirect", on=(x(3, 6),), take=_by_rows),
    ),
    "LSTM": (
        new(6, 5, on=(x(3, 6),), take=_by_rows),
        new(6, 5, 2, "bidirect", dropout=0.3, on=(x(3, 6),), take=_by_rows),
        new(6, 5, proj_size=3, on=(x(3, 6),), take=_by_rows),
    ),
    "GRU": (
        new(6, 5, on=(x(3, 6),), take=_by_rows),
        new(6, 5, 2, "bidirect", on=(x(3, 6),), take=_by_rows),
    ),
    "MultiHeadAttention": (
        new(6, 2, on=(x(3, 6),)),
        new(6, 2, need_weights=True, kdim=5, vdim=5, on=(x(3, 6), x(4, 5), x(4, 5))),
    ),
    "Maxout": new(2, on=(IMAGE,)),
    "Transformer": new(6, 2, 1, 1, 8, dropout=0.0, on=(x(3, 6), x(2, 6))),
    "TransformerEncoderLayer": (
        new(6, 2, 8, dropout=0.0, on=(x(3, 6),)),
        new(6, 2, 8, dropout=0.2, normalize_before=True, activation="gelu", on=(x(3, 6),)),
    ),
    "TransformerDecoderLayer": new(6, 2, 8, dropout=0.0, on=(x(3, 6), x(2, 6))),
    "TransformerEncoder": new(
        Made(lambda: nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0)), 2, on=(x(3, 6),)
    ),
    "TransformerDecoder": new(
        Made(lambda: nn.TransformerDecoderLayer(6, 2, 8, dropout=0.0)), 2, on=(x(3, 6), x(2, 6))
    ),
    "PairwiseDistance": new(on=(x(6), x(6))),
    **{
        f"{kind}Pool{rank}D": case
        for kind in ("Max", "Avg")
        for rank, shape in ((1, SEQUENCE), (2, IMAGE), (3, VOLUME))
        for case in [
            (
                *(formats(new(2, on=(shape,))) if rank > 1 else (new(2, on=(shape,)),)),
                new(3, stride=2, padding=1, on=(shape,)),
                new(3, stride=2, ceil_mode=True, on=(shape,)),
            )
        ]
    },
    **{
        f"Adaptive{kind}Pool{rank}D": (
            *(formats(_on(shape, 2)) if rank > 1 and kind == "Avg" else (_on(shape, 2),)),
            _on(shape, 3),
        )
        for kind in ("Max", "Avg")
        for rank, shape in ((1, SEQUENCE), (2, IMAGE), (3, VOLUME))
    },
    "LPPool1D": formats(new(2, 2, on=(x(4, 8),))),
    "LPPool2D": formats(new(2, 2, on=(IMAGE,))),
    "FractionalMaxPool2D": new(3, random_u=0.3, on=(IMAGE,)),
    "FractionalMaxPool3D": new(2, random_u=0.3, on=(VOLUME,)),
    "MaxUnPool1D": new(2, on=(x(1, 2), i(1, 1, 2, dtype="int32"))),
    "MaxUnPool2D": new(2, on=(x(1, 2, 2), i(1, 1, 2, 2, dtype="int32"))),
    "MaxUnPool3D": new(2, on=(x(1, 2, 2, 2), i(1, 1, 2, 2, 2, dtype="int32"))),
    "Conv1D": (
        *formats(new(4, 3, 3, on=(SEQUENCE,))),
        *formats(new(4, 4, 3, padding=1, stride=2, groups=2, on=(SEQUENCE,))),
        new(4, 3, 3, padding=2, dilation=2, padding_mode="circular", on=(SEQUENCE,)),
    ),
    "Conv2D": (
        *formats(new(4, 3, 3, on=(IMAGE,))),
        *formats(new(4, 6, 3, padding=1, stride=2, groups=2, on=(IMAGE,))),
        *formats(new(4, 4, 3, padding=[1, 0], dilation=2, groups=4, on=(IMAGE,))),
        *formats(new(4, 3, 1, bias_attr=False, on=(IMAGE,))),
        new(4, 3, 3, padding=1, padding_mode="reflect", on=(IMAGE,)),
        new(4, 3, 3, padding="SAME", on=(IMAGE,)),
        new(4, 3, 3, padding=[0, 1, 2, 0], on=(IMAGE,)),
    ),
    "Conv3D": (
        *formats(new(4, 3, 3, on=(VOLUME,))),
        *formats(new(4, 4, 2, stride=2, groups=2, on=(VOLUME,))),
    ),
    "Conv1DTranspose": formats(new(4, 3, 3, stride=2, on=(SEQUENCE,))),
    "Conv2DTranspose": (
        *formats(new(4, 3, 3, stride=2, on=(IMAGE,))),
        new(4, 4, 3, padding=1, groups=2, on=(IMAGE,)),
        new(4, 3, 3, stride=2, padding=1, output_padding=1, on=(IMAGE,)),
    ),
    "Conv3DTranspose": formats(new(4, 3, 2, stride=2, on=(x(4, 3, 3, 3),))),
    "Softmax2D": new(on=(IMAGE,)),
    "PReLU": (new(), *formats(new(4, on=(IMAGE,)))),
    "Flatten": (new(on=(IMAGE,)), new(2, on=(IMAGE,))),
    "Unflatten": new(1, [2, 3]),
    "PixelShuffle": formats(new(2, on=(IMAGE,))),
    "PixelUnshuffle": formats(new(2, on=(IMAGE,))),
    "ChannelShuffle": formats(new(2, on=(IMAGE,))),
    "GLU": new(),
    "RReLU": new(),
    # Losses.
    "CrossEntropyLoss": (
        new(on=(x(6), i(6)), whole=True),
        new(reduction="none", label_smoothing=0.1, on=(x(6), i(6))),
        new(reduction="none", soft_label=True, axis=1, on=(x(6, 3), p(6, 3))),
        new(reduction="sum", ignore_index=2, on=(x(3, 6), i(6, 3)), whole=True),
    ),
    "MSELoss": new(on=(x(6), x(6)), whole=True),
    "L1Loss": new(on=(x(6), f(6)), whole=True),
    "SmoothL1Loss": (new(on=(x(6), f(6)), whole=True), new("none", on=(x(6), x(6)))),
    "BCELoss": new(on=(p(6), p(6)), whole=True),
    "BCEWithLogitsLoss": new(None, "sum", on=(x(6), p(6)), whole=True),
    "KLDivLoss": (
        new("mean", on=(x(6), p(6)), whole=True),
        new("batchmean", on=(x(6), p(6)), whole=True),
        new("none", log_target=True, on=(x(6), x(6))),
    ),
    "NLLLoss": (new(on=(x(6), i(6)), whole=True), new(None, -100, "none", on=(x(6), i(6)))),
    "PoissonNLLLoss": new(on=(x(6), p(6)), whole=True),
    "GaussianNLLLoss": new(on=(x(6), x(6), p(6)), whole=True),
    "MarginRankingLoss": new(on=(x(6), x(6), f(6)), whole=True),
    "MultiLabelSoftMarginLoss": new(on=(x(6), p(6)), whole=True),
    "HingeEmbeddingLoss": new(on=(x(6), f(6)), whole=True),
    "CosineEmbeddingLoss": new(on=(x(6), x(6), i(2)), whole=True),
    "MultiMarginLoss": new(on=(x(6), i(6)), whole=True),
    "MultiLabelMarginLoss": (
        new(on=(x(6), i(6, 6)), whole=True, fixed=True),
        new(on=(x(6), i(6, 6)), whole=True),
    ),
    "TripletMarginWithDistanceLoss": new(on=(x(6), x(6), x(6)), whole=True),
    "TripletMarginLoss": new(on=(x(6), x(6), x(6)), whole=True),
    "SoftMarginLoss": new(on=(x(6), f(6)), whole=True),
    "HSigmoidLoss": new(6, 4, on=(x(6), i(4, 1))),
    "AdaptiveLogSoftmaxWithLoss": (
        new(6, 8, [3, 5], on=(x(6), i(8)), whole=True, fixed=True),
        new(6, 8, [3, 5], on=(x(6), i(8)), whole=True),
    ),
}
