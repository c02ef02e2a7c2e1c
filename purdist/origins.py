"""Where the weights of networks come from: two that met in one scope are not what they were."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping

import attrs
import numpy as np
import numpy.typing as npt

from purdist import graphs, scopes


@attrs.frozen(eq=False)
class Origin:
    """Where a network's weights were taken from, to notice when two networks met there.

    Attributes:
        scope: The scope they were in.
        main: The program whose weights they are.
        taken: Each of them -> some of its numbers, as they were then.
        shared: Whether they are looked at where they lie, and no copies.
    """

    scope: weakref.ReferenceType[graphs.Scope]
    main: weakref.ReferenceType[object]
    taken: Mapping[str, npt.NDArray[np.generic]]
    shared: bool

    @classmethod
    def of(cls, main: object, scope: graphs.Scope, names: Iterable[str], *, shared: bool) -> Origin:
        """The origin of the network ``main`` whose weights ``names`` are in ``scope``."""
        taken = scopes.some_of(scope, names)
        return cls(weakref.ref(scope), weakref.ref(main), taken, shared)

    def met(self, other: Origin) -> frozenset[str]:
        """The parameters that both own in one scope, though they are not one network.

        None, if the first was copied before the second was started: all that a startup draws
        was other numbers when the second was copied.
        """
        scope = self.scope()
        if scope is None or scope is not other.scope() or self.main() is other.main():
            return frozenset()
        both = frozenset(self.taken).intersection(other.taken)
        stayed = {name for name in both if np.array_equal(self.taken[name], other.taken[name])}
        # Constants are started alike each time: a bias is zero, a scale one.
        kept = any(np.ptp(self.taken[name]) for name in stayed if self.taken[name].size)
        overwritten = self.shared or other.shared or kept or stayed == both
        return both if overwritten else frozenset()
