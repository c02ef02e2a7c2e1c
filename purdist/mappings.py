"""`FrozenMapping`: what the public values hold where others would hold a dict."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class FrozenMapping(Mapping[K, V], Generic[K, V]):
    """A mapping that cannot be written, in the order in which it was made.

    It is equal to a dict of the same contents, and has a hash if these have. Unlike
    `types.MappingProxyType` it can be pickled and copied.
    """

    __slots__ = ("_held",)

    def __init__(self, held: Mapping[K, V]) -> None:
        self._held = dict(held)

    def __getitem__(self, key: K) -> V:
        return self._held[key]

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def __iter__(self) -> Iterator[K]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    # The views of `Mapping` itself would ask for one after the other in Python.
    def keys(self) -> KeysView[K]:
        """The keys, in order."""
        return self._held.keys()

    def values(self) -> ValuesView[V]:
        """The values, in order."""
        return self._held.values()

    def items(self) -> ItemsView[K, V]:
        """Both, in order."""
        return self._held.items()

    def __reduce__(self) -> tuple[type[FrozenMapping[K, V]], tuple[dict[K, V]]]:
        return FrozenMapping, (self._held,)  # which every protocol of pickle takes

    def __hash__(self) -> int:
        return hash(frozenset(self._held.items()))

    def __repr__(self) -> str:
        return repr(self._held)
