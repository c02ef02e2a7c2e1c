"""Names of what a layer computes: where it lies among the sublayers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import paddle

from purdist import graphs

Paths: TypeAlias = "Mapping[int, Sequence[str]]"
"""The id of a sublayer -> its paths, more than one if it is shared."""


def paths_of(layer: paddle.nn.Layer) -> dict[int, list[str]]:
    """The id of a sublayer -> its paths, more than one if it is shared."""
    paths: dict[int, list[str]] = {}
    for path, sublayer in layer.named_sublayers(include_self=True, remove_duplicate=False):
        paths.setdefault(id(sublayer), []).append(path)
    return paths


def numbered(
    calls: Iterable[graphs.Call], paths: Paths
) -> Iterator[tuple[int, list[str], graphs.Call]]:
    """Each call with how many went before it, and its names: ``path``, ``path#1``, ..."""
    times: Counter[int] = Counter()
    for call in calls:
        key = id(call.layer)
        number = f"#{times[key]}" if times[key] else ""
        yield times[key], [path + number for path in paths[key]], call
        times[key] += 1


def leaves(name: str, output: object) -> Iterator[tuple[str, object]]:
    """What a layer called ``name`` put out, '' being the network itself."""
    fields = _fields(output)
    if fields is not None:
        for key, item in fields.items():
            yield from leaves(f"{name}.{key}" if name else str(key), item)
    elif isinstance(output, list | tuple):
        for k, item in enumerate(output):
            yield from leaves(f"{name or 'output'}.{k}", item)
    else:
        yield name or "output", output


def _fields(output: object) -> Mapping[Any, object] | None:
    """What a dictionary, named tuple or dataclass holds by name."""
    if isinstance(output, Mapping):
        return output
    if isinstance(output, type):
        return None
    if isinstance(output, tuple):
        names: Iterable[str] = getattr(output, "_fields", ())
    elif dataclasses.is_dataclass(output):
        names = [field.name for field in dataclasses.fields(output)]
    else:
        return None
    return {name: getattr(output, name) for name in names} or None


def free(
    name: str,
    taken: Mapping[str, paddle.Tensor],
    value: paddle.Tensor | None = None,
    reserved: Collection[str] = (),
) -> str:
    """``name``, or ``name#1``, ... where it is reserved, or stands for another than ``value``."""
    found, k = name, 0
    while found in reserved or (found in taken and not same(value, taken[found])):
        k += 1
        found = f"{name}#{k}"
    return found


def same(one: paddle.Tensor | None, other: paddle.Tensor | None) -> bool:
    """Whether both are one value."""
    if one is None or other is None:
        return False
    return graphs.value_id(one) == graphs.value_id(other)
