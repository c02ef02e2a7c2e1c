"""With what each function of ``paddle.nn.functional`` is called."""

from __future__ import annotations

from tests.adversarial.cases import (
    IMAGE,
    SEQUENCE,
    VOLUME,
    Cases,
    Made,
    call,
    f,
    formats,
    i,
    p,
    w,
    x,
)
from tests.adversarial.whole import paddle

POOLED = {1: x(4, 8), 2: IMAGE, 3: VOLUME}

FUNCTIONS: Cases = {
    "conv1d": formats(call(SEQUENCE, w(3, 4, 3), w(3), padding=1)),
    "conv1d_transpose": formats(call(SEQUENCE, w(4, 3, 3), w(3), stride=2)),
    "conv2d": formats(call(IMAGE, w(3, 4, 3, 3), w(3), padding=1)),
    "conv2d_transpose": formats(call(IMAGE, w(4, 3, 3, 3), w(3), stride=2)),
    "conv3d": formats(call(VOLUME, w(3, 4, 3, 3, 3), w(3), padding=1)),
    "conv3d_transpose": formats(call(VOLUME, w(4, 3, 2, 2, 2), w(3), stride=2)),
    "pairwise_distance": call(x(6), x(6)),
    "maxout": call(IMAGE, 2),
    "prelu": formats(call(IMAGE, w(4))),
    "softmax": (call(x(6)), call(x(3, 6), axis=1)),
    "log_softmax": (call(x(6)), call(x(3, 6), axis=1)),
    "swiglu": (call(x(6)), call(x(6), x(6))),
    "gelu": (call(x(6)), call(x(6), approximate=True)),
    "gumbel_softmax": call(x(6)),
    "sequence_mask": call(i(5), 5),
    "dropout": (call(x(6)), call(x(6), 0.3, training=False, mode="downscale_in_infer")),
    "dropout1d": call(SEQUENCE),
    "dropout2d": formats(call(IMAGE)),
    "dropout3d": formats(call(VOLUME)),
    "alpha_dropout": call(x(6)),
    "feature_alpha_dropout": call(IMAGE),
    "label_smooth": call(p(6)),
    "linear": call(x(6), w(6, 5), w(5)),
    "pad": (
        call(x(6), [1, 2]),
        *(
            case
            for mode in ("constant", "reflect", "replicate", "circular")
            for case in formats(call(IMAGE, [1, 1, 2, 0], mode=mode))
        ),
    ),
    "zeropad2d": formats(call(IMAGE, [1, 0, 2, 1])),
    "unfold": call(IMAGE, [2, 2], strides=2),
    "interpolate": (
        *formats(call(IMAGE, scale_factor=2)),
        *formats(call(IMAGE, size=[9, 4], mode="bilinear", align_corners=True)),
        call(IMAGE, size=[3, 4], mode="area"),
        call(IMAGE, scale_factor=0.5, mode="bicubic"),
    ),
    "upsample": formats(call(IMAGE, scale_factor=2)),
    "bilinear": call(x(6), x(5), w(3, 6, 5), w(1, 3)),
    "cosine_similarity": call(x(6), x(6)),
    **{
        f"{kind}_pool{n}d": (
            *(formats(call(shape, 2)) if n > 1 else (call(shape, 2),)),
            call(shape, 3, stride=2, padding=1, ceil_mode=True),
        )
        for kind in ("avg", "max")
        for n, shape in POOLED.items()
    },
    "lp_pool1d": formats(call(SEQUENCE, 2.0, 2)),
    "lp_pool2d": formats(call(IMAGE, 2.0, 2)),
    "max_unpool1d": call(x(1, 2), i(1, 1, 2, dtype="int32"), 2),
    "max_unpool2d": call(x(1, 2, 2), i(1, 1, 2, 2, dtype="int32"), 2),
    "max_unpool3d": call(x(1, 2, 2, 2), i(1, 1, 2, 2, 2, dtype="int32"), 2),
    **{
        f"adaptive_{kind}_pool{n}d": (
            formats(call(shape, 3)) if n > 1 and kind == "avg" else call(shape, 3)
        )
        for kind in ("avg", "max")
        for n, shape in POOLED.items()
    },
    "fractional_max_pool2d": call(IMAGE, 3, random_u=0.3),
    "fractional_max_pool3d": call(VOLUME, 2, random_u=0.3),
    "binary_cross_entropy": call(p(6), p(6), reduction="none"),
    "binary_cross_entropy_with_logits": call(x(6), p(6), reduction="none"),
    "cross_entropy": (
        call(x(6), i(6), whole=True),
        call(x(6), i(6), reduction="none"),
        call(x(6), p(6), soft_label=True, reduction="none"),
    ),
    "dice_loss": call(p(3, 6), i(6, 3, 1), whole=True),
    "hsigmoid_loss": call(x(6), i(4, 1), 4, w(3, 6), w(3, 1)),
    "kl_div": (
        call(x(6), p(6), reduction="none"),
        call(x(6), p(6), whole=True),
        call(x(6), p(6), reduction="batchmean", whole=True),
    ),
    "l1_loss": call(x(6), f(6), whole=True),
    "log_loss": call(p(1), p(1)),
    "mse_loss": call(x(6), x(6), whole=True),
    "margin_ranking_loss": call(x(6), x(6), f(6), reduction="none"),
    "multi_label_soft_margin_loss": call(x(6), p(6), reduction="none"),
    "nll_loss": (call(x(6), i(6), whole=True), call(x(6), i(6), reduction="none")),
    "poisson_nll_loss": (call(x(6), p(6), whole=True), call(x(6), p(6), full=True, whole=True)),
    "npair_loss": call(x(6), x(6), f(), whole=True),
    "sigmoid_focal_loss": call(x(6), p(6), whole=True),
    "smooth_l1_loss": call(x(6), f(6), whole=True),
    "softmax_with_cross_entropy": call(x(6), i(6, 1)),
    "square_error_cost": call(x(6), f(6)),
    "hinge_embedding_loss": call(x(6), f(6), whole=True),
    "affine_grid": call(x(2, 3), [4, 3, 5, 6], fixed=True),
    "grid_sample": (
        call(IMAGE, x(5, 5, 2)),
        call(IMAGE, f(5, 5, 2), mode="nearest", padding_mode="border"),
    ),
    "local_response_norm": formats(call(IMAGE, 3)),
    "pixel_shuffle": formats(call(IMAGE, 2)),
    "pixel_unshuffle": formats(call(IMAGE, 2)),
    "channel_shuffle": formats(call(IMAGE, 2)),
    "embedding": (call(i(7, 3), w(7, 5)), call(i(7, 3), w(7, 5), padding_idx=1)),
    "gather_tree": call(i(3, 2, 2), i(2, 2, 2)),
    "one_hot": call(i(6), 6),
    "normalize": (call(x(6)), call(IMAGE, p=1, axis=2)),
    "temporal_shift": formats(call(IMAGE, 2, fixed=True)),
    "batch_norm": (
        *formats(
            call(IMAGE, Made(lambda: paddle.zeros([4])), Made(lambda: paddle.ones([4])), w(4), w(4))
        ),
    ),
    "layer_norm": call(x(3, 6), 6, w(6), w(6)),
    "instance_norm": call(IMAGE, None, None, w(4), w(4)),
    "group_norm": formats(call(IMAGE, 2, 1e-5, w(4), w(4))),
    "fold": call(x(8, 12), [4, 5], [2, 2], fixed=True),
    "cosine_embedding_loss": call(x(6), x(6), i(2), reduction="none"),
    "rrelu": (call(x(6)), call(x(6), training=False)),
    "triplet_margin_with_distance_loss": call(x(6), x(6), x(6), whole=True),
    "triplet_margin_loss": call(x(6), x(6), x(6), whole=True),
    "adaptive_log_softmax_with_loss": call(
        x(6),
        i(8),
        w(6, 5),
        [[w(6, 3), w(3, 2)], [w(6, 3), w(3, 3)]],
        [3, 5, 8],
        whole=True,
        fixed=True,
    ),
    "multi_margin_loss": call(x(6), i(6), whole=True),
    "multi_label_margin_loss": call(x(6), i(6, 6), whole=True, fixed=True),
    "soft_margin_loss": call(x(6), f(6), whole=True),
    "gaussian_nll_loss": call(x(6), x(6), p(6), whole=True),
    "scaled_dot_product_attention": (
        call(x(3, 2, 4), x(3, 2, 4), x(3, 2, 4)),
        call(x(3, 2, 4), x(3, 2, 4), x(3, 2, 4), is_causal=True),
    ),
    "thresholded_relu": call(x(6), 0.3),
    "thresholded_relu_": call(x(6), 0.3),
    "glu": call(x(6)),
}
