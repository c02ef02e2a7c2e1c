"""What losses ask of the numbers they are made with, as attrs validators."""

from __future__ import annotations

import math
from typing import Any

import attrs

from purdist.errors import InvalidArgumentError

__all__ = [
    "Number",
    "at_least_one",
    "count",
    "is_number",
    "not_negative",
    "positive",
    "share",
    "tempered",
]


def is_number(value: object) -> bool:
    """Whether ``value`` is a finite number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@attrs.frozen(kw_only=True)
class Number:
    """An attrs validator: a finite number within bounds.

    Attributes:
        above: It is larger.
        least: It is no smaller.
        below: It is smaller.
        most: It is no larger.
        whole: It is an int.
    """

    above: float = -math.inf
    least: float = -math.inf
    below: float = math.inf
    most: float = math.inf
    whole: bool = False

    def __call__(self, _: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not (is_number(value) and self._is_within(value)):
            raise InvalidArgumentError(
                f"Expected {attribute.name} to be {self}, got {value!r}.",
                f"Write {attribute.name}={attribute.default!r} or leave it out."
                if attribute.default is not attrs.NOTHING
                else f"Give {attribute.name} such a number.",
            )

    def _is_within(self, value: float) -> bool:
        is_bound = self.above < value < self.below and self.least <= value <= self.most
        return is_bound and (isinstance(value, int) or not self.whole)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a finite number"
        if math.isfinite(self.least) and math.isfinite(self.most):
            return f"{kind} from {self.least:g} to {self.most:g}"
        bounds = {
            "above": self.above,
            "of at least": self.least,
            "below": self.below,
            "of at most": self.most,
        }
        said = [f"{how} {bound:g}" for how, bound in bounds.items() if math.isfinite(bound)]
        return f"{kind} {' and '.join(said)}".rstrip()


positive = Number(above=0)
not_negative = Number(least=0)
at_least_one = Number(least=1)
count = Number(above=0, whole=True)
share = Number(least=0, below=1)

tempered = Number(least=1e-6, most=1e3)
"""A temperature at which a divergence is still right to a thousandth in float32."""
