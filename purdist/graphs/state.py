"""Paddle's process-wide state, set for a while and put back as it was found."""

from __future__ import annotations

import hashlib
import random
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import paddle
from paddle.base import core, framework
from paddle.utils import unique_name

from purdist.checking.showing import shown
from purdist.errors import InvalidArgumentError

if TYPE_CHECKING:
    # The class behind `paddle.static.Scope`, which is a function; Paddle types it here alone.
    from paddle._typing.libs.libpaddle import _Scope
else:
    _Scope = core._Scope

Scope: TypeAlias = _Scope
Place: TypeAlias = paddle.CPUPlace | paddle.CUDAPlace
RandomState: TypeAlias = "list[core.GeneratorState]"

_IN_ORDER = "FLAGS_enable_pir_in_executor_trace_run"
_FREE_FROM = "FLAGS_eager_delete_tensor_gb"

_GATHERED = 2.0**-10
"""How much, in GiB, may lie about before it is freed. A MiB is still in the processor's cache."""

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
        random_state(),
        framework._dygraph_guard(None),
        paddle.pir_utils.IrGuard(),
        unique_name.guard(),
        _layer_paths(),
        _silent_of_building(),
        paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()),
    ):
        yield


@contextmanager
def _layer_paths() -> Iterator[None]:
    """Counters of their own for the paths that layers leave on their ops: ``Linear_3``."""
    found = framework._name_struct
    framework._name_struct = framework.NameStruct()
    try:
        yield
    finally:
        framework._name_struct = found


@contextmanager
def _silent_of_building() -> Iterator[None]:
    """Paddle does not warn inside of what is as it should be."""
    with warnings.catch_warnings():
        # A value of a graph lies nowhere yet, and a batch normalisation that trains gathers.
        warnings.filterwarnings("ignore", "Tensor do not have '.*' interface for pir")
        # It advises options that no graph takes.
        warnings.filterwarnings("ignore", "Accumulating with FP16/BF16 in optimizer")
        warnings.filterwarnings("ignore", "When training, we now always track global mean and")
        yield


@contextmanager
def dynamic() -> Iterator[None]:
    """Dynamic mode inside, and Paddle's process-wide state as found afterwards."""
    # A guard has a tracer of its own, and so its own counters of names.
    with random_state(), paddle.base.dygraph.guard():
        yield


@contextmanager
def executing(*, in_order: bool) -> Iterator[None]:
    """The flags the PIR executor looks at while it runs, whatever the mode.

    Args:
        in_order: Take one op after the other instead of handing them to threads.
    """
    with _STATE, ExitStack() as stack:
        if not _flag("FLAGS_enable_pir_api"):
            stack.enter_context(framework._dygraph_guard(None))
            stack.enter_context(paddle.pir_utils.IrGuard())
        if in_order:
            stack.enter_context(_setting({_IN_ORDER: True}))
        yield


@contextmanager
def plain_layout() -> Iterator[None]:
    """What oneDNN computes in this thread is read as NCHW inside, and afterwards.

    A program's first op that has a layout says how the thread reads what oneDNN has computed,
    and once it was NHWC no later program changes that. Paddle goes back to NCHW when an
    executor of old programs is taken down.
    """
    _read_as_nchw()
    try:
        yield
    finally:
        _read_as_nchw()


def _read_as_nchw() -> None:
    anywhere = core.Place()
    anywhere.set_place(paddle.CPUPlace())
    core.Executor(anywhere)  # gone at once


@contextmanager
def freeing_in_bulk() -> Iterator[None]:
    """Lets an executor, or a predictor, that runs for the first time free memory in bulk.

    By default it wakes a thread, which spins, for what each op leaves: half the time of a
    step of small ops, and up to three quarters on one core. It looks at the flag once.
    """
    if _flag(_FREE_FROM):
        yield  # somebody has chosen
    else:
        with _setting({_FREE_FROM: _GATHERED}):
            yield


@contextmanager
def _setting(flags: dict[str, bool | str | float]) -> Iterator[None]:
    found = paddle.get_flags([*flags])
    paddle.set_flags(flags)
    try:
        yield
    finally:
        paddle.set_flags(found)


def _flag(name: str) -> bool:
    return bool(paddle.get_flags(name)[name])


def process_state() -> dict[str, object]:
    """What of the process must be as it was found, to compare. This is the one list of it."""
    flags = core.globals()
    scope, counters = paddle.static.global_scope(), paddle.base.unique_name.generator
    programs = (paddle.static.default_main_program(), paddle.static.default_startup_program())
    return {
        "dynamic mode": paddle.in_dynamic_mode(),
        "default programs": [(id(program), str(program)) for program in programs],
        "global scope": (id(scope), sorted(scope.local_var_names())),
        "unique-name counters": (id(counters), dict(counters.ids)),
        "layer paths": (id(framework._name_struct), len(framework._name_struct._children)),
        "random state": random_state_text(paddle.get_rng_state()),
        "random state of Python and numpy": (random.getstate(), str(np.random.get_state())),
        "gradients": paddle.is_grad_enabled(),
        "default dtype and place": (
            paddle.get_default_dtype(),
            str(framework._current_expected_place_()),
        ),
        **{f"flag {name}": str(flags[name]) for name in flags.keys()},  # noqa: SIM118 - no mapping
    }


def random_state_text(state: RandomState) -> str:
    """A random state to compare: Paddle's own objects are equal to nothing."""
    return " ".join(re.sub(r"0x[0-9a-f]+", "", str(part)) for part in state)  # addresses


def seed_of_state() -> int:
    """A seed that follows from Paddle's random state, which stays as it is."""
    text = random_state_text(paddle.get_rng_state())
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


@contextmanager
def random_state(seed: int | None = None) -> Iterator[None]:
    """Paddle's random state is that after ``paddle.seed(seed)`` inside, and as found afterwards.

    Without a seed it begins as it was found.
    """
    with _STATE:
        found = paddle.get_rng_state()
        try:
            if seed is not None:
                paddle.seed(seed)
            yield
        finally:
            paddle.set_rng_state(found)


def place_of(place: Place | str | None) -> Place:
    """``place`` as Paddle's executor understands it, its current one for None."""
    named = _named(place)
    try:
        with unique_name.guard():  # an executor counts itself
            return paddle.static.Executor(named).place
    except (ValueError, RuntimeError, OSError) as error:
        raise _no_place(place, str(error)) from error


def _named(place: Place | str | None) -> Place | str | None:
    """``place``, refused if its name is none that Paddle knows: its executor breaks halfway."""
    if isinstance(place, str):
        known = re.fullmatch(r"cpu|(gpu)(:\d+)?", place.lower())
        if not known:
            raise _no_place(place, "")
        if known[1] and not paddle.is_compiled_with_cuda():
            raise _no_place(place, "this PaddlePaddle is not compiled with CUDA")
    return place


def _no_place(place: Place | str | None, why: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"Expected place to be one that Paddle runs at, got {shown(place)}{why and ': '}"
        f"{why.partition(chr(10))[0]}.",
        "Write place='cpu'"
        + (", or 'gpu:0' for the first GPU." if paddle.is_compiled_with_cuda() else "."),
    )


@contextmanager
def replaced(owner: object, replacements: Mapping[str, object]) -> Iterator[None]:
    """Attributes of a class or module are others inside."""
    own = vars(owner)
    found = {name: own[name] for name in replacements if name in own}
    for name, replacement in replacements.items():
        setattr(owner, name, replacement)
    try:
        yield
    finally:
        for name in replacements:
            if name in found:
                setattr(owner, name, found[name])
            else:
                delattr(owner, name)
