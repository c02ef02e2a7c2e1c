"""What losses ask of the numbers they are made with, as attrs validators."""

from __future__ import annotations

from purdist.checking.numbers import Number, is_number

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


positive: Number = Number(above=0)
not_negative: Number = Number(least=0)
at_least_one: Number = Number(least=1)
count: Number = Number(above=0, whole=True)
share: Number = Number(least=0, below=1)

tempered: Number = Number(least=1e-6, most=1e3)
"""A temperature at which a divergence is still right to a thousandth in float32."""
