"""Paddle's process-wide state, set for a while and put back as it was found."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import paddle
from paddle.base import framework
from paddle.utils import unique_name

Place: TypeAlias = "paddle.CPUPlace | paddle.CUDAPlace"
RandomState: TypeAlias = list[Any]

_STATE = threading.RLock()
"""Guards the state: one builder at a time."""


@contextmanager
def building() -> Iterator[None]:
    """Paddle's process-wide state set for building PIR graphs, and as found afterwards.

    Whatever mode the process is in, inside it is static and PIR, with default
    programs and a unique-name counter of its own. Mode, flags, default programs,
    counters and random state are put back on the way out.
    """
    # `paddle.enable_static` would do for the mode, but on the way back it makes a new
    # tracer with new counters; taking the tracer away leaves them alone.
    with (
        random_state(None),
        framework._dygraph_guard(None),
        paddle.pir_utils.IrGuard(),
        unique_name.guard(),
        paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()),
    ):
        yield


@contextmanager
def executing() -> Iterator[None]:
    """The flags the PIR executor looks at while it compiles and runs, whatever the mode."""
    with _STATE:
        if paddle.get_flags("FLAGS_enable_pir_api")["FLAGS_enable_pir_api"]:
            yield
        else:
            with framework._dygraph_guard(None), paddle.pir_utils.IrGuard():
                yield


def seeded(seed: int) -> RandomState:
    """The random state that ``paddle.seed(seed)`` leads to."""
    with random_state(None) as now:
        paddle.seed(seed)
        return now()


@contextmanager
def random_state(state: RandomState | None) -> Iterator[Callable[[], RandomState]]:
    """Paddle's random state is ``state`` inside, if it is given, and as found afterwards.

    Yields:
        What returns the state at that moment.
    """
    with _STATE:
        found = paddle.get_rng_state()
        try:
            if state is not None:
                paddle.set_rng_state(state)
            yield paddle.get_rng_state
        finally:
            paddle.set_rng_state(found)


def place_of(place: Place | str | None) -> Place:
    """``place`` as Paddle's executor understands it, its current one for None."""
    return paddle.static.Executor(place).place
