"""Which weights a program takes of a file: all, those that fit, or those that are named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

import attrs

from purdist import graphs
from purdist.comparing import Holder
from purdist.errors import (
    PartialWeightsWarning,
    PurdistError,
    UninitializedWeightsError,
    UnknownVariableError,
    printable,
    some,
    together,
    warn,
)
from purdist.internals import Internals
from purdist.variables import Variable

_TOLD = 20
"""How many faults are told of a file of another network."""

_STUDENT_ALONE = "save_weights(student_of(training), ...) writes the student alone."


@attrs.frozen(eq=False)
class Taking:
    """What is wanted of a file, and what it has.

    Attributes:
        path: Of the file.
        kinds: What it holds: name -> shape and dtype.
        expected: The weights that are wanted.
        names: Each of them -> its name in the file, where that was said.
    """

    path: Path
    kinds: Mapping[str, graphs.Kind]
    expected: tuple[Variable, ...]
    names: Mapping[str, str] | None

    @classmethod
    def of(
        cls,
        own: Internals,
        path: Path,
        kinds: Mapping[str, graphs.Kind],
        names: Mapping[str, str] | None,
    ) -> Taking:
        """What a program wants: all of its weights, or those that ``names`` has.

        Raises:
            UnknownVariableError: A name is none of a weight.
        """
        if names is None:
            return cls(path, kinds, own.held, None)
        held = {weight.name: weight for weight in own.held}
        faults = [_no_weight(own, name) for name in names if name not in held]
        if faults:
            raise together(faults[:_TOLD])
        return cls(path, kinds, tuple(held[name] for name in names), names)

    @property
    def found(self) -> Mapping[str, graphs.Kind]:
        """What the file holds of those that are wanted, by their own names."""
        return {
            weight.name: self.kinds[self.place(weight)]
            for weight in self.expected
            if self.place(weight) in self.kinds
        }

    def place(self, weight: Variable) -> str:
        """The name of a weight in the file."""
        return weight.name if self.names is None else self.names[weight.name]

    def whole(self) -> Mapping[str, str]:
        """All that are wanted -> their names in the file.

        Raises:
            UninitializedWeightsError: The file does not hold them all.
            UnknownVariableError: It holds more, and nobody said what is wanted.
            ShapeMismatchError: One is of another shape.
            DtypeMismatchError: One is of another dtype.
            SeveralFaultsError: Several of these.
        """
        faults = [*self._faults()]
        if faults:
            raise together(faults[:_TOLD])
        return {weight.name: self.place(weight) for weight in self.expected}

    def _faults(self) -> Iterator[PurdistError]:
        holder = Holder(f"in {str(self.path)!r}")
        if self.names is None:
            yield from holder.faults(self.expected, self.found)
            yield from holder.surplus(self.expected, self.kinds, _STUDENT_ALONE)
            return
        there = [weight for weight in self.expected if self.place(weight) in self.kinds]
        yield from (self._absent(weight) for weight in self.expected if weight not in there)
        yield from holder.faults(there, self.found)

    def _absent(self, weight: Variable) -> UninitializedWeightsError:
        name = self.place(weight)
        near = get_close_matches(name, self.kinds, n=3)
        remedy = f"Did you mean {_kinds(self.kinds, near)}?" if near else ""
        return UninitializedWeightsError(
            f"Expected the weight {weight} as {name!r} in {str(self.path)!r}, which has none of "
            "that name.",
            remedy or f"It has {_kinds(self.kinds, self.kinds) or 'none at all'}.",
        )

    def part(self) -> Mapping[str, str]:
        """Those that fit -> their names in the file. A warning tells what is left.

        Raises:
            UninitializedWeightsError: None fits.
        """
        found = self.found
        fits = [w for w in self.expected if found.get(w.name) == (w.shape, w.dtype)]
        if not fits:
            raise UninitializedWeightsError(
                f"Expected some of {some(self.expected)} in {str(self.path)!r}, got none that "
                f"fits: it has {_kinds(self.kinds, self.kinds) or 'nothing'}.",
                "Say which is which with names={weight of the program: its name in the file}.",
            )
        self._tell([w for w in self.expected if w not in fits], len(fits))
        return {weight.name: self.place(weight) for weight in fits}

    def _tell(self, left: list[Variable], count: int) -> None:
        """Warns of what is left, if anything is."""
        missing = [weight for weight in left if self.place(weight) not in self.kinds]
        other = [weight for weight in left if self.place(weight) in self.kinds]
        known = {weight.name for weight in self.expected}
        more = [] if self.names is not None else [name for name in self.kinds if name not in known]
        told = [
            f"{len(missing)} that the file does not have ({some(missing)})" * bool(missing),
            f"{len(other)} that are others there ("
            f"{some(f'{w}, there {_kinds(self.kinds, [self.place(w)])}' for w in other)})"
            * bool(other),
            f"{len(more)} that the program does not have ({some(map(printable, more))})"
            * bool(more),
        ]
        if left or more:
            warn(
                PartialWeightsWarning(
                    f"{count} weights are taken from {str(self.path)!r}, but not "
                    f"{', nor '.join(filter(None, told))}.",
                    [weight.name for weight in missing],
                    more,
                    [weight.name for weight in other],
                )
            )


def _no_weight(own: Internals, name: str) -> UnknownVariableError:
    """The error for a name in ``names`` that is none of a weight."""
    if name not in own.variables:
        return own.unknown(name)
    return UnknownVariableError(
        f"Expected names to have weights of the program, got {own.variables[name]}.",
        "It maps each weight to its name in the file: program.weights lists them.",
    )


def _kinds(kinds: Mapping[str, graphs.Kind], names: Iterable[str]) -> str:
    """Some of ``names``, each with shape and dtype, as a text lists what somebody else wrote."""
    return some(f"{printable(name)} {list(kinds[name][0])} {kinds[name][1]}" for name in names)
