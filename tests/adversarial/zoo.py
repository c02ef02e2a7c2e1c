"""The zoo: every case, walked from Paddle's own lists of names."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from tests.adversarial.around import Named
from tests.adversarial.cases import Case, Cases, Of, call, new, x
from tests.adversarial.tables.functions import FUNCTIONS
from tests.adversarial.tables.layers import LAYERS
from tests.adversarial.tables.methods import METHODS, PADDLE
from tests.adversarial.tables.networks import NETS
from tests.adversarial.whole import F, nn, paddle

CONTAINER = "holds layers, computes nothing"
ABSTRACT = "is made to be inherited from"
GPU = "has a kernel on the GPU alone"
WITHOUT: Mapping[str, str] = {
    **dict.fromkeys(
        ("Sequential", "LayerList", "LayerDict", "ParameterDict", "ParameterList"), CONTAINER
    ),
    **dict.fromkeys(("Layer", "RNNCellBase"), ABSTRACT),
    **dict.fromkeys(
        ("ClipGradByNorm", "ClipGradByValue", "ClipGradByGlobalNorm"), "clips gradients: the fuzzer"
    ),
    "Parameter": "is a tensor",
    **dict.fromkeys(("BeamSearchDecoder", "dynamic_decode"), "decodes token by token, in Python"),
    **dict.fromkeys(
        (
            "flashmask_attention",
            "flash_attn_qkvpacked",
            "flash_attention_v3_varlen",
            "flash_attn_varlen_qkvpacked",
            "sparse_attention",
            "moe_permute",
            "moe_unpermute",
        ),
        GPU,
    ),
    **dict.fromkeys(("SyncBatchNorm", "margin_cross_entropy", "rms_norm"), GPU),
    "class_center_sample": "draws classes for a loss on several GPUs",
    **dict.fromkeys(("CTCLoss", "ctc_loss", "RNNTLoss", "rnnt_loss"), "among NETS"),
}
"""What has no case, and why."""

FIRST = {
    *("BatchNorm", "BatchNorm1D", "BatchNorm2D", "BatchNorm3D", "GroupNorm", "LayerNorm"),
    *("InstanceNorm1D", "InstanceNorm2D", "InstanceNorm3D", "Linear", "Bilinear", "PReLU"),
    *("SimpleRNNCell", "LSTMCell", "GRUCell", "SimpleRNN", "LSTM", "GRU"),
    *("MultiHeadAttention", "TransformerEncoderLayer", "Conv1D", "Conv2D", "Conv3D"),
    *("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
}
"""Layers with weights, which also stand where nothing before them takes a gradient."""


def _all(of: Of, names: list[str], home: object, table: Cases) -> Iterator[Named]:
    seen: set[int] = set()
    for name in names:
        thing = id(getattr(home, name))
        known = thing in seen  # by another name
        seen.add(thing)
        if known or name in WITHOUT:
            continue
        cases = table.get(name, new() if of == "layer" else call(x(6)))
        for number, case in enumerate(cases if isinstance(cases, tuple) else (cases,)):
            named = Named(of, name, number, case)
            yield named
            if name.endswith("_"):  # what nothing stands before is a leaf, not to be written to
                yield attrs.evolve(named, statement=True)
                continue
            learning = any(operand.kind == "weight" for operand in named.operands)
            if learning or (of == "layer" and name in FIRST):
                yield attrs.evolve(named, first=True)


@functools.cache
def zoo() -> Mapping[str, Named]:
    """Every case, walked from Paddle's own lists of names."""
    named = [
        *_all("layer", nn.__all__, nn, LAYERS),
        *_all("function", F.__all__, F, FUNCTIONS),
        *_all("method", list(METHODS), paddle.Tensor, METHODS),
        *_all("paddle", list(PADDLE), paddle, PADDLE),
        *(Named("net", name, 0, case) for name, case in NETS.items() if isinstance(case, Case)),
    ]
    found = {str(one): one for one in named}
    assert len(found) == len(named)
    return found


def forgotten(of: Of, home: Any) -> list[str]:
    """The names of ``home`` that have no case, by this name or another."""
    run = {id(getattr(home, named.name)) for named in zoo().values() if named.of == of}
    run |= {id(getattr(home, name)) for name in WITHOUT if hasattr(home, name)}
    return [name for name in home.__all__ if id(getattr(home, name)) not in run]
