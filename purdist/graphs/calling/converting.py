"""Functions whose ifs and loops over values become ops, by Paddle's own conversion of source."""

from __future__ import annotations

import functools
import inspect
import logging
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import paddle
from paddle.base.libpaddle import pir
from paddle.jit import dy2static
from paddle.jit.dy2static import (
    convert_call_func,
    convert_operators,
    program_translator,
    utils,
)
from paddle.utils import unique_name

from purdist.graphs.calling.asking import sizes_of
from purdist.graphs.dtypes import dtype_name
from purdist.graphs.looking import is_feed, operations
from purdist.graphs.state import replaced
from purdist.storing import scratch

Function = Callable[..., Any]

_TREES: dict[tuple[str, int], dict[str, object]] = {}
"""File and line of a function -> its source -> the tree that Paddle has made of it."""


@contextmanager
def reading_sizes(shape: Function) -> Iterator[None]:
    """Paddle's conversion takes ``shape`` for what reads the shape of a value.

    While it converts it evaluates pieces of the source, to see whether they are Paddle's: what they
    call may be converted in turn, under a lock that the thread has already.
    """

    def reading(value: Any) -> Any:
        return shape(value)

    reading.__module__ = convert_operators.__name__  # or it would be converted itself
    with (
        replaced(dy2static, {"Shape": reading}),
        replaced(program_translator, {"_CACHE_LOCK": threading.RLock()}),
    ):
        yield


class _Cache(program_translator.FunctionCache):
    """What Paddle has converted: a method once, whatever it is bound to.

    Paddle looks for it by the bound method, which is another one at each call of a layer. Syntax
    trees are kept for good, as Paddle keeps its own, each for the lines that it was made of: it
    tells them in errors.
    """

    def convert_with_cache(self, func: Function) -> Function:
        return super().convert_with_cache(func.__func__ if inspect.ismethod(func) else func)

    def _convert(self, func: Function) -> Function:
        code = getattr(inspect.unwrap(func), "__code__", None)
        found = self._code_to_ast_caches
        if isinstance(code, types.CodeType):
            place = code.co_filename, code.co_firstlineno
            self._code_to_ast_caches = _TREES.setdefault(place, {})
        try:
            converted: Function = super()._convert(func)
        finally:  # one function's conversion may ask for another's
            self._code_to_ast_caches = found
        return converted


class _NamedApart(_Cache):
    """What Paddle has converted, with names of its own that are names of Python's."""

    def _convert(self, func: Function) -> Function:
        with unique_name.guard():
            return super()._convert(func)


@contextmanager
def converting(cache: type[_Cache] = _Cache) -> Iterator[None]:
    """What Paddle converts inside, and the files that it writes for it, are gone afterwards.

    Its own files lie under the home folder, which need not be there nor be ours to write to. What
    is converted is kept no longer than its file: functions inside it are read from there.

    Args:
        cache: Keeps it meanwhile.

    Raises:
        WriteError: No temporary folder can be written to.
    """
    with (
        scratch() as folder,
        replaced(utils, {"get_temp_dir": lambda: str(folder), "DEL_TEMP_DIR": False}),
        replaced(program_translator, {"_FUNCTION_CACHE": cache()}),
        replaced(convert_call_func, {"is_unsupported": _remembered()}),
    ):
        yield


def _remembered() -> Callable[[object], bool]:
    """Whether Paddle leaves a function, or a layer's forward, as it is: asked once of each.

    Paddle goes through some thousand functions to answer.
    """
    said: dict[tuple[bool, types.FunctionType], bool] = {}
    asked = convert_call_func.is_unsupported

    def is_unsupported(called: object) -> bool:
        layer = called if isinstance(called, paddle.nn.Layer) else None
        method: object = called if layer is None else layer.forward
        function = method.__func__ if inspect.ismethod(method) else method
        if not isinstance(function, types.FunctionType):
            return asked(called)
        key = layer is not None, function
        if key not in said:
            said[key] = asked(called)
        return said[key]

    return is_unsupported


@contextmanager
def converted(function: Function) -> Iterator[Function | None]:
    """``function`` with its ifs and loops over values as ops, None where it has no source.

    A lambda is none of Paddle's to convert, and of a decorated function it would drop the
    decorator. Nothing is left of the conversion but what holds on to the function.
    """

    def shape(value: Any) -> Any:
        return sizes_of(value) if isinstance(value, pir.Value) else value.shape

    loop, to_static = paddle.static.nn.while_loop, convert_operators.to_static_variable

    def while_loop(condition: Any, body: Any, carried: Any, **others: Any) -> Any:
        # Paddle takes for constant what starts as one, whatever a round adds to it.
        carried = paddle.utils.map_structure(_learning, carried)
        return loop(condition, _of_one_dtype(body), carried, **others)

    def number(thing: Any, dtype: Any = None) -> Any:
        # A number of Python's takes its dtype from what it meets; Paddle makes it float64.
        return to_static(thing, dtype or (_float() if isinstance(thing, float) else None))

    logger = logging.getLogger("Dynamic-to-Static")
    disabled = logger.disabled
    logger.disabled = True
    try:
        with (
            converting(_NamedApart),
            reading_sizes(shape),
            replaced(paddle.static.nn, {"while_loop": while_loop}),
            replaced(convert_operators, {"to_static_variable": number}),
        ):
            yield _converted(function)
    finally:
        logger.disabled = disabled


def _converted(function: Function) -> Function | None:
    if isinstance(function, functools.partial):
        inner = _converted(function.func)
        return inner and functools.partial(inner, *function.args, **function.keywords)
    if inspect.ismethod(function):
        inner = _converted(function.__func__)
        return inner and functools.partial(inner, function.__self__)
    if not inspect.isfunction(function):
        call = getattr(type(function), "__call__", None)  # noqa: B004 - its function is wanted
        inner = _converted(call) if inspect.isfunction(call) else None
        return inner and functools.partial(inner, function)
    if function.__name__ == "<lambda>" or hasattr(function, "__wrapped__"):
        return None
    try:
        return program_translator.convert_to_static(function)  # type: ignore[no-any-return]
    except (OSError, TypeError, SyntaxError):
        return None  # no source


def _learning(start: Any) -> Any:
    """What a loop starts from, as one that gradients reach."""
    if isinstance(start, pir.Value) and _is_float(start) and start.stop_gradient:
        start = paddle.assign(start)
        start.stop_gradient = False
    return start


def _is_float(value: Any) -> bool:
    return value.is_dense_tensor_type() and "float" in str(value.dtype).lower()


def _float() -> str:
    """The dtype that a number of Python's has beside the feeds of the current program."""
    ops = operations(paddle.static.default_main_program())
    dtypes = {dtype_name(op.result(0).dtype) for op in ops if is_feed(op)}
    return "float64" if "float64" in dtypes else "float32"


def _of_one_dtype(body: Function) -> Function:
    """``body`` with floats in the dtype they came in with, which Paddle takes them to keep."""

    def kept(before: Any, after: Any) -> Any:
        floats = all(isinstance(v, pir.Value) and _is_float(v) for v in (before, after))
        return after.astype(before.dtype) if floats and before.dtype != after.dtype else after

    def once(*carried: Any) -> Any:
        results = body(*carried)
        return type(results)(map(kept, carried, results))

    return once
