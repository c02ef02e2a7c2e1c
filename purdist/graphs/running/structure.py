"""The graph in a ``.json``, looked at before Paddle reads it.

Paddle's own reader takes what it gets for what it wrote: the name of an op that it does not know is
a segmentation fault, a loop of other inputs than it has arguments aborts.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import attrs

from purdist.errors import PurdistError, escaped, together
from purdist.graphs.running.computing import allows, computes, unsafe
from purdist.graphs.running.opening import LARGEST_RANK
from purdist.graphs.running.signatures import LIST, check_attribute, check_values
from purdist.parsing import parsed

_DIALECTS = {"0": "builtin", "1": "pd_op", "2": "cf", "3": "custom_op"}
"""What a file calls the dialects by."""

DEEPEST = 50
"""How many regions may lie in each other, and lists in attributes and types."""

_LONGEST = 500
"""Of a name, which messages tell."""

_REGIONS = {"pd_op.if": 2, "pd_op.while": 1}


def check_graph(content: bytes, allow_ops: Container[str]) -> bytes:
    """Refuses what is no graph, or one of ops that do more than compute.

    Returns:
        The same graph without regions, b"" if it has none: what they hold stands beside them.
        Paddle raises at an op that lacks an attribute, save inside a region, where it aborts.

    Raises:
        ValueError: It is none, for what its text says.
        UnsafeModelError: It has ops besides those that compute and ``allow_ops``.
    """
    try:
        root = parsed(content)
        _Graph(allow_ops).check(root)
        return _flattened(root)
    except RecursionError:
        raise ValueError("JSON that is nested too deep") from None


def _flattened(root: dict[str, Any]) -> bytes:
    block = root["program"]["regions"][0]["blocks"][0]
    ops = list(_beside(block))
    if len(ops) == len(block["ops"]):
        return b""
    flat = {"#": "block_0", "args": [], "ops": ops}
    program = {"regions": [{"#": "region_0", "blocks": [flat]}]}
    return json.dumps({**root, "program": program}).encode()


def _beside(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The ops of ``block`` and its regions, arguments and results of regions as if fed."""
    for argument in block["args"]:
        yield _fed(argument["#"], argument["TT"], [], [])
    for op in block["ops"]:
        for region in op.get("regions", ()):
            yield from _beside(region["blocks"][0])
        if "regions" in op:
            for k, result in enumerate(op["O"]):
                yield _fed(result["%"], result["TT"], op["A"], _of_result(op["OA"], k))
        elif op["#"] != "2.yield":
            yield op


def _fed(number: int, kind: object, attributes: list[Any], marks: list[Any]) -> dict[str, Any]:
    own = [
        ("name", "0.a_str", "x"),
        ("shape", "1.a_intarray", []),
        ("dtype", "1.a_dtype", "float32"),
        ("place", "1.a_place", [0, 0, ""]),
    ]
    given = [{"AT": {"#": tag, "D": value}, "N": name} for name, tag, value in own]
    results = [{"%": number, "TT": kind}]
    return {"#": "1.data", "A": [*given, *attributes], "I": [], "O": results, "OA": marks}


def _of_result(marks: list[Any], k: int) -> list[Any]:
    """What an op says of its results, of the ``k``-th alone."""
    return [{**m, "AT": {**m["AT"], "D": m["AT"]["D"][k : k + 1]}} for m in marks]


def _taken(found: object, kind: type[Any], what: str) -> Any:
    """``found`` if it is of ``kind``."""
    if type(found) is not kind:
        raise ValueError(f"{what} that is no {kind.__name__}")
    return found


def _whole(found: object, what: str) -> int:
    number: int = _taken(found, int, what)
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"{what} out of range")
    return number


def check_name(name: object, what: str) -> str:
    """A name that can stand in a message: printed as it is, and not without an end."""
    text: str = _taken(name, str, what)
    if len(text) > _LONGEST or not text.isprintable():
        raise ValueError(f"{what} that cannot be one: {escaped(text)}")
    return text


def _member(of: Mapping[str, object], key: str, kind: type[Any], what: str) -> Any:
    return _taken(of.get(key), kind, f"{what} {key!r}")


@attrs.define(eq=False)
class _Graph:
    """What is known of a graph as far as it was read."""

    allow_ops: Container[str]
    defined: set[int] = attrs.field(factory=set)
    visible: dict[int, object] = attrs.field(factory=dict)
    faults: list[PurdistError] = attrs.field(factory=list)

    def check(self, root: object) -> None:
        header = root.get("base_code") if isinstance(root, dict) else None
        if not isinstance(header, dict) or header.get("magic") != "pir":
            raise ValueError("JSON of another kind")
        _whole(header.get("version"), "a version")
        if "trainable" in header:
            _taken(header["trainable"], bool, "what says whether it is trainable")
        regions = _member(
            _member(_taken(root, dict, "JSON"), "program", dict, "a graph's"),
            "regions",
            list,
            "a graph's",
        )
        if len(regions) != 1:
            raise ValueError(f"a graph of {len(regions)} regions")
        self._region(regions[0], "", 0)
        if self.faults:
            raise together(self.faults)

    def _region(self, region: object, where: str, depth: int) -> tuple[list[object], list[int]]:
        """The types of its arguments, and what it yields."""
        if depth > DEEPEST:
            raise ValueError("regions that are nested too deep")
        _member(_taken(region, dict, "a region"), "#", str, "a region's")
        blocks = _member(_taken(region, dict, "a region"), "blocks", list, "a region's")
        if len(blocks) != 1:
            raise ValueError(f"a region of {len(blocks)} blocks")
        block = _taken(blocks[0], dict, "a block")
        _member(block, "#", str, "a block's")
        if block.get("kwargs"):
            raise ValueError("a block with arguments by name")
        before = set(self.visible)
        arguments = [
            self._define(_taken(argument, dict, "an argument"), "#", where)
            for argument in _member(block, "args", list, "a block's")
        ]
        if arguments and not depth:
            raise ValueError("a graph with arguments")
        yielded: list[int] = []
        ops = _member(block, "ops", list, "a block's")
        for k, op in enumerate(ops):
            last = k == len(ops) - 1
            found = self._op(_taken(op, dict, "an op"), f"op {k}{where}", depth)
            if (found is not None) != bool(depth and last):
                raise ValueError(f"a region that does not end where it yields: op {k}{where}")
            yielded = found or []
        if depth and not ops:
            raise ValueError("a region without ops")
        for name in self.visible.keys() - before:
            del self.visible[name]
        return arguments, yielded

    def _op(self, op: dict[str, Any], where: str, depth: int) -> list[int] | None:
        """What it yields, None if it does not."""
        if op.get("#") == "p":
            self._parameter(op, where)
            return None
        name = self._name(op, where)
        inputs = [self._read(value, where) for value in _member(op, "I", list, where)]
        results = _member(op, "O", list, where)
        for told, value in _attributes(op, "A", where):
            check_attribute(name, told, value, where)
        for _, value in _attributes(op, "OA", where):
            _check_marks(value, len(results), where)
        read = [self.visible.get(number) for number in inputs]
        self._regions(name, op, where, depth)
        given = [
            self._define(_taken(result, dict, f"a result of {where}"), "%", where)
            for result in results
        ]
        check_values(name, read, [None if _is_empty(kind) else kind for kind in given], where)
        _check_builtin(name, read, given, where)
        if name != "cf.yield":
            return None
        if results:
            raise ValueError(f"a yield with results ({where})")
        return inputs

    def _regions(self, name: str, op: dict[str, Any], where: str, depth: int) -> None:
        """Refuses regions that take or give something else than their op."""
        regions = _taken(op.get("regions", []), list, f"{where} with regions")
        if len(regions) != _REGIONS.get(name, 0):
            raise ValueError(f"{escaped(name)} of {len(regions)} regions ({where})")
        taken, given = len(op["I"]), len(op["O"])
        for k, region in enumerate(regions):
            inside = f" of region {k} of {name.rpartition('.')[2]}, {where}"
            arguments, yielded = self._region(region, inside, depth + 1)
            sizes = (taken, len(arguments), len(yielded))
            # A while takes and yields a condition besides what it carries.
            if sizes != ((1, 0, given) if name == "pd_op.if" else (given + 1, given, given + 1)):
                raise ValueError(f"{name} with regions of another one ({where})")

    def _name(self, op: dict[str, Any], where: str) -> str:
        text = check_name(op.get("#"), f"the name of {where}")
        dialect, _, bare = text.partition(".")
        name = f"{_DIALECTS.get(dialect, dialect)}.{bare}"
        if not computes(name) and not allows(self.allow_ops, name):
            self.faults.append(unsafe(name, where))
        return name

    def _read(self, value: object, where: str) -> int:
        what = f"an input of {where}"
        number = _whole(_taken(value, dict, what).get("%"), what)
        if number and number not in self.visible:
            raise ValueError(f"{what} that nothing before it gives")
        return number

    def _define(self, value: Mapping[str, object], key: str, where: str) -> object:
        kind = value.get("TT")
        _check_type(kind, where, 0)
        number = _whole(value.get(key), f"a result of {where}")
        if number in self.defined or not (number or _is_empty(kind)):
            raise ValueError(f"a result of {where} that is there twice")
        if number:
            self.defined.add(number)
            self.visible[number] = kind
        return kind

    def _parameter(self, op: dict[str, Any], where: str) -> None:
        told = _member(op, "A", list, where)
        if len(told) != 4:
            raise ValueError(f"a parameter of {len(told)} attributes ({where})")
        for number in told[:3]:
            _whole(number, f"an attribute of {where}")
        check_name(told[3], f"the name of the parameter at {where}")
        for key in ("DA", "QA", "OA"):
            if key in op:
                _member(op, key, list, where)
        result = _member(op, "O", dict, where)
        kind = self._define(result, "%", where)
        if not isinstance(kind, dict) or kind.get("#") != "0.t_dtensor":
            raise ValueError(f"a parameter that is no tensor ({where})")
        if min(kind["D"][1], default=0) < 0:
            raise ValueError(f"a parameter of unknown size ({where})")


def _is_empty(kind: object) -> bool:
    """Whether that is the type of what is not there."""
    return isinstance(kind, dict) and kind.get("#") == "NULL"


def _check_builtin(op: str, read: Sequence[object], given: Sequence[object], where: str) -> None:
    """Refuses what makes a list of tensors, or takes one apart, of another length than it says."""
    lists, parts = (given, read) if op == "builtin.combine" else (read, given)
    lengths = [len(k["D"]) for k in lists if isinstance(k, dict) and k.get("#") == LIST]
    if op in ("builtin.combine", "builtin.split"):
        fits = len(lists) == 1 and lengths == [len(parts)] and None not in parts
    elif op == "builtin.slice":
        fits = len(lists) == len(lengths) == len(parts) == 1
    else:
        fits = op != "builtin.shadow_output" or (len(read) == 1 and None not in read and not given)
    if not fits:
        raise ValueError(f"{op} of {len(read)} inputs and {len(given)} results ({where})")


def _check_marks(value: Mapping[str, Any], results: int, where: str) -> None:
    """Refuses what an op says of its results, unless that is a truth for each."""
    marks = _member(value, "D", list, f"marks of {where}")
    if value["#"] != "0.a_array" or len(marks) != results:
        raise ValueError(f"marks of other results than there are ({where})")
    if any(mark["#"] != "0.a_bool" or type(mark.get("D")) is not bool for mark in marks):
        raise ValueError(f"marks that are neither true nor false ({where})")


def _attributes(
    op: Mapping[str, Any], key: str, where: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The names and values of attributes, each looked at."""
    for attribute in _member(op, key, list, where):
        _taken(attribute, dict, f"an attribute of {where}")
        name = check_name(attribute.get("N"), f"the name of an attribute of {where}")
        value = _member(attribute, "AT", dict, f"an attribute of {where}")
        _check_value(value, where, 0)
        if name in ("name", "struct_name"):
            check_name(value.get("D"), f"a name at {where}")
            if value["#"] != "0.a_str":
                raise ValueError(f"a name that is no text ({where})")
        yield name, value


def _check_value(value: object, where: str, depth: int) -> None:
    what = f"an attribute of {where}"
    tag = _member(_taken(value, dict, what), "#", str, what)
    if depth > DEEPEST:
        raise ValueError(f"{what} that is nested too deep")
    if tag == "0.a_array":
        entries = _member(value, "D", list, what)  # type: ignore[arg-type]
        for entry in entries:
            _check_value(entry, where, depth + 1)
        if len({entry["#"] for entry in entries}) > 1:
            raise ValueError(f"{what} that is a list of several kinds")


def _check_type(kind: object, where: str, depth: int) -> None:
    what = f"a type at {where}"
    tag = _member(_taken(kind, dict, what), "#", str, what)
    if depth > DEEPEST:
        raise ValueError(f"{what} that is nested too deep")
    parts = kind.get("D") if isinstance(kind, dict) else None
    if tag == "0.t_vec":
        for inner in _taken(parts, list, what):
            _check_type(inner, where, depth + 1)
    elif tag in ("0.t_dtensor", "1.t_dense_tensor_a"):
        dtype, dims = _taken(parts, list, what)[:2] if len(parts or ()) > 1 else (None, None)
        _check_type(dtype, where, depth + 1)
        if _is_empty(dtype):
            raise ValueError(f"{what} of no dtype")
        sizes = _taken(dims, list, what)
        if len(sizes) > LARGEST_RANK:
            raise ValueError(f"{what} of {len(sizes)} axes")
        for size in sizes:
            _whole(size, what)
