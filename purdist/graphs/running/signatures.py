"""What each op reads, gives and is told, as Paddle's registry has it: its reader does not ask.

`signatures.txt` has a line, made by `tests.registry`, for each op of Paddle 3.3.1 that computes,
such as ``dropout(x, seed_tensor?, p~) -> out, mask; is_test: bool, mode: str, seed: i32``.
``*`` is a list of tensors, ``~`` one tensor or a list, ``?`` may be left out. An op that writes to
what it reads, ``exp_``, has the line of the other, ``exp``, where they are the same.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import attrs

from purdist.errors import escaped
from purdist.graphs.looking import Operation

_LINE = re.compile(r"(\w+)\((.*)\) -> ([^;\n]*)(?:; (.*))?")

_TAGS = {
    "bool": {"0.a_bool"},
    "i32": {"0.a_i32"},
    "i64": {"0.a_i64"},
    "f32": {"0.a_f32"},
    "f64": {"0.a_f64"},
    "str": {"0.a_str"},
    "dtype": {"1.a_dtype"},
    "place": {"1.a_place"},
    "intarray": {"1.a_intarray"},
    "scalar": {
        "1.a_scalar",
        "0.a_bool",
        "0.a_i32",
        "0.a_i64",
        "0.a_f32",
        "0.a_f64",
        "0.a_c64",
        "0.a_c128",
    },
}
"""What a file calls the kinds of attributes by."""

LIST = "0.t_vec"
"""What a file calls the type of a list of tensors by."""


@attrs.frozen
class Signature:
    """What an op reads and gives, each name with its mark, and the kinds of its attributes."""

    reads: Sequence[str]
    gives: Sequence[str]
    attributes: Mapping[str, str]


@functools.cache
def _signatures() -> Mapping[str, Signature]:
    text = resources.files(__package__).joinpath("signatures.txt").read_text()
    found = {}
    for name, reads, gives, told in _LINE.findall(text):
        kinds = (entry.split(": ") for entry in told.split(", ") if entry)
        found[f"pd_op.{name}"] = Signature(
            tuple(filter(None, reads.split(", "))),
            tuple(filter(None, gives.split(", "))),
            dict(kinds),
        )
    return found


def signature(op: str) -> Signature | None:
    """That of an op, None of one that has no fixed one, or that does more than compute."""
    known = _signatures()
    return known.get(op) or known.get(op.removesuffix("_"))


def check_values(op: str, read: Sequence[object], given: Sequence[object], where: str) -> None:
    """Refuses an op that reads or gives other than it can, told by their types, None for nothing.

    Raises:
        ValueError: It does.
    """
    known = signature(op)
    if known is None:
        return
    for what, kinds, names in (("inputs", read, known.reads), ("results", given, known.gives)):
        if len(kinds) != len(names):
            raise ValueError(f"{op} of {len(kinds)} {what} in place of {len(names)} ({where})")
    for name, kind in zip(known.reads, read, strict=True):
        if kind is None and "?" not in name:
            raise ValueError(f"{op} without its {name.rstrip('*~')} ({where})")
    for name, kind in zip((*known.reads, *known.gives), (*read, *given), strict=True):
        if "~" not in name and kind is not None and (_tag(kind) == LIST) != ("*" in name):
            one = "a list" if "*" in name else "one tensor"
            raise ValueError(f"{op} whose {name.rstrip('*?')} is not {one} ({where})")


def check_attribute(op: str, name: str, value: Mapping[str, Any], where: str) -> None:
    """Refuses an attribute of another kind than it has on that op.

    Raises:
        ValueError: It is of another.
    """
    known = signature(op)
    kind = known.attributes.get(name) if known else None
    if kind is None:
        return
    values, bare = [value], kind.removesuffix("[]")
    if bare != kind:
        values = value["D"] if value["#"] == "0.a_array" else [{"#": ""}]
    if any(entry["#"] not in _TAGS[bare] for entry in values):
        raise ValueError(f"{escaped(name)} of {op} that is no {kind} ({where})")


def check_complete(op: Operation) -> None:
    """Refuses an op that lacks an attribute, now that Paddle has read it and added its own.

    Raises:
        ValueError: It lacks one.
    """
    known = signature(op.name())
    for name in known.attributes if known else ():
        if not op.has_attr(name):
            raise ValueError(f"{op.name()} without its {name}")


def _tag(kind: object) -> object:
    return kind.get("#") if isinstance(kind, dict) else None
