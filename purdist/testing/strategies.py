"""Hypothesis strategies: networks, shapes of what they compute, and what they are fed."""

from __future__ import annotations

from functools import partial
from typing import Annotated, TypeAlias

from hypothesis import strategies as st

from purdist.arrays import Arrays
from purdist.checking import Number, guard
from purdist.errors import InvalidArgumentError
from purdist.program import Program
from purdist.testing.architectures import (
    BatchNorm,
    Branch,
    Conv,
    Dropout,
    Layer,
    Linear,
    Network,
    Relu,
)
from purdist.testing.pairs import NetworkPair
from purdist.testing.program_laws import batch_of

Count: TypeAlias = Annotated[int, Number(least=1, most=1 << 20, whole=True)]
Rank: TypeAlias = Annotated[int, Number(least=0, most=1 << 10, whole=True)]

_WIDTHS = st.integers(1, 4)


def networks(
    *,
    shape: tuple[Count, Count, Count] | None = None,
    classes: Count | None = None,
    min_layers: Count = 1,
    max_layers: Count = 12,
) -> st.SearchStrategy[Network]:
    """Small networks: convolutions, then linear layers, with all else in between.

    They shrink towards few, narrow and plain layers.

    Args:
        shape: Of the images: channels, height, width. Any small one by default.
        classes: If given, the last layer is linear and of that width.
        min_layers: At least that many; a branch counts as one.
        max_layers: At most that many.

    Raises:
        InvalidArgumentError: There is no such network.
    """
    if min_layers > max_layers:
        raise InvalidArgumentError(
            f"Expected max_layers to be at least min_layers, got {min_layers=}, {max_layers=}.",
            "Give a larger max_layers.",
        )
    shapes = st.tuples(*[st.integers(1, 4)] * 3) if shape is None else st.just(shape)
    return _networks(shapes, classes, min_layers, max_layers)


@st.composite
def _networks(
    draw: st.DrawFn,
    shapes: st.SearchStrategy[tuple[int, int, int]],
    classes: int | None,
    min_layers: int,
    max_layers: int,
) -> Network:
    last = () if classes is None else (Linear(classes),)
    room = max_layers - len(last)
    convs = st.builds(Conv, _WIDTHS, st.sampled_from((1, 3)))
    maps = draw(st.lists(_layers(convs), max_size=room))
    missing = max(0, min_layers - len(last) - len(maps))
    linears = st.builds(Linear, _WIDTHS)
    flat = draw(st.lists(_layers(linears), min_size=missing, max_size=room - len(maps)))
    return Network(draw(shapes), (*maps, *flat, *last))


def _layers(
    learning: st.SearchStrategy[Conv] | st.SearchStrategy[Linear],
) -> st.SearchStrategy[Layer]:
    others: st.SearchStrategy[Layer] = st.sampled_from((Relu(), BatchNorm(), Dropout()))
    plain = learning | others
    # A branch ends in a layer with a width of its own, or a chain of them would double it.
    inside = st.builds(lambda layers, last: (*layers, last), st.lists(plain, max_size=2), learning)
    return plain | st.builds(Branch, st.sampled_from(("add", "concat")), inside)


def feature_map_shapes(
    *, min_rank: Rank = 4, max_rank: Rank = 4, max_size: Count = 8, unknown: bool = True
) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of what a network computes, such as [N, C, H, W].

    Args:
        min_rank: At least that many axes.
        max_rank: At most that many.
        max_size: The largest size.
        unknown: Whether a size may be -1, as a graph has it where it is not known.

    Raises:
        InvalidArgumentError: There is no such shape.
    """
    if min_rank > max_rank:
        raise InvalidArgumentError(
            f"Expected max_rank to be at least min_rank, got {min_rank=}, {max_rank=}.",
            "Give a larger max_rank.",
        )
    sizes = st.integers(1, max_size)
    if unknown:
        sizes = sizes | st.just(-1)
    return st.lists(sizes, min_size=min_rank, max_size=max_rank).map(tuple)


def network_pairs(
    *,
    shape: tuple[Count, Count, Count] | None = None,
    classes: Count | None = None,
    max_layers: Count = 4,
) -> st.SearchStrategy[NetworkPair]:
    """Teachers and students that see the same images and tell the same classes apart.

    Args:
        shape: Of the images: channels, height, width. Any small one by default.
        classes: How many classes. Any few by default.
        max_layers: At most that many in each network.
    """
    shapes = st.tuples(*[st.integers(1, 4)] * 3) if shape is None else st.just(shape)
    counts = st.integers(2, 5) if classes is None else st.just(classes)

    def of(seen: tuple[tuple[int, int, int], int]) -> st.SearchStrategy[NetworkPair]:
        each = _networks(st.just(seen[0]), seen[1], 1, max_layers)
        return st.builds(NetworkPair, each, each)

    return st.tuples(shapes, counts).flatmap(of)


def batches(
    program: Program, *, min_batches: Rank = 1, max_batches: Count = 4, max_rows: Count = 4
) -> st.SearchStrategy[list[Arrays]]:
    """Batches that a program takes, to run and to train on.

    Floats are normal numbers; integers that choose entries of a table are within it. They shrink
    towards few batches of one row.

    Args:
        program: Its inputs say what is fed.
        min_batches: At least that many.
        max_batches: At most that many.
        max_rows: Rows of a batch where the program does not know how many; so is any other size
            that it does not know.

    Raises:
        InvalidArgumentError: There are no such batches.
    """
    if min_batches > max_batches:
        raise InvalidArgumentError(
            f"Expected max_batches to be at least min_batches, got {min_batches=}, {max_batches=}.",
            "Give a larger max_batches.",
        )
    batch = st.builds(
        partial(batch_of, program),
        rows=st.integers(1, max_rows),
        size=st.integers(1, max_rows),
        seed=st.integers(0, 2**32 - 1),
    )
    return st.lists(batch, min_size=min_batches, max_size=max_batches)


guard(("networks", "feature_map_shapes", "network_pairs", "batches"), globals())
