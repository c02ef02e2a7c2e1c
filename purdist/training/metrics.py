"""One of Paddle's metrics over batches: copied, handed rows, and asked for its numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import attrs
import numpy as np
import paddle
from paddle.metric import Metric

from purdist import graphs
from purdist.arrays import Array, Arrays
from purdist.checking import shown
from purdist.errors import InvalidArgumentError, RunError, ShapeMismatchError, last_line
from purdist.training.classifying import check_rows

T = TypeVar("T")


@contextmanager
def asking_metrics() -> Iterator[None]:
    """Metrics may be asked inside: in dynamic mode, and Paddle's state as found afterwards."""
    with graphs.dynamic(), paddle.no_grad():
        yield


@attrs.define(eq=False)
class Measured:
    """A metric of our own, and what it is computed of.

    Attributes:
        key: What the user calls it.
        metric: A copy of the user's.
        names: Whose arrays it is handed, in order.
        mask: What says which rows count, if something does.
        keys: What its numbers are called, in order.
        rows: Whether a row was left to count.
    """

    key: str
    metric: Metric
    names: tuple[str, ...]
    mask: str | None
    keys: tuple[str, ...] = ()
    rows: bool = False

    @classmethod
    def of(cls, key: str, metric: Metric, names: tuple[str, ...], mask: str | None) -> Measured:
        """A copy of ``metric``, that has seen nothing.

        Raises:
            InvalidArgumentError: It cannot be copied, or has no names for its numbers.
            RunError: It raises.
        """
        try:
            own = copy.deepcopy(metric)
        except Exception as error:
            raise InvalidArgumentError(
                f"Expected a metric that can be copied as {key!r}, got {shown(metric)}: "
                f"{last_line(error)}",
                "It is copied to leave yours as it is: give it what copy.deepcopy copies.",
            ) from error
        measured = cls(key, own, names, mask)
        measured._asked("be reset", own.reset)
        measured.keys = measured._keys(measured._asked("tell its name", own.name))
        return measured

    def add(self, values: Arrays) -> None:
        """Shows a batch to the metric.

        Raises:
            InvalidArgumentError: The mask is none, or a metric of Paddle's gets what it counts
                wrongly.
            ShapeMismatchError: Rows do not meet.
            RunError: The metric raises.
        """
        arrays = [values[name] for name in self.names]
        if self.mask is not None:
            arrays = self._masked(arrays, values[self.mask])
            if not all(map(len, arrays)):
                return
        arrays = self._flattened(arrays)
        check_rows(self.key, self.metric, self.names, arrays)
        self.rows = True
        self._asked("take", lambda: self._update(arrays), arrays)

    def numbers(self) -> Iterator[tuple[str, float]]:
        """What the metric makes of all batches.

        Raises:
            InvalidArgumentError: It makes no numbers, or others than it has names for; or the
                mask left it no row.
            RunError: It raises.
        """
        if not self.rows:
            raise InvalidArgumentError(
                f"Expected a row to count for {self.key!r}, the mask {self.mask!r} is 0 for all.",
                "A mask is 1 where a row counts, and 0 where it is left out.",
            )
        found = self._asked("tell its numbers", self.metric.accumulate)
        numbers = _numbers(found)
        if numbers is None or len(numbers) != len(self.keys):
            several = f"{len(self.keys)} numbers, one for each of its names"
            raise InvalidArgumentError(
                f"Expected {self._it} to make {several if len(self.keys) > 1 else 'a number'}, it "
                f"made {shown(found)}.",
                "Its accumulate() returns a number, or a list of as many as name() returns names.",
            )
        yield from zip(self.keys, numbers, strict=True)

    # --- rows -----------------------------------------------------------------------------------

    def _masked(self, arrays: Sequence[Array], mask: Array) -> list[Array]:
        """The rows that count."""
        keep = mask.astype(bool)
        if not (mask == keep).all():
            raise InvalidArgumentError(
                f"Expected the mask {self.mask!r} of {self.key!r} to be 0 or 1, got "
                f"{mask[mask != keep].flat[0]}.",
                "A metric counts whole rows, or leaves them out: write mask > 0.",
            )
        for name, array in zip(self.names, arrays, strict=True):
            if not mask.ndim or array.shape[: mask.ndim] != mask.shape:
                raise ShapeMismatchError(
                    f"Expected the mask of {self.key!r} in the shape of the rows, got "
                    f"{self.mask} {list(mask.shape)} and {name} {list(array.shape)}.",
                    "A mask has the axes of the labels: [N], or [N, T] for tokens.",
                )
        return [array[keep] for array in arrays]

    def _flattened(self, arrays: list[Array]) -> list[Array]:
        """Rows and their labels, if the second has one axis less than the first."""
        if len(arrays) < 2 or not 1 <= arrays[1].ndim == arrays[0].ndim - 1:
            return arrays
        rows = arrays[1].shape
        if arrays[0].shape[:-1] != rows:
            raise ShapeMismatchError(
                f"Expected a label for each row of {self.key!r}, got "
                f"{_shapes(self.names[:2], arrays[:2])}.",
                "Of two that differ by an axis the first has the classes on its last: [N, T, C] "
                "and [N, T].",
            )
        return [_as_rows(array, rows) for array in arrays]

    # --- the metric -----------------------------------------------------------------------------

    def _update(self, arrays: Sequence[Array]) -> None:
        """Hands it tensors, and what it computes of them as arrays, as Paddle's own Model does."""
        states = self.metric.compute(*(paddle.to_tensor(_for_paddle(array)) for array in arrays))
        states = states if isinstance(states, list | tuple) else [states]
        self.metric.update(*(np.array(s) if isinstance(s, paddle.Tensor) else s for s in states))

    def _asked(self, to: str, ask: Callable[[], T], arrays: Sequence[Array] = ()) -> T:
        try:
            return ask()
        except MemoryError:
            raise
        except Exception as error:
            taken = f" {_shapes(self.names, arrays)}" if arrays else ""
            raise RunError(
                f"Expected {self._it} to {to}{taken}, it raised {type(error).__name__}: "
                f"{last_line(error)}",
                "It is handed what its names say, in that order, as tensors in dynamic mode.",
            ) from error

    def _keys(self, name: object) -> tuple[str, ...]:
        names = [name] if isinstance(name, str) else name
        if not (isinstance(names, list | tuple) and names) or not all(
            isinstance(one, str) for one in names
        ):
            raise InvalidArgumentError(
                f"Expected {self._it} to have a name, or a list of them, got {shown(name)}.",
                "Its name() returns a text, or one for each number that accumulate() returns.",
            )
        if len(names) == 1:
            return (self.key,)
        return tuple(f"{self.key}_{one.rpartition('_')[2]}" for one in names)

    @property
    def _it(self) -> str:
        return f"the metric {self.key!r}, of class {type(self.metric).__name__},"


def _shapes(names: Sequence[str], arrays: Sequence[Array]) -> str:
    return ", ".join(
        f"{name} {list(array.shape)} {array.dtype}"
        for name, array in zip(names, arrays, strict=True)
    )


def _as_rows(array: Array, rows: tuple[int, ...]) -> Array:
    """``array`` with one axis in place of those of the ``rows``, and one more at least."""
    if array.shape[: len(rows)] != rows:
        return array
    count = int(np.prod(rows, dtype=np.int64))
    return array.reshape(count, *(array.shape[len(rows) :] or (1,)))


def _for_paddle(array: Array) -> Array:
    """``array`` in a dtype that Paddle has, and takes for what it is: uint16 is bfloat16 to it."""
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        return array.astype(np.int64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _numbers(found: Any) -> list[float] | None:
    """What a metric has made as numbers, None if it is none."""
    if isinstance(found, paddle.Tensor | np.ndarray):
        array = np.array(found)
        found = array.tolist() if array.ndim < 2 else None
    values = found if isinstance(found, list | tuple) else [found]
    numbers = [_number(value) for value in values]
    return None if None in numbers else [n for n in numbers if n is not None]


def _number(value: Any) -> float | None:
    array = np.array(value) if not isinstance(value, str | bytes | Mapping) else np.array("")
    return float(array.item()) if array.size == 1 and array.dtype.kind in "biuf" else None
