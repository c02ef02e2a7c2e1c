"""What a graph looks up by its feeds, and which values that allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paddle
import pytest

from purdist import graphs
from purdist.graphs.sizes.lookups import INDEXING
from tests.nets import Net

ops: Any = paddle  # more of it than purdist has types for
F = ops.nn.functional
Build = Callable[[paddle.Tensor], object]


def graph_of(build: Build, shape: tuple[int | None, ...] = (None, 3)) -> graphs.Graph:
    def forward() -> dict[str, paddle.Tensor]:
        build(paddle.static.data("i", list(shape), "int64"))
        return {}

    return graphs.Graph(Net.of(forward, initialised=False).main, {})


def table() -> paddle.Tensor:
    return paddle.nn.Layer().create_parameter([7, 4])


def rows() -> paddle.Tensor:
    return paddle.static.data("x", [None, 4])


LOOKUPS: dict[str, tuple[Build, tuple[int | None, ...], tuple[int, int | None]]] = {
    "embedding": (lambda i: F.embedding(i, table()), (None, 3), (0, 7)),
    "padded embedding": (lambda i: F.embedding(i, table(), padding_idx=-1), (None,), (0, 7)),
    "take_along_axis": (lambda i: paddle.take_along_axis(rows(), i, 1), (None, 2), (-4, 4)),
    "put_along_axis": (lambda i: ops.put_along_axis(rows(), i, 0.0, 1), (None, 2), (-4, 4)),
    "gather": (lambda i: ops.gather(table(), i), (None,), (-7, 7)),
    "gather along 1": (lambda i: ops.gather(rows(), i, axis=1), (None,), (-4, 4)),
    "gather rows": (lambda i: ops.gather(rows(), i), (None,), (-(2**63), None)),
    "gather_nd": (lambda i: ops.gather_nd(table(), i), (None, 2), (-7, 7)),
    "indexing": (lambda i: table()[i], (None,), (-7, 7)),
    "index_select": (lambda i: ops.index_select(table(), i, 1), (None,), (-4, 4)),
    "index_sample": (lambda i: ops.index_sample(rows(), i), (None, 2), (0, 4)),
    "index_add": (
        lambda i: ops.index_add(table(), i, 0, paddle.ones([2, 4])),
        (2,),
        (-7, 7),
    ),
    "one_hot": (lambda i: F.one_hot(i, 5), (None,), (0, 5)),
    "cross_entropy": (lambda i: F.cross_entropy(rows(), i), (None,), (0, 4)),
    "nll_loss": (lambda i: F.nll_loss(rows(), i), (None,), (0, 4)),
    "scatter": (lambda i: ops.scatter(table(), i, rows()), (None,), (-7, 7)),
    "scatter_nd_add": (lambda i: ops.scatter_nd_add(table(), i, rows()), (None, 1), (-7, 7)),
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_what_an_op_looks_up_has_a_range(name: str) -> None:
    build, shape, expected = LOOKUPS[name]
    (found,) = graphs.lookups(graph_of(build, shape))
    assert (found.feed, found.part, (found.low, found.high)) == ("i", (), expected)
    ignored = -100 if name in ("cross_entropy", "nll_loss") else None
    assert found.beside == ignored


def test_every_op_that_is_known_is_one_of_paddle() -> None:
    for name in INDEXING:
        assert hasattr(ops._C_ops, name.removeprefix("pd_op.")), name


@pytest.mark.parametrize(
    "kept",
    [
        lambda i: i.reshape([-1]),
        lambda i: i.flatten(),
        lambda i: i.astype("int32"),
        lambda i: i.unsqueeze(0).squeeze(0),
        lambda i: i.transpose([1, 0]),
        lambda i: i.unsqueeze(0).expand([2, -1, 3]),
        lambda i: i.tile([2, 1]),
        paddle.assign,
        lambda i: i.detach(),
        lambda i: paddle.concat([paddle.zeros([2, 3], "int64"), i]),
        lambda i: paddle.stack([i, i]),
    ],
)
def test_an_index_is_followed_through_ops_that_hand_it_on(
    kept: Callable[[paddle.Tensor], paddle.Tensor],
) -> None:
    graph = graph_of(lambda i: F.embedding(kept(i), table()))
    assert graphs.value_ranges(graph) == {"i": (0, 7)}


@pytest.mark.parametrize(
    "changed",
    [
        lambda i: i + 1,
        lambda i: i * 0,
        lambda i: i % 7,
        lambda i: i.clip(0, 6),
        lambda i: paddle.where(i < 0, paddle.zeros_like(i), i),
        lambda i: ops.masked_select(i, i > 0),
        lambda i: paddle.static.nn.cond(i.max() < 7, lambda: i, lambda: paddle.zeros_like(i)),
    ],
)
def test_of_values_that_may_be_others_nothing_is_said(
    changed: Callable[[paddle.Tensor], paddle.Tensor],
) -> None:
    assert graphs.value_ranges(graph_of(lambda i: F.embedding(changed(i), table()))) == {}


def test_a_part_is_looked_up_for_itself() -> None:
    def build(i: paddle.Tensor) -> None:
        F.embedding(i[:, 0], table())
        F.one_hot(i[:, 1:], 3)

    graph = graph_of(build)
    assert [(one.part, one.high) for one in graphs.lookups(graph)] == [
        ((slice(None), slice(0, 1)), 7),
        ((slice(None), slice(1, None)), 3),
    ]
    assert graphs.value_ranges(graph) == {"i": (0, 3)}


def test_regions_look_up_too() -> None:
    def build(i: paddle.Tensor) -> None:
        weight = table()
        paddle.static.nn.while_loop(
            lambda k, *_: k < 3,
            lambda k, j, total: [k + 1, j, total + F.embedding(j, weight).sum()],
            [paddle.zeros([], "int64"), i, paddle.zeros([])],
        )
        paddle.static.nn.cond(
            weight.mean() > 0, lambda: F.one_hot(i, 5).sum(), lambda: paddle.zeros([])
        )

    assert [(one.low, one.high) for one in graphs.lookups(graph_of(build))] == [(0, 7), (0, 5)]


def test_a_range_is_what_all_look_ups_allow() -> None:
    def build(i: paddle.Tensor) -> None:
        F.embedding(i, table())
        F.one_hot(i, 5)
        ops.gather(rows(), i.flatten())

    assert graphs.value_ranges(graph_of(build)) == {"i": (0, 1)}  # of x there is one row
