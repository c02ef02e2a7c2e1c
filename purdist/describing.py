"""The table of variables that a person reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from purdist.variables import Variable

_SHOWN = 200
"""How many variables are shown where nobody says which."""


def table(variables: Mapping[str, Variable], names: Iterable[str]) -> str:
    """A row for each of ``names``."""
    rows = [("name", "shape", "dtype", "role", "owner", "op", "layer", "")]
    for name in names:
        v = variables[name]
        rows.append(
            (name, str(list(v.shape)), v.dtype, v.role, v.owner, v.op, v.layer, v.remark(name))
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def overview(variables: Mapping[str, Variable]) -> str:
    """The table; of a long one the variables that somebody named, the first of them."""
    shown = list(variables)
    if len(shown) > _SHOWN:
        shown = [name for name in shown if not variables[name].is_made_up(name)][:_SHOWN]
    left = len(variables) - len(shown)
    more = f"\n... and {left} more. describe(match='layer1.*') shows any." if left else ""
    return table(variables, shown) + more
