"""Networks for the tests, and Paddle's process-wide state to compare."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import paddle
from paddle.utils import unique_name
from paddle.utils.deprecated import VisibleDeprecationWarning

import purdist
from purdist.graphs.state import random_state_text
from purdist.testing import unchanged

Array = npt.NDArray[Any]
Forward = Callable[[], Mapping[str, paddle.Tensor]]

ROOT = Path(__file__).parent.parent


@attrs.frozen(eq=False)
class Net:
    """A static network as a user of Paddle has it: graph, weights, and names for values."""

    main: paddle.static.Program
    startup: paddle.static.Program
    scope: paddle.static.Scope
    names: Mapping[str, paddle.Tensor]

    @classmethod
    def of(cls, forward: Forward, *, seed: int = 0, initialised: bool = True) -> Self:
        """What ``forward`` builds, its weights drawn from ``seed`` in a scope of their own."""
        main, startup = paddle.static.Program(), paddle.static.Program()
        with paddle.static.program_guard(main, startup), unique_name.guard():
            names = dict(forward())
        net = cls(main, startup, paddle.static.Scope(), names)
        if initialised:
            found = paddle.get_rng_state()
            paddle.seed(seed)
            paddle.static.Executor().run(startup, scope=net.scope)
            paddle.set_rng_state(found)
        return net

    def program(self) -> purdist.Program:
        """The network as a program."""
        return purdist.from_static(self.main, scope=self.scope, names=self.names)


def program(forward: Forward, *, seed: int = 0) -> purdist.Program:
    """What ``forward`` builds, as a program."""
    return Net.of(forward, seed=seed).program()


def linear(
    feed: str = "x",
    sizes: tuple[int, ...] = (6, 5, 4),
    *,
    dtype: str = "float32",
    batch: int | None = None,
    out: str = "logits",
) -> Forward:
    """Linear layers with tanh between, the last one's answer called ``out``."""

    def forward() -> dict[str, paddle.Tensor]:
        hidden = paddle.static.data(feed, [batch, sizes[0]], dtype)
        for k, (inside, outside) in enumerate(itertools.pairwise(sizes)):
            if k:
                hidden = paddle.tanh(hidden)
            hidden = dense(hidden, inside, outside)
        return {out: hidden}

    return forward


def dense(value: paddle.Tensor, inside: int, outside: int) -> paddle.Tensor:
    """A linear layer of the value's dtype."""
    name = unique_name.generate("dense")  # create_parameter's own names never start again
    weight = paddle.create_parameter([inside, outside], value.dtype, name=f"{name}.w")
    bias = paddle.create_parameter([outside], value.dtype, name=f"{name}.b", is_bias=True)
    return paddle.matmul(value, weight) + bias


def images(feed: str = "x", *, channels: int = 3, dropout: float = 0.5) -> Forward:
    """A convolution, batch norm and dropout on [N, 1, 4, 4], and logits [N, 4]."""

    def forward() -> dict[str, paddle.Tensor]:
        image = paddle.static.data(feed, [None, 1, 4, 4], "float32")
        convolved = paddle.nn.Conv2D(1, channels, 3, padding=1)(image)
        normed = paddle.nn.BatchNorm2D(channels)(convolved)
        dropped = paddle.nn.functional.dropout(normed, dropout)
        logits = paddle.nn.Linear(channels * 16, 4)(dropped.flatten(1))
        return {"convolved": convolved, "normed": normed, "dropped": dropped, "logits": logits}

    return forward


def looping(feed: str = "x", *, dropout: float = 0.5) -> Forward:
    """Batch norm and dropout three times round a while loop, then under a condition."""

    def noisy() -> Callable[[paddle.Tensor], paddle.Tensor]:
        norm, layer = paddle.nn.BatchNorm1D(6), paddle.nn.Linear(6, 6)
        return lambda value: paddle.nn.functional.dropout(norm(layer(value)), dropout)

    def forward() -> dict[str, paddle.Tensor]:
        hidden = paddle.nn.Linear(6, 6)(paddle.static.data(feed, [None, 6], "float32"))
        round_loop, under_condition = noisy(), noisy()
        _, hidden = paddle.static.nn.while_loop(
            lambda k, _: k < 3,
            lambda k, value: [k + 1, round_loop(value)],
            [paddle.full([1], 0, "int64"), hidden],
        )
        looped = paddle.tanh(hidden)
        chosen = paddle.static.nn.cond(
            looped.mean() > -2.0, lambda: under_condition(looped), lambda: looped * 2.0
        )
        return {"looped": looped, "chosen": chosen, "logits": paddle.nn.Linear(6, 4)(chosen)}

    return forward


@contextmanager
def old_form() -> Iterator[None]:
    """Old programs are built, without Paddle's saying at every layer that they are old."""
    with warnings.catch_warnings(), paddle.pir_utils.OldIrGuard():
        warnings.simplefilter("ignore", VisibleDeprecationWarning)
        yield


def numbers(seed: int, *shape: int, dtype: str = "float32") -> Array:
    """Normal numbers."""
    return np.random.RandomState(seed).standard_normal(shape).astype(dtype)


def read(scope: paddle.static.Scope) -> dict[str, Array]:
    """All that a scope holds memory for."""
    found = {}
    for name in scope.local_var_names():
        try:
            tensor = scope.var(name).get_tensor()
        except ValueError:
            continue  # what an executor of old programs left: a list
        if tensor._is_initialized():
            found[name] = np.array(tensor)
    return found


def weights(network: purdist.Program) -> dict[str, Array]:
    """The weights of a program, running statistics included."""
    held = read(network.scope)
    return {name: held[name] for name in network.weights}


def moved(before: Mapping[str, Array], after: Mapping[str, Array]) -> set[str]:
    """The names whose arrays are not equal to the bit."""
    assert set(before) <= set(after)
    return {name for name in before if before[name].tobytes() != after[name].tobytes()}


def random_state() -> str:
    """Paddle's random state, as text."""
    return random_state_text(paddle.get_rng_state())


@contextmanager
def untouched(*handed: Net | purdist.Program) -> Iterator[None]:
    """`unchanged`, and the global scope's weights too.

    In dynamic mode the counter that names eager tensors too.
    """
    things = [(n.main, n.startup, n.scope) if isinstance(n, Net) else n for n in handed]
    counted = _next_tensor() if paddle.in_dynamic_mode() else 0
    with unchanged(things, paddle.static.global_scope()):
        yield
    if paddle.in_dynamic_mode():
        assert _next_tensor() == counted + 1


def _next_tensor() -> int:
    return int(paddle.to_tensor(0.0).name.rpartition("_")[2])


def held(network: purdist.Program) -> dict[str, object]:
    """Graphs as text, and all that the scope holds."""
    found = {name: array.tobytes() for name, array in read(network.scope).items()}
    names = sorted(network.scope.local_var_names())
    graphs = [str(network.graph), str(network.inference_graph)]
    return {"graphs": graphs, "weights": found, "names": names}


def in_a_process(code: str, **env: str) -> str:
    """What ``code`` prints in a process of its own, which must end well."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
