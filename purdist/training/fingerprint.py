"""`Fingerprint`: what of a training decides its numbers, in parts that say where two differ."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias
from weakref import WeakKeyDictionary

import attrs
import paddle

from purdist import graphs, scopes
from purdist.errors import some
from purdist.program import internals_of
from purdist.storing import checksum
from purdist.training.recipe import in_words, weights_of, whose
from purdist.training.schedules import kinds_of, state_of
from purdist.training.session import Session
from purdist.training.values import Training, session_of

Difference: TypeAlias = tuple[str, str, str]

_NONE = "none"
"""What is said of what is not there."""

_CHECKSUM = re.compile(r" ?\b[0-9a-f]{8}$")

_KNOWN: WeakKeyDictionary[Session, Fingerprint] = WeakKeyDictionary()
"""Those that were computed: weights that do not learn are read once."""


@attrs.frozen
class Fingerprint:
    """What of a training decides its numbers, where its state and its batches are the same.

    It is the same for a training that is built again, in another process too. Where a teacher runs
    is not in it: that changes no number beyond rounding.

    Attributes:
        losses: The calls that make the terms' specs.
        weights: Name of what moves -> its shape and dtype.
        graph: Each op of what computes the loss: for a person, and a checksum of all that it says.
        optimizer: Option -> what the optimizer and its scheduler were made with.
        updates: Parameter -> what is its own of how it learns.
        still: A network, in words -> the fingerprint of its weights that do not move.
        options: Argument of `minimize` -> what was given.
    """

    losses: tuple[str, ...]
    weights: dict[str, str]
    graph: tuple[str, ...]
    optimizer: dict[str, str]
    updates: dict[str, str]
    still: dict[str, str]
    options: dict[str, str]

    @classmethod
    def of(cls, training: Training) -> Fingerprint:
        """That of a training, computed once.

        Raises:
            InvalidArgumentError: Its LR scheduler holds what no checkpoint can keep.
        """
        session = session_of(training)
        if session not in _KNOWN:
            _KNOWN[session] = cls._of(training, session)
        return _KNOWN[session]

    @classmethod
    def _of(cls, training: Training, session: Session) -> Fingerprint:
        recipe, kept = session.recipe, session.kept
        kinds = scopes.kinds(session.progress.scope, kept)
        return cls(
            recipe.losses,
            {name: f"{list(kinds[name][0])} {kinds[name][1]}" for name in sorted(kept)},
            tuple(
                f"{what} {checksum(whole.encode())}"
                for what, whole in graphs.statements(recipe.graph.program)
            ),
            _optimizer(session),
            _updates(session),
            {**_still(training, kept), **recipe.gone},
            {
                "scheduler_every": repr(session.scheduler_every),
                "accumulate": repr(session.update.accumulate),
                "average": repr(session.update.average),
                "follow": repr(dict(sorted(session.update.follow.items()))),
            },
        )

    def known_of(self, session: Session) -> None:
        """Notes that it is a session's too, whose weights that do not learn are the same."""
        _KNOWN[session] = self

    def differences(self, here: Fingerprint) -> Iterator[Difference]:
        """Where another one differs: what it is, as it is in this one, as it is ``here``.

        Of what follows from another difference nothing is said.
        """
        networks = [
            *_first_at("loss", self.losses, here.losses),
            *_first_of("the weight", _own(self.weights), _own(here.weights)),
        ]
        yield from networks or _first_at("op", self.graph, here.graph)
        made = list(_options(self.optimizer, here.optimizer))
        yield from made
        if not (networks or made):
            yield from _first_of("how the optimizer moves", self.updates, here.updates)
            yield from _first_of("the weight", self.weights, here.weights)
        yield from _each("the fingerprint of weights that do not learn, of", self.still, here.still)
        yield from _each("minimize's", self.options, here.options)


def _optimizer(session: Session) -> dict[str, str]:
    """Optimizer and scheduler, and what each was made with under ``optimizer beta1``."""
    kind, options = session.recipe.optimizer
    made = {"optimizer": kind, **{f"optimizer {name}": held for name, held in options.items()}}
    scheduler = session.recipe.scheduler
    for path, inside in kinds_of(scheduler).items():
        made[f"scheduler {path}".rstrip(" .")] = inside
    return {**made, **{f"scheduler {path}": held for path, held in state_of(scheduler).items()}}


def _updates(session: Session) -> dict[str, str]:
    """What is each parameter's own of how it learns, and a checksum of all that its op says."""
    values = graphs.own_names(graphs.operations(session.recipe.graph.program))
    found: dict[str, str] = {}
    for name, options in graphs.updates(session.step.program):
        told = [f"{key}={held}" for key, held in options.items() if "decay" in key]
        own = _own_options(values[name]) if name in values else []
        all_of_it = checksum(repr(options).encode(), found.get(name, "").rpartition(" ")[2])
        found[name] = " ".join([*own, *told, all_of_it])
    return dict(sorted(found.items()))


def _own_options(value: paddle.Tensor) -> list[str]:
    rate = (value.optimize_attr or {}).get("learning_rate", 1.0)
    own = [in_words(value.regularizer), "" if rate == 1.0 else f"learning_rate={rate!r}"]
    return [*filter(None, own)]


def _still(training: Training, kept: Sequence[str]) -> dict[str, str]:
    """Those of networks that the training keeps. The factors of terms move with the clock."""
    session, program = session_of(training), training.program
    moving = frozenset((*kept, *session.moving.values()))
    networks = {v.network for v in internals_of(program).held if v.name not in moving}
    return {whose(n): weights_of(program, n, moving) for n in sorted(networks, key=str)}


# --- where two differ -------------------------------------------------------------------------


def _own(weights: Mapping[str, str]) -> dict[str, str]:
    """Those of networks and losses alone: what an optimizer keeps follows from them."""
    return {name: kind for name, kind in weights.items() if not name.startswith("optimizer/")}


def _each(what: str, there: Mapping[str, str], here: Mapping[str, str]) -> Iterator[Difference]:
    """Each name of which two mappings say something else."""
    for name in dict.fromkeys((*there, *here)):
        one, other = there.get(name, _NONE), here.get(name, _NONE)
        if one != other:
            yield f"{what} {name}", *_in_words(one, other)


def _first_of(what: str, there: Mapping[str, str], here: Mapping[str, str]) -> Iterator[Difference]:
    """The first of them, and how many there are."""
    differing = list(_each(what, there, here))
    for name, one, other in differing[:1]:
        yield name + (f", and {len(differing) - 1} more," if differing[1:] else ""), one, other


def _first_at(what: str, there: Sequence[str], here: Sequence[str]) -> Iterator[Difference]:
    """The first place at which two lists differ."""
    for k, (one, other) in enumerate(itertools.zip_longest(there, here, fillvalue=_NONE)):
        if one != other:
            yield f"{what} {k} of {len(there)}", *_in_words(one, other)
            return


def _options(there: Mapping[str, str], here: Mapping[str, str]) -> Iterator[Difference]:
    """What an optimizer, or its scheduler, is, or what it was made with where it is the same."""
    for what in ("optimizer", "scheduler"):
        one, other = there.get(what, _NONE), here.get(what, _NONE)
        if one != other:
            yield f"the {what}", one, other
            continue
        options = (
            {k.partition(" ")[2]: v for k, v in made.items() if k.startswith(f"{what} ")}
            for made in (there, here)
        )
        differing = list(_each("", *options))
        if differing:
            mine, theirs = (
                some((f"{name.strip()}={pair[k]}" for name, *pair in differing), 5) for k in (0, 1)
            )
            yield f"the {what}, {one},", f"made with {mine}", f"with {theirs}"


def _in_words(one: str, other: str) -> tuple[str, str]:
    """Two texts without the checksums at their ends, where they differ in more than these."""
    first, second = (_CHECKSUM.sub("", text) for text in (one, other))
    return (first, second) if first != second else (first, "the same of other inputs or options")
