"""`Recipe`: what a training was made of, as far as a checkpoint must know it again."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterable, Mapping

import attrs
import numpy as np
from paddle.optimizer import Optimizer
from paddle.optimizer.lr import LRScheduler

from purdist import graphs, scopes
from purdist.distillation import Distillation
from purdist.errors import is_own_module
from purdist.losses.printing import in_code
from purdist.losses.spec import LossSpec
from purdist.program import Program, internals_of

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")

_BOOKKEEPING = frozenset({"fuse_buffer_version", "name", "need_refuse", "opti_name_list", "type"})
"""What an optimizer holds beside what it was made with."""


@attrs.frozen(eq=False)
class Recipe:
    """What a training was made of.

    Attributes:
        losses: The calls that make the terms' specs. Of functions the graph says what they compute.
        graph: What computes the loss, with all teachers, wherever they run.
        optimizer: The class of the optimizer, and option -> what it was made with.
        scheduler: What sets its learning rate, as it was then.
        gone: A network that the training does not keep, in words -> the fingerprint of its weights.
        seed_given: Whether somebody chose the seed.
    """

    losses: tuple[str, ...]
    graph: graphs.Graph
    optimizer: tuple[str, Mapping[str, str]]
    scheduler: LRScheduler | None
    gone: Mapping[str, str]
    seed_given: bool

    @classmethod
    def of(
        cls, distillation: Distillation, left: Program, optimizer: Optimizer, *, seed_given: bool
    ) -> Recipe:
        """That of ``distillation``, of which a training keeps what is ``left``."""
        whole = distillation.program
        networks = [whole.variables[n].network for n in whole.weights if n not in left.variables]
        return cls(
            tuple(map(_call, distillation.specs)),
            internals_of(whole).modes.training,
            (_kind(optimizer), _options(optimizer)),
            copy.deepcopy(graphs.scheduler_of(optimizer)),
            {whose(network): weights_of(whole, network) for network in dict.fromkeys(networks)},
            seed_given,
        )


def _call(spec: LossSpec) -> str:
    """The call that makes a spec, without the names of functions and where they lie in memory."""
    text = repr(spec)
    for field in attrs.fields(type(spec)):
        value = getattr(spec, field.name)
        if callable(value):
            text = text.replace(in_code(value), field.name)
    return _ADDRESS.sub("", text)


def _options(optimizer: Optimizer) -> dict[str, str]:
    _, clip, regularizer = graphs.parts_of(optimizer)
    parts = {"grad_clip": in_words(clip), "regularizer": in_words(regularizer)}
    return {name: held for name, held in (*_plain(optimizer), *parts.items()) if held}


def in_words(part: object) -> str:
    """A clip or a regularizer, by its class and its numbers; '' for none."""
    if part is None:
        return ""
    return f"{_kind(part)}({', '.join(f'{name}={value}' for name, value in _plain(part))})"


def _kind(part: object) -> str:
    """The class of what the user made: some of Paddle's are put in by one of ours."""
    return next(k.__name__ for k in type(part).__mro__ if not is_own_module(k.__module__))


def _plain(part: object) -> Iterable[tuple[str, str]]:
    for name, value in sorted(vars(part).items()):
        bare = name.strip("_")
        if isinstance(value, bool | int | float | str | tuple | list) and bare not in _BOOKKEEPING:
            yield bare, repr(value)


def whose(network: str | None) -> str:
    """A network in words, by its prefix."""
    return "the losses" if network is None else repr(network) if network else "the student"


def weights_of(program: Program, network: str | None, without: Iterable[str] = ()) -> str:
    """The fingerprint of the weights of a network, those ``without`` which left out."""
    left_out = frozenset(without)
    own = (v for v in internals_of(program).held if v.network == network)
    digest = hashlib.blake2b(digest_size=16)
    for variable in sorted(own, key=lambda v: v.name):
        if variable.name not in left_out:
            (array,) = scopes.values(program.scope, [variable.name]).values()
            digest.update(f"{variable};".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
