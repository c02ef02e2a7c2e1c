"""`Store`: where the weights of a program are."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from purdist import graphs, scopes
from purdist.variables import Variable, changes


@attrs.frozen(eq=False)
class Store:
    """Where the weights of a program are, and where it runs. Each program has one of its own.

    Attributes:
        scope: Holds the weights.
        place: Where they and the program are.
        trained: Whether `train` changes them.
        following: Those of teachers that follow the student, which it changes too.
    """

    scope: graphs.Scope
    place: graphs.Place
    trained: bool = False
    following: frozenset[str] = frozenset()

    @classmethod
    def at(
        cls, place: graphs.Place, *, trained: bool = False, following: Iterable[str] = ()
    ) -> Store:
        """An empty one."""
        return cls(scopes.new_scope(), place, trained, frozenset(following))

    def hand_to(
        self,
        other: Store,
        weights: Iterable[Variable],
        *,
        frozen: bool = False,
        rename: Callable[[str], str] = str,
    ) -> None:
        """Puts ``weights`` into ``other``, each as ``rename(name)``.

        Those that can change are copied. Those that cannot, because they are a teacher's or
        will be (``frozen``), are shared, at no cost in memory.
        """
        here = str(other.place) == str(self.place)
        shared: list[str] = []
        copied: list[str] = []
        for weight in weights:
            fixed = not changes(weight) or (frozen and not self.trained)
            fixed = fixed and weight.name not in self.following | other.following
            (shared if here and fixed else copied).append(weight.name)
        scopes.share(self.scope, other.scope, shared, rename=rename)
        scopes.copy(self.scope, other.scope, copied, other.place, rename=rename)
