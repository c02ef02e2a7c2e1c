"""The table of variables that a person reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from purdist.variables import TEACHER_PREFIX, Variable, is_made_up

_SHOWN = 200
"""How many variables are shown where nobody says which."""


def table(variables: Mapping[str, Variable], names: Iterable[str]) -> str:
    """A row for each of ``names``."""
    rows = [("name", "shape", "dtype", "role", "owner", "op", "layer", "")]
    for name in names:
        v = variables[name]
        rows.append(
            (name, str(list(v.shape)), v.dtype, v.role, v.owner, v.op, v.layer, _remark(v, name))
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _remark(variable: Variable, key: str) -> str:
    """What else to say of a variable where it stands under ``key``."""
    remarks = []
    if key != variable.name:
        remarks.append(f"another name of {variable.name}")
    if variable.mode != "both":
        remarks.append(f"{variable.mode} only")
    if variable.role == "parameter" and not variable.trainable:
        remarks.append("frozen")
    return ", ".join(remarks)


def overview(variables: Mapping[str, Variable]) -> str:
    """The table; of a long one the variables that somebody named, the first of them."""
    shown = list(variables)
    if len(shown) > _SHOWN:
        shown = [name for name in shown if not is_made_up(variables[name], name)][:_SHOWN]
    left = len(variables) - len(shown)
    more = f"\n... and {left} more. describe(match='layer1.*') shows any." if left else ""
    return table(variables, shown) + more


def suggestion(variables: Mapping[str, Variable], name: str) -> str:
    """What to do about ``name``, which none bears: the keys that are near, each variable once."""
    near = [*_once(variables, get_close_matches(name, variables, n=20, cutoff=0.6))][:3]
    near.sort(key=lambda key: _is_weight(variables[key]))
    if not near and name:
        # 's2' is the whole of no name, and the beginning of 's2.tmp_1'.
        near = [*_once(variables, (key for key in variables if name in key))]
        near = sorted(near, key=lambda key: _is_weight(variables[key]))[:5]
    taught = any(v.owner == "teacher" for v in variables.values())
    alike = [key for key in (name, *near) if key.startswith(TEACHER_PREFIX)]
    if alike == [name] and not taught:
        peers = sorted({v.network for v in variables.values() if v.owner == "peer" and v.network})
        if peers:
            own = name.removeprefix(TEACHER_PREFIX)
            names = " or ".join(repr(peer + own) for peer in peers)
            return f"No teacher is merged into this program, but a peer is joined to it: {names}."
        return (
            "No teacher is merged into this program: give the one that merge(teacher, student, "
            "{...}) returned."
        )
    if not near:
        return "print(program) lists the variables."
    specs = (f"{k} {list(variables[k].shape)} {variables[k].dtype}" for k in near)
    return f"Did you mean {' or '.join(specs)}?"


def _once(variables: Mapping[str, Variable], keys: Iterable[str]) -> Iterator[str]:
    """The first of the ``keys`` of each variable."""
    known: set[str] = set()
    for key in keys:
        if variables[key].name not in known:
            known.add(variables[key].name)
            yield key


def _is_weight(variable: Variable) -> bool:
    return variable.role in ("parameter", "buffer")
