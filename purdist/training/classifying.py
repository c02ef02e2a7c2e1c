"""What Paddle's own metrics of classes count wrongly without a word, refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs
import numpy as np
from paddle.metric import Accuracy, Auc, Metric, Precision, Recall

from purdist.arrays import Array
from purdist.errors import InvalidArgumentError, PurdistError, ShapeMismatchError, together


def check_rows(key: str, metric: Metric, names: Sequence[str], arrays: Sequence[Array]) -> None:
    """Refuses what ``metric`` would count wrongly: one of Paddle's, or that counts as it does.

    Args:
        key: What the user calls it.
        metric: It. One with a ``compute`` or ``update`` of its own gets whatever it is given.
        names: Of what it is handed, in order.
        arrays: It, flattened to rows.

    Raises:
        ShapeMismatchError: Rows and labels do not meet.
        InvalidArgumentError: A label is no class, or a probability none.
        SeveralFaultsError: Both are so.
    """
    check = _check_of(metric)
    if check is None:
        return
    if len(names) != 2:
        raise InvalidArgumentError(
            f"Expected two names for {key!r}, of what is predicted and of the labels, got "
            f"{', '.join(map(repr, names))}.",
            "A mask stands beside them: (metric, names, mask).",
        )
    (predicted, labels), (of_predicted, of_labels) = arrays, names
    faults = list(check(_Pair(key, of_predicted, of_labels, predicted, labels)))
    if faults:
        raise together(faults)


@attrs.frozen(eq=False)
class _Pair:
    """What is predicted, and the labels.

    Attributes:
        key: What the user calls the metric.
        name: Of what is predicted.
        of_labels: The name of the labels.
        predicted: A row for each label.
        labels: Them.
    """

    key: str
    name: str
    of_labels: str
    predicted: Array
    labels: Array

    def unmet(self, shapes: str) -> ShapeMismatchError:
        """The error for other ``shapes``."""
        return ShapeMismatchError(
            f"Expected {self.key!r} to be of what is predicted and of labels {shapes}, got "
            f"{self.name} {list(self.predicted.shape)}, {self.of_labels} "
            f"{list(self.labels.shape)}.",
            "Classes are on the last axis, and the labels come second.",
        )

    def strangers(self, classes: int) -> Iterator[PurdistError]:
        """The error for labels that are none of so many classes."""
        labels = self.labels
        known = (labels >= 0) & (labels < classes) & (labels == np.floor(labels))
        if not known.all():
            yield InvalidArgumentError(
                f"Expected each of the labels {self.of_labels!r} of {self.key!r} to be a class "
                f"from 0 to {classes - 1}, got {labels[~known].flat[0]}.",
                "Leave out the rows that do not count, by a mask: (metric, names, mask).",
            )

    def improbable(self) -> Iterator[PurdistError]:
        """The error for what is predicted where it is no probability."""
        known = (self.predicted >= 0) & (self.predicted <= 1)
        if not known.all():
            yield InvalidArgumentError(
                f"Expected {self.name!r} of {self.key!r} to be probabilities, got "
                f"{self.predicted[~known].flat[0]}.",
                "Give what a sigmoid or softmax puts out: logits are none.",
            )


def _check_of(metric: Metric) -> Callable[[_Pair], Iterator[PurdistError]] | None:
    cls = type(metric)
    if cls.compute is Accuracy.compute:
        return _classes
    if cls.compute is not Metric.compute:
        return None
    if cls.update in (Precision.update, Recall.update):
        return _decisions
    return _scores if cls.update is Auc.update else None


def _classes(pair: _Pair) -> Iterator[PurdistError]:
    """Of scores of classes, and of the right ones by number or one-hot."""
    rows, count = pair.predicted.shape[:-1], pair.predicted.shape[-1:]
    if not rows or pair.labels.shape not in ((*rows, 1), (*rows, *count)):
        yield pair.unmet("[N, C] and [N] or [N, 1], or both [N, C] one-hot")
    elif pair.labels.shape[-1] == 1:
        yield from pair.strangers(*count)


def _decisions(pair: _Pair) -> Iterator[PurdistError]:
    """Of the probability that something is so, and whether it is."""
    if pair.predicted.shape != pair.labels.shape or pair.labels.shape[1:] not in ((), (1,)):
        yield pair.unmet("[N] or [N, 1]")
    else:
        yield from pair.improbable()
        yield from pair.strangers(2)


def _scores(pair: _Pair) -> Iterator[PurdistError]:
    """Of the probabilities that something is not so, and is, and whether it is."""
    rows = pair.predicted.shape[:1]
    if pair.predicted.shape != (*rows, 2) or pair.labels.shape != (*rows, 1):
        yield pair.unmet("[N, 2] and [N] or [N, 1]")
    else:
        yield from pair.improbable()
        yield from pair.strangers(2)
