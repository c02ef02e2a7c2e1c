"""`unchanged`: nothing that was handed over, and nothing of the process, is another afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np
import paddle

from purdist import graphs, scopes
from purdist.distillation import Distillation
from purdist.errors import InvalidArgumentError
from purdist.losses.schedule import Schedule
from purdist.losses.spec import LossSpec
from purdist.program import Program
from purdist.testing.architectures import Network, StaticNetwork
from purdist.testing.pairs import NetworkPair
from purdist.training import Step, Training
from purdist.training.values import session_of
from purdist.variables import NewInput, Variable


@contextmanager
def unchanged(*things: object) -> Iterator[None]:
    """Asserts that ``things``, and what is the process's own, come out as they went in.

    Of the process that is: Paddle's mode, flags, default programs, dtype and place, the global
    scope and its names, unique-name counters, whether gradients are taken; the random state of
    Paddle, numpy and Python::

        with unchanged(teacher, student):
            merged = merge(teacher, student, {"y": "x"})

    Args:
        things: Programs, distillations and trainings (graphs, weights, variables); static
            programs, scopes, layers, tensors, arrays; losses, schedules, steps; lists, mappings
            and sets of such.

    Raises:
        AssertionError: Something changed. The text names it.
        InvalidArgumentError: The contents of a thing cannot be compared.
    """
    before = contents(things)
    try:
        yield
    finally:  # a step that refuses what it was handed must leave it alone too
        changed = changes(before, contents(things))
        if changed:  # and no assert, which python -O leaves out
            text = f"Expected nothing to change, got changes of {', '.join(changed)}."
            raise AssertionError(text)


def contents(things: Iterable[object]) -> dict[str, object]:
    """What ``things`` and Paddle's process-wide state are now, each part by where it is."""
    found = {f"Paddle's {name}": state for name, state in graphs.process_state().items()}
    for k, thing in enumerate(things):
        found.update(_contents(f"argument {k}", thing))
    return found


def changes(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Where two `contents` differ."""
    return [
        path
        for path in dict.fromkeys((*before, *after))
        if path not in before or path not in after or before[path] != after[path]
    ]


def _contents(path: str, thing: object) -> Iterator[tuple[str, object]]:
    """What ``thing`` holds, each part by where it is."""
    parts = next((of(thing) for kind, of in _PARTS.items() if isinstance(thing, kind)), None)
    if parts is not None:
        yield f"the names in {path}", list(parts)
        for name, part in parts.items():
            yield from _contents(f"{path}.{name}", part)
    elif isinstance(thing, np.ndarray):
        yield path, (thing.dtype, thing.shape, thing.tobytes())
    elif isinstance(thing, set | frozenset):
        yield path, frozenset(thing)
    elif isinstance(thing, paddle.Tensor) and graphs.has_numbers(thing):
        numbers = thing.numpy()
        yield path, (thing.dtype, thing.shape, numbers.tobytes(), thing.stop_gradient)
    elif isinstance(thing, _PLAIN):
        yield path, thing
    elif hasattr(thing, "global_block"):  # a static program, PIR or old
        yield path, str(thing)
    else:
        raise InvalidArgumentError(
            f"Expected something whose contents can be compared, got {path}, a "
            f"{type(thing).__name__}.",
            "Hand over programs, scopes, layers, arrays, losses, or lists and mappings of such.",
        )


def _parts_of_training(training: Training) -> Mapping[str, object]:
    session = session_of(training)
    scheduler = session.progress.scheduler
    return {
        "program": training.program,
        "step": session.step.program,
        "steps": training.steps,
        "scheduler": {} if scheduler is None else scheduler.state_dict(),
    }


def _parts_of_scope(scope: paddle.static.Scope) -> Mapping[str, object]:
    parts: dict[str, object] = {}
    for name in sorted(scope.local_var_names()):
        try:
            tensor = scopes.tensor_of(scope, name)
        except ValueError:  # no weight, but an executor's list of feeds
            tensor = None
        parts[name] = None if tensor is None else np.array(tensor)
    return parts


_PARTS: Mapping[type, Callable[[Any], Mapping[str, object]]] = {
    Program: lambda program: {
        "variables": program.variables,
        "graph": program.graph,
        "inference_graph": program.inference_graph,
        "scope": program.scope,
    },
    Distillation: lambda distillation: {"program": distillation.program},
    Training: _parts_of_training,
    StaticNetwork: lambda network: {"main": network.main, "scope": network.scope},
    type(scopes.new_scope()): _parts_of_scope,  # Paddle's public name is a function
    Step: lambda step: attrs.asdict(step, recurse=False),
    paddle.nn.Layer: lambda layer: {
        "training": [part.training for part in layer.sublayers(include_self=True)],
        **dict(layer.named_parameters()),
        **dict(layer.named_buffers()),
    },
    Mapping: dict,
    list: lambda items: {str(k): item for k, item in enumerate(items)},
    tuple: lambda items: {str(k): item for k, item in enumerate(items)},
}
_PLAIN = (type(None), str, int, float, LossSpec, Schedule, NewInput, Network, NetworkPair, Variable)
