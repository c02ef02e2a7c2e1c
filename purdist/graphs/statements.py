"""Whose code it was, and which line of it: that built an op, or that failed."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import paddle

from purdist.errors import is_own_module
from purdist.graphs.dtypes import dtype_name
from purdist.graphs.looking import Operation, is_declared, is_tensor, operations, short_name

PADDLE = str(Path(paddle.__file__).parent) + os.sep
PURDIST = str(Path(__file__).parents[1]) + os.sep
"""What the paths of their files begin with."""

_GRAPHS = str(Path(__file__).parent) + os.sep


def statement_of(op: Operation) -> str:
    """The line of source that built ``op``, as ``text (file:line)``: purdist's, where it did."""
    attributes: Mapping[str, Any] = op.attrs()
    lines: list[str] = attributes.get("op_callstack") or []
    built = _stated(zip(lines[::2], lines[1::2], strict=False), _GRAPHS)
    return next(built, repr(short_name(op)))


def computed_by_statement(
    program: paddle.static.Program, dtypes: Collection[str]
) -> dict[str, paddle.Tensor]:
    """The first tensor of one of ``dtypes`` of the last op that each statement built."""
    values: dict[str, paddle.Tensor] = {}
    for op in operations(program):
        if not is_declared(op):
            found = (v for v in filter(is_tensor, op.results()) if dtype_name(v.dtype) in dtypes)
            values.update((statement_of(op), value) for value in islice(found, 1))
    return values


def statements_in(text: str) -> Iterator[str]:
    """The lines of somebody's own code that an error of Paddle's names, innermost first."""
    return _stated(pairwise(line.strip() for line in text.splitlines()), PURDIST)


def is_ours(value: object) -> bool:
    """Whether the class of ``value`` is purdist's, and not a user's."""
    return is_own_module(type(value).__module__)


def place_in_source(error: BaseException) -> str:
    """Where somebody's own code was when ``error`` came: file, line and text."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if not frame.filename.startswith((PADDLE, PURDIST, contextlib.__file__))
    ]
    if not own:
        return "Paddle"
    where = f"{own[-1].filename}:{own[-1].lineno}"
    return f"{own[-1].line!r} ({where})" if own[-1].line else where


def _stated(lines: Iterable[tuple[str, str]], ours: str) -> Iterator[str]:
    """The lines of a traceback with the code under each, innermost first, Paddle's left out."""
    for where, code in reversed(list(lines)):
        head, quote, rest = where.strip().partition('", line ')
        file = head.removeprefix('File "')
        if quote and file != head and not file.startswith((PADDLE, ours, "<")):
            yield f"{code.strip()!r} ({file}:{rest.partition(',')[0]})"
