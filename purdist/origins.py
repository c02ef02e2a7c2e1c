"""Where the weights of networks come from: two that met in one scope are not what they were."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import attrs
import numpy as np
import numpy.typing as npt
import paddle

from purdist import graphs, scopes
from purdist.errors import InvalidArgumentError, NameClashError, some

Tensors: TypeAlias = Mapping[str, weakref.ReferenceType[paddle.Tensor]]
"""Weight -> the tensor of a layer that it was copied from."""


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


def check_own_scopes(teacher: Iterable[Origin], student: Iterable[Origin]) -> None:
    """Refuses networks of which one overwrote the other's weights."""
    for theirs in teacher:
        for ours in student:
            met = sorted(theirs.met(ours))
            if met:
                raise NameClashError(
                    f"Expected teacher and student to own different parameters, got {len(met)} "
                    f"names that both own in one scope: {some(met)}. The startup program that ran "
                    "last overwrote the other network's weights.",
                    "Give each network a scope of its own: run its startup program under "
                    "paddle.static.scope_guard(paddle.static.Scope()) and pass that scope= to "
                    "from_static.",
                )


def check_untied(peer: Tensors, student: Tensors) -> None:
    """Refuses networks that both learn what in the layers is one tensor."""
    # A tensor has one reference, which stays itself when the layer is gone.
    names = {id(reference): name for name, reference in student.items()}
    met = [(name, names[id(ref)]) for name, ref in peer.items() if id(ref) in names]
    if met:
        raise InvalidArgumentError(
            "Expected peer and student to learn with weights of their own, got layers in which "
            f"{len(met)} are one tensor: {some(f'{a!r} and {b!r}' for a, b in met)}. Here they "
            "would be two, which drift apart.",
            "Return both answers from one layer: from_layer makes one network of it, and "
            "MutualLoss takes two variables of one network, too. Or give each network a part of "
            "its own, with copy.deepcopy(layer).",
        )
