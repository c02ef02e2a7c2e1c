"""What processes that train together tell each other at each update, in few flat arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import attrs
import numpy as np
import numpy.typing as npt
import paddle
from paddle import distributed

from purdist import graphs, scopes

_MEANS = "exchange/means"
"""Where the scope keeps what was told at the newest update: the means of the losses, and who."""

_EARLIER = "exchange/earlier"
"""Where it keeps the sums of the losses over earlier batches of the same update."""

_TAKING = "exchange/taking"
"""Where it keeps the number of the update, counted from 1, at the place of this process."""

_LARGE = 1 << 16
"""From so many numbers on an array is sent as it is: to gather it takes longer than a call."""


@attrs.frozen(eq=False)
class Exchange:
    """Means over processes, of gradients, running statistics and losses.

    Attributes:
        losses: How many are told: the loss and its terms.
        processes: How many tell.
        buckets: The dtype and the length of each array that is sent.
    """

    losses: int
    processes: int
    buckets: tuple[tuple[str, int], ...]

    names: ClassVar[tuple[str, ...]] = (_MEANS, _EARLIER, _TAKING)

    @classmethod
    def of(
        cls,
        gradients: Sequence[graphs.Gradient],
        statistics: Sequence[paddle.Tensor],
        losses: int,
        processes: int,
    ) -> Exchange:
        """That of these gradients and statistics."""
        kinds = [("float32", losses + processes)]
        kinds += [_kind(value) for value in (*(g for _, g in gradients), *statistics)]
        buckets = [
            (kinds[group[0]][0], sum(kinds[k][1] for k in group)) for group in _groups(kinds)
        ]
        return cls(losses, processes, tuple(buckets))

    def add(
        self,
        losses: Sequence[paddle.Tensor],
        gradients: Sequence[graphs.Gradient],
        statistics: Sequence[paddle.Tensor],
        count: int,
    ) -> tuple[list[graphs.Gradient], paddle.Tensor]:
        """Adds it to the default program, behind ``count`` batches.

        Returns:
            The gradients as all have them, and whether the update is to follow: each process has
            its batches, and the mean of the losses is finite.
        """
        own = paddle.stack([loss.astype("float32") for loss in losses])
        earlier = graphs.kept_in_scope(_EARLIER, [self.losses], "float32")
        taking = graphs.kept_in_scope(_TAKING, [self.processes], "float32")
        told = paddle.concat([(own + earlier) / float(count), taking])
        means, *others = exchanged([told, *(g for _, g in gradients), *statistics], self.processes)
        graphs.set_to(graphs.kept_in_scope(_MEANS, told.shape, "float32"), means)
        for kept, mean in zip(statistics, others[len(gradients) :], strict=True):
            graphs.set_to(kept, mean)
        averaged = [(p, mean) for (p, _), mean in zip(gradients, others, strict=False)]
        there = (means[self.losses :] > 0.0).all()
        return averaged, paddle.logical_and(paddle.isfinite(means[0]), there)

    def begin(self, scope: graphs.Scope, place: graphs.Place, rank: int, update: int) -> None:
        """Says before an update that process ``rank`` has its batches."""
        taking = np.zeros(self.processes, np.float32)
        taking[rank] = update + 1
        scopes.put(scope, _TAKING, taking, place)

    def add_earlier(
        self, scope: graphs.Scope, place: graphs.Place, told: Sequence[Sequence[float]]
    ) -> None:
        """Says what the losses of earlier batches of the update were."""
        sums = np.sum(told, axis=0) if told else np.zeros(self.losses)
        scopes.put(scope, _EARLIER, sums.astype(np.float32), place)

    def told(self, scope: graphs.Scope) -> tuple[list[float], list[int]]:
        """The means of the losses, and of each process the number of its update, 0 for none."""
        return self._read(scopes.values(scope, [_MEANS])[_MEANS])

    def _read(self, means: npt.NDArray[np.generic]) -> tuple[list[float], list[int]]:
        told = [float(mean) for mean in means]
        updates = [round(mean * self.processes) for mean in told[self.losses :]]
        return told[: self.losses], updates

    def leave(self, place: graphs.Place) -> list[int]:
        """Says that this process takes no more updates, to those who wait for its part of one.

        Returns:
            Of each process the number of the update that it had begun, 0 for none.
        """
        with graphs.building():
            draft = graphs.Draft()
            with draft.appending():
                sent = [paddle.full([length], 0.0, dtype) for dtype, length in self.buckets]
                for flat in sent:
                    distributed.all_reduce(flat)
                means = sent[0][: self.losses + self.processes] / float(self.processes)
            draft.values = {_MEANS: means}
            run = graphs.Runner(draft.finish(), [_MEANS], scopes.new_scope(), place)
        return self._read(run({})[0])[1]


def exchanged(values: Sequence[paddle.Tensor], processes: int) -> list[paddle.Tensor]:
    """The means of values over the processes, in the default program."""
    kinds = list(map(_kind, values))
    means: dict[int, paddle.Tensor] = {}
    for group in _groups(kinds):
        dtype = kinds[group[0]][0]
        if len(group) == 1:
            (k,) = group
            share = graphs.mean_of(graphs.in_dtype(values[k], dtype), processes)
            distributed.all_reduce(share)
            means[k] = graphs.in_dtype(share, graphs.dtype_name(values[k].dtype))
            continue
        flat = paddle.concat([graphs.in_dtype(_in_shape(values[k], [-1]), dtype) for k in group])
        flat = graphs.mean_of(flat, processes)
        distributed.all_reduce(flat)
        parts = paddle.split(flat, [kinds[k][1] for k in group])
        for k, part in zip(group, parts, strict=True):
            mean = _in_shape(part, list(values[k].shape))
            means[k] = graphs.in_dtype(mean, graphs.dtype_name(values[k].dtype))
    return [means[k] for k in range(len(values))]


def _in_shape(value: paddle.Tensor, shape: list[int]) -> paddle.Tensor:
    """``value`` in a shape: itself where both have one axis, which a reshape may copy."""
    return value if len(value.shape) == len(shape) == 1 else value.reshape(shape)


def _kind(value: paddle.Tensor) -> tuple[str, int]:
    """The dtype in which it is sent, and how many numbers it has."""
    return graphs.wide(value.dtype), int(np.prod(value.shape, dtype=np.int64))


def _groups(kinds: Sequence[tuple[str, int]]) -> Iterator[list[int]]:
    """Which values are sent together: the small ones of a dtype."""
    small = [k for k, (_, size) in enumerate(kinds) if size < _LARGE]
    for dtype in dict.fromkeys(kinds[k][0] for k in small):
        yield [k for k in small if kinds[k][0] == dtype]
    yield from ([k] for k, (_, size) in enumerate(kinds) if size >= _LARGE)
