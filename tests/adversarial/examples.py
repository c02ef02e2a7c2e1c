"""The fuzzer's examples: what is trained, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias, get_args

import attrs
import paddle
from hypothesis import strategies as st
from paddle import nn

from tests.adversarial import whole
from tests.adversarial.formulas import LOSSES, ON_MAPS
from tests.adversarial.networks import Net
from tests.adversarial.pieces import NOT_OLD, Part, Same, Zoo, pieces, shapes

Origin: TypeAlias = Literal["layer", "static", "old", "file", "jit"]
Way: TypeAlias = Literal["graph", "inference", "cache"]
Event: TypeAlias = Literal["run", "student_of", "weights", "another", "export"]

ROWS = 3
STEPS = 3
SEED = 11


@attrs.frozen
class Example:
    """What is trained, and how.

    Attributes:
        teacher: The teacher.
        student: The student.
        losses: Of `LOSSES`.
        optimizer: Of `OPTIMIZERS`.
        way: Where the teacher computes.
        origins: By which teacher and student come in.
        between: What happens before the second step, and before the third.
        dtype: Of all numbers.
    """

    teacher: Net
    student: Net
    losses: tuple[str, ...] = ("kd",)
    optimizer: str = "sgd"
    way: Way = "graph"
    origins: tuple[Origin, Origin] = ("layer", "layer")
    between: tuple[Event, ...] = ()
    dtype: str = "float32"


RATE = 0.05
OPTIMIZERS: Mapping[str, Callable[..., paddle.optimizer.Optimizer]] = {
    "sgd": lambda **p: paddle.optimizer.SGD(RATE, **p),
    "momentum": lambda **p: paddle.optimizer.Momentum(RATE, 0.8, **p),
    "adam": lambda **p: paddle.optimizer.Adam(RATE / 5, epsilon=1e-2, **p),
    "adamw": lambda **p: paddle.optimizer.AdamW(
        RATE / 5, epsilon=1e-2, weight_decay=0.1, grad_clip=nn.ClipGradByGlobalNorm(0.5), **p
    ),
    "scheduled": lambda **p: paddle.optimizer.SGD(
        whole.paddle.optimizer.lr.ExponentialDecay(RATE, 0.5), **p
    ),
    "decayed": lambda **p: paddle.optimizer.Momentum(
        RATE,
        weight_decay=paddle.regularizer.L2Decay(0.1),
        grad_clip=whole.nn.ClipGradByNorm(0.2),
        **p,
    ),
}


# --- strategies -------------------------------------------------------------------------


def _fitting(example: Example) -> Example:
    """The example without what cannot be asked of it."""
    teacher, student = (
        _origin(net, origin)
        for net, origin in zip((example.teacher, example.student), example.origins, strict=True)
    )
    stays = {piece.how for piece in example.student.everything if isinstance(piece, Part)}
    if "eval" in stays or ("frozen" in stays and student == "jit"):
        student = "layer"  # no file tells of parts in eval mode, Paddle's not of what learns
    losses = example.losses
    if len(example.student.shape) != 3:
        losses = tuple(name for name in losses if name not in ON_MAPS) or ("kd",)
    if example.way == "cache" and losses == ("cross_entropy",):
        losses = ("kd", "cross_entropy")
    return attrs.evolve(example, origins=(teacher, student), losses=losses)


def _origin(net: Net, origin: Origin) -> Origin:
    """The origin, or another where Paddle itself does not bring the network there."""
    written = any(isinstance(p, Same) and p.is_converted for p in net.everything)
    if written and origin in ("static", "old", "jit"):
        return "layer"  # only a conversion follows writes and sizes; paddle.jit.save loses writes
    if origin == "old" and any(isinstance(p, Zoo) or p in NOT_OLD for p in net.everything):
        return "static"
    return origin


@st.composite
def examples(draw: st.DrawFn) -> Example:
    shape = draw(shapes)
    last = st.booleans()
    nets = st.builds(Net, st.just(shape), pieces, last)
    origin: st.SearchStrategy[Origin] = st.sampled_from(get_args(Origin))
    events: st.SearchStrategy[Event] = st.sampled_from(get_args(Event))
    losses = draw(st.lists(st.sampled_from(tuple(LOSSES)), min_size=1, max_size=3, unique=True))
    example = Example(
        draw(nets),
        draw(nets),
        tuple(losses),
        draw(st.sampled_from(tuple(OPTIMIZERS))),
        draw(st.sampled_from(get_args(Way))),
        draw(st.tuples(origin, origin)),
        tuple(draw(st.lists(events, max_size=2))),
        draw(st.sampled_from(("float32", "float64"))),
    )
    return _fitting(example)
