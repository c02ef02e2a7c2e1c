"""What moves in an LR scheduler, as text, and back: all that it holds in numbers.

``state_dict`` forgets some of it (``T_cur`` and ``T_i`` of ``CosineAnnealingWarmRestarts``), and a
scheduler of a user's own may hold anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from paddle.optimizer.lr import LRScheduler

from purdist.checking import shown
from purdist.errors import InvalidArgumentError, some

_PADDLES = frozenset({"_var_name", "keys", "verbose"})
"""What a scheduler holds that sets no learning rate."""


def state_of(scheduler: LRScheduler | None) -> dict[str, str]:
    """Attribute -> what it holds, exactly; ``learning_rate.last_epoch`` of a scheduler inside.

    Raises:
        InvalidArgumentError: It holds something else than numbers, texts, lists and functions.
    """
    return {
        f"{path}{name}": _text(f"{type(part).__name__}.{name}", held)
        for path, part in _parts(scheduler, "")
        for name, held in sorted(vars(part).items())
        if _is_state(name, held)
    }


def kinds_of(scheduler: LRScheduler | None) -> dict[str, str]:
    """Where a scheduler is -> its class: ``{"": "LinearWarmup", "learning_rate.": ...}``."""
    return {path: type(part).__name__ for path, part in _parts(scheduler, "")}


def set_state(scheduler: LRScheduler | None, state: Mapping[str, str]) -> None:
    """Puts a state back into a scheduler of the same kind, which is changed.

    Raises:
        ValueError: It is that of another; the text says how.
    """
    others = state_of(scheduler).keys() ^ state.keys()
    if others:
        raise ValueError(f"the state of another scheduler: {some(sorted(others))}")
    for path, part in list(_parts(scheduler, "")):
        for name, held in list(vars(part).items()):
            if _is_state(name, held):
                setattr(part, name, _as_before(json.loads(state[f"{path}{name}"]), held))


def _parts(held: object, path: str) -> Iterator[tuple[str, LRScheduler]]:
    """The schedulers in ``held``, each with where it is."""
    if isinstance(held, LRScheduler):
        yield path, held
        for name, inside in sorted(vars(held).items()):
            yield from _parts(inside, f"{path}{name}.")
    elif isinstance(held, list | tuple):
        for k, inside in enumerate(held):
            yield from _parts(inside, f"{path}{k}.")


def _is_state(name: str, held: object) -> bool:
    # A function is the user's: it says how the rate moves, and moves not itself.
    return not (name in _PADDLES or callable(held) or any(True for _ in _parts(held, "")))


def _text(what: str, held: object) -> str:
    if not _is_plain(held):
        raise InvalidArgumentError(
            f"Expected an LR scheduler that holds numbers, texts and lists of them, for a "
            f"checkpoint to keep, got {shown(held)} as {what}.",
            "Keep numbers in it, and make of them what the rate follows from when it is asked.",
        )
    return json.dumps(held)  # a float as repr writes it, which is exact


def _is_plain(held: object) -> bool:
    if isinstance(held, list | tuple):
        return all(map(_is_plain, held))
    if isinstance(held, dict):
        return all(isinstance(key, str) for key in held) and all(map(_is_plain, held.values()))
    return held is None or isinstance(held, bool | int | float | str)


def _as_before(read: object, held: object) -> object:
    """What was ``read`` in place of ``held``: what JSON made of a tuple is one again."""
    if isinstance(held, tuple) and isinstance(read, list):
        return tuple(read)
    numbers = int | float
    if isinstance(held, numbers) and not (read is None or isinstance(read, numbers)):
        raise ValueError("a scheduler's state that is no number")
    return read
