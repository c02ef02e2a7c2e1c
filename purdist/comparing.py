"""The weights that a network has, against those that are found in a scope, a file or a layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs

from purdist import graphs
from purdist.errors import (
    DtypeMismatchError,
    PurdistError,
    ShapeMismatchError,
    UninitializedWeightsError,
    UnknownVariableError,
    printable,
    some,
)
from purdist.variables import Variable

_OTHERS = "They are those of another network, or of more than the program holds."


@attrs.frozen
class Holder:
    """What holds weights, and what to do where they are not those of a network.

    Attributes:
        where: In words: ``in the scope``.
        absent: What to do where some are missing.
        other: What to do where one is of another shape or dtype.
    """

    where: str
    absent: str = "They are those of another network, or of a part of it."
    other: str = "It is that of another network."

    def faults(
        self, expected: Iterable[Variable], found: Mapping[str, graphs.Kind]
    ) -> Iterator[PurdistError]:
        """How the weights ``found``, name -> shape and dtype, fail those ``expected``."""
        weights = {weight.name: weight for weight in expected}
        missing = [str(weight) for name, weight in weights.items() if name not in found]
        if missing:
            yield UninitializedWeightsError(
                f"Expected {len(weights)} weights {self.where}, got none for {len(missing)} of "
                f"them: {some(missing)}.",
                self.absent,
            )
        for name, weight in weights.items():
            if name not in found or found[name] == (weight.shape, weight.dtype):
                continue
            shape, dtype = found[name]
            kind = ShapeMismatchError if shape != weight.shape else DtypeMismatchError
            yield kind(
                f"Expected the weight {weight} {self.where}, got {list(shape)} {dtype}.",
                self.other,
            )

    def surplus(
        self, expected: Iterable[Variable], found: Iterable[str], otherwise: str = ""
    ) -> Iterator[UnknownVariableError]:
        """What is ``found`` and not ``expected``; ``otherwise`` says how not to have it."""
        known = {weight.name for weight in expected}
        more = [name for name in found if name not in known]
        if more:
            yield UnknownVariableError(
                f"Expected the weights of the program alone {self.where}, got {len(more)} more: "
                f"{some(map(printable, more))}.",
                " ".join([_OTHERS, *filter(None, [otherwise])]),
            )
