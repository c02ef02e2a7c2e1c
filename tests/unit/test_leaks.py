"""What was handed over, or returned, may be changed: nothing that was made of it is another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import purdist
from tests import handing


def test_every_public_function_is_called_here() -> None:
    assert handing.public() <= {name.partition(",")[0] for name in handing.CALLS}


@pytest.mark.parametrize("name", handing.CALLS)
def test_what_was_handed_over_may_be_changed_afterwards(name: str, tmp_path: Path) -> None:
    result, hand = handing.called(name, tmp_path / "one")
    other, _ = handing.called(name, tmp_path / "other")
    hand.spoil()
    assert handing.contents(result) == handing.contents(other)


def _run(folder: Path) -> Callable[[], object]:
    del folder
    feed = {"x": handing.x()}
    return lambda: handing.network().run(feed, ["x", "linear.weight", "output"])


def _cached(folder: Path) -> Callable[[], object]:
    cache = purdist.cache_teacher(handing.distilled(), [{"x": handing.x()}], folder / "cache")
    return lambda: (cache[:], cache[[0, 1]])


def _fetched(_: Path) -> Callable[[], object]:
    training = purdist.minimize(handing.distilled(), handing.frozen, seed=0)
    feed = {"x": handing.x()}
    return lambda: [s.fetched for s in purdist.train(training, [feed], fetch=["output", "x"])]


RETURNED: dict[str, Callable[[Path], Callable[[], object]]] = {
    "run": _run,
    "cache": _cached,
    "fetched": _fetched,
    "losses_to_data": lambda _: lambda: purdist.losses_to_data(handing.SPECS),
    "variables": lambda _: lambda: purdist.CustomLoss(handing.mean_square, {"a": "b"}).variables,
    "to_layer": lambda _: lambda: purdist.to_layer(handing.network(), handing.layer()),
}


@pytest.mark.parametrize("name", RETURNED)
def test_what_was_returned_may_be_changed(name: str, tmp_path: Path) -> None:
    call = RETURNED[name](tmp_path)
    result = call()
    expected = handing.contents(result)
    handing.spoil(result)
    assert name == "fetched" or handing.contents(result) != expected
    assert handing.contents(call()) == expected
