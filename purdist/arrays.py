"""What is fed, made the arrays that are run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import paddle

from purdist import graphs
from purdist.checking import CHECKED_INSIDE, LAZY
from purdist.errors import FeedError
from purdist.variables import Variable

Array: TypeAlias = npt.NDArray[Any]
Arrays: TypeAlias = Mapping[str, Array]

Feed: TypeAlias = Annotated[Mapping[str, npt.NDArray[Any] | paddle.Tensor], CHECKED_INSIDE]
"""A batch: the name of each input -> its array or tensor. Lists of numbers are run as arrays."""

Batches: TypeAlias = Annotated[Iterable[Feed], LAZY]
"""Feeds, read one at a time."""


def array_of(name: str, value: object, variable: Variable | None) -> Array:
    """What is fed as ``name``, an array of no special kind. An array is itself.

    Args:
        name: Of the feed.
        value: An array or tensor, a number, or lists and tuples of such.
        variable: The input, if there is one. Numbers of Python have no dtype, and get its.

    Raises:
        FeedError: It is nothing that numpy makes numbers of.
    """
    try:
        leaves = list(_leaves(value))
    except RecursionError:
        raise FeedError(
            f"Expected an array as the feed {name!r}, got lists in lists without an end.",
            "Feed an array, or nested lists of equal lengths.",
        ) from None
    for leaf in leaves:
        _check_has_numbers(name, leaf)
    try:
        array = np.asarray(_with_arrays(value))
    except Exception as error:
        what = str(error).partition("\n")[0]
        raise FeedError(
            f"Expected an array as the feed {name!r}, got {type(value).__name__}, of which numpy "
            f"makes none: {what}",
            "Feed an array, or nested lists of equal lengths.",
        ) from error
    if array.dtype.kind not in "biufc":
        raise FeedError(
            f"Expected an array of numbers as the feed {name!r}, got {_in_words(value, array)}.",
            "Feed a numpy array, a tensor, or lists of numbers.",
        )
    if variable is not None and {type(leaf) for leaf in leaves} <= {int, float}:
        return _as_dtype(array, variable.dtype)
    return array


def dtype_of(value: object, array: Array) -> str:
    """How Paddle, or else numpy, calls the dtype of ``value``, which ``array`` was made of."""
    return graphs.dtype_name(value.dtype) if isinstance(value, paddle.Tensor) else array.dtype.name


def widened(array: Array, dtype: str) -> Array:
    """``array`` of Paddle's ``dtype`` as numpy computes with it: halves in float32, as they are."""
    if dtype == "bfloat16":  # the upper half of a float32
        return np.asarray(array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if dtype == "float16" else array


def _leaves(value: object) -> Iterator[object]:
    """What lists and tuples hold, however deep."""
    if isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    else:
        yield value


def _check_has_numbers(name: str, leaf: object) -> None:
    """Refuses what numpy would make an array of that says something else, or that would crash."""
    if isinstance(leaf, np.ma.MaskedArray):
        raise FeedError(
            f"Expected an array as the feed {name!r}, got a masked one: what is under the mask "
            "would be computed with.",
            f"Feed {name!r} with .filled(0), and the mask as an input of its own.",
        )
    if graphs.is_in_a_program(leaf):
        raise FeedError(
            f"Expected an array as the feed {name!r}, got a value of a static program, which has "
            "no numbers yet.",
            "Feed the array that running its program gives: program.run(feed, [name])[name].",
        )
    if isinstance(leaf, paddle.Tensor) and not graphs.has_numbers(leaf):
        raise FeedError(
            f"Expected an array as the feed {name!r}, got a tensor that is sparse or has no "
            "memory.",
            f"Feed {name!r} with .to_dense() where it is sparse.",
        )


def _with_arrays(value: Any) -> Any:
    """``value`` with arrays in place of tensors, however deep in lists."""
    if isinstance(value, list | tuple):
        return [_with_arrays(part) for part in value]
    if not isinstance(value, paddle.Tensor):
        return value
    array = graphs.lent(value)
    return value.numpy() if array is None else array


def _in_words(value: object, array: Array) -> str:
    """What was fed that is no numbers."""
    kind = "None" if value is None else type(value).__name__
    return f"{kind} of {array.dtype}" if isinstance(value, np.ndarray) else kind


def _as_dtype(array: Array, dtype: str) -> Array:
    """Numbers of Python in a dtype that has them, or as they are."""
    if dtype == "bfloat16":
        return array  # numpy would make other numbers of them
    wanted = graphs.array_dtype(dtype)
    if not (wanted.kind == "f" or (wanted.kind in "iu" and array.dtype.kind in "iu")):
        return array
    with np.errstate(over="ignore"):
        made = array.astype(wanted)
    same = np.isfinite(made) == np.isfinite(array) if wanted.kind == "f" else made == array
    return made if same.all() else array


def of_rank(variable: Variable, array: Array) -> str:
    """How to bring ``array`` to the rank of ``variable``, its rows kept."""
    shape, rank = list(variable.shape), len(variable.shape)
    if shape.count(-1) < 2 and _reshaped(array, shape)[:1] in (array.shape[:1], (1,)):
        return f"Reshape it to {shape}."
    if array.ndim < rank:
        return (
            "Add the axes that it lacks: array[None] is a batch of one, array[:, None] are rows "
            "of one."
        )
    if array.ndim == rank + 1 and variable.dtype in ("int32", "int64"):
        return (
            f"Feed {variable.name!r} one number where this has a row: array.argmax(-1) of scores "
            "or one-hot rows."
        )
    return f"Feed {variable.name!r} an array of rank {rank}."


def _reshaped(array: Array, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape that ``array`` has as ``shape``; () if it does not fit that."""
    try:
        return array.reshape(shape).shape
    except ValueError:
        return ()
