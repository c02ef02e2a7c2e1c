"""`Number`: the numbers that an argument may be."""

from __future__ import annotations

import math
import re
from ast import literal_eval
from typing import Any

import attrs
import numpy as np

from purdist.checking.showing import shown
from purdist.errors import InvalidArgumentError


def plain_int(value: object) -> int | None:
    """``value`` as Python's int, None if it is none; True and False are none."""
    if type(value) is int:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__index__(value)
    return int(value) if isinstance(value, np.integer) else None


def plain_number(value: object) -> int | float | None:
    """``value`` as Python's int or float, None if it is neither, or too large for a float."""
    if type(value) is float:
        return value
    whole = plain_int(value)
    if whole is not None:
        return whole if abs(whole).bit_length() <= _BITS else None
    if isinstance(value, float):
        return float.__float__(value)
    return float(value) if isinstance(value, np.floating) else None


_NUMERAL = re.compile(r"-?(0|[1-9]\d{0,15})(\.\d{0,15})?(e-?\d{1,3})?")
"""A number as Python writes it, in a text."""

_BITS = 1023
"""What a float can hold for certain."""


def is_number(value: object) -> bool:
    """Whether ``value`` is a finite number; True and False are none."""
    number = plain_number(value)
    return number is not None and math.isfinite(number)


@attrs.frozen(kw_only=True)
class Number:
    """A finite number within bounds: an attrs validator, and in ``Annotated`` part of a type.

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
        if value not in self:
            raise InvalidArgumentError(
                f"Expected {attribute.name} to be {self}, got {shown(value)}.",
                self.remedy(attribute.name, value, attribute.default),
            )

    def remedy(self, name: str, value: object, default: object = attrs.NOTHING) -> str:
        """What to write for the argument ``name`` instead of ``value``."""
        if self._is_quoted(value):
            return f"Write {name}={value}, without quotes."
        if default is not attrs.NOTHING:
            return f"Write {name}={default!r} or leave it out."
        return f"Give {name} such a number."

    def _is_quoted(self, value: object) -> bool:
        """Whether it is a text that reads as such a number in Python."""
        return bool(
            isinstance(value, str) and _NUMERAL.fullmatch(value) and literal_eval(value) in self
        )

    def __contains__(self, value: object) -> bool:
        number = plain_int(value) if self.whole else plain_number(value)
        if number is None:
            return False
        # An int is finite, however long.
        is_finite = isinstance(number, int) or math.isfinite(number)
        is_bound = self.above < number < self.below and self.least <= number <= self.most
        return is_finite and is_bound

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
