"""The laws that every loss obeys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs
import numpy as np

from purdist.arrays import Arrays
from purdist.checking import guard
from purdist.losses.spec import LossSpec
from purdist.testing.evaluating import Evaluation, Evaluator, evaluate_loss
from purdist.testing.holding import hold, hold_close


class LossLaw(Protocol):
    """What every loss obeys, whatever the arrays: raises AssertionError where it does not."""

    @property
    def __name__(self) -> str: ...

    def __call__(
        self,
        spec: LossSpec,
        *,
        teacher: Arrays | None = None,
        student: Arrays,
        inputs: Arrays | None = None,
    ) -> None: ...


def nothing_flows_to_teacher(
    spec: LossSpec, *, teacher: Arrays | None = None, student: Arrays, inputs: Arrays | None = None
) -> None:
    """The teacher gets no gradient; each variable of the student gets one, whatever the weight.

    No law of a `CustomLoss`, whose function lets gradients through to whatever can learn.
    """
    spec = attrs.evolve(spec, weight=1.0)  # a term of weight 0 is watched, and not learnt from
    found = evaluate_loss(spec, teacher=teacher, student=student, inputs=inputs)
    hold(
        found.gradients.keys() == student.keys(),
        f"Expected gradients of {sorted(student)}, got those of {sorted(found.gradients)}.",
    )


def order_of_batch_is_free(
    spec: LossSpec, *, teacher: Arrays | None = None, student: Arrays, inputs: Arrays | None = None
) -> None:
    """A new order of the batch is one of the gradients, and leaves the value.

    Two orders are tried, of which all others are made: the first two rows change places,
    and each row moves up by one. No law of a `CorrelationCongruenceLoss`, or of another that
    compares neighbours in the batch.
    """
    evaluator = Evaluator(spec, teacher or {}, student, inputs or {})
    arrays = {**(teacher or {}), **student, **(inputs or {})}
    found = evaluator(arrays)
    rows = len(next(iter(student.values())))
    for order in ([*range(rows)[:2][::-1], *range(2, rows)], [*range(1, rows), 0]):
        again = evaluator(_in_order(order, arrays))
        _assert_close(again, Evaluation(found.value, _in_order(order, found.gradients)))


def linear_in_weight(
    spec: LossSpec, *, teacher: Arrays | None = None, student: Arrays, inputs: Arrays | None = None
) -> None:
    """Three times the weight is three times the value and the gradients."""
    once = evaluate_loss(spec, teacher=teacher, student=student, inputs=inputs)
    thrice = evaluate_loss(3 * spec, teacher=teacher, student=student, inputs=inputs)
    expected = Evaluation(3 * once.value, {k: 3 * g for k, g in once.gradients.items()})
    _assert_close(thrice, expected)


def float32_agrees_with_float64(
    spec: LossSpec, *, teacher: Arrays | None = None, student: Arrays, inputs: Arrays | None = None
) -> None:
    """Both precisions give the same, to the narrower one's, and gradients in their own."""
    found = []
    for dtype in (np.float32, np.float64):
        sides = [
            {k: a.astype(dtype) for k, a in (side or {}).items()} for side in (teacher, student)
        ]
        found.append(evaluate_loss(spec, teacher=sides[0], student=sides[1], inputs=inputs))
        dtypes = {g.dtype for g in found[-1].gradients.values()}
        hold(dtypes <= {np.dtype(dtype)}, f"Expected gradients of {dtype.__name__}, got {dtypes}.")
    _assert_close(*found)


def batch_may_be_unknown(
    spec: LossSpec, *, teacher: Arrays | None = None, student: Arrays, inputs: Arrays | None = None
) -> None:
    """Whether the graph knows the size of the batch changes nothing.

    What reads ``x.shape[0]`` while the graph is built reads -1 where it does not.
    """
    found = [
        evaluate_loss(spec, teacher=teacher, student=student, inputs=inputs, unknown_axes=axes)
        for axes in ((), (0,))
    ]
    _assert_close(*found)


guard(
    (
        "nothing_flows_to_teacher",
        "order_of_batch_is_free",
        "linear_in_weight",
        "float32_agrees_with_float64",
        "batch_may_be_unknown",
    ),
    globals(),
)

LOSS_LAWS: tuple[LossLaw, ...] = (
    nothing_flows_to_teacher,
    order_of_batch_is_free,
    linear_in_weight,
    float32_agrees_with_float64,
    batch_may_be_unknown,
)
"""What every loss obeys, save what each of them says. Their arrays have the batch on axis 0."""


def _in_order(order: Sequence[int], arrays: Arrays) -> Arrays:
    return {name: array[order] for name, array in arrays.items()}


def _assert_close(got: Evaluation, expected: Evaluation) -> None:
    """Equal to what float32 keeps of the largest number in each array.

    A gradient that is nothing, as that of a direction in one dimension, is so up to what
    float32 keeps of the value.
    """
    hold_close("value", np.array(got.value), np.array(expected.value))
    hold(
        got.gradients.keys() == expected.gradients.keys(),
        f"Expected gradients of {sorted(expected.gradients)}, got {sorted(got.gradients)}.",
    )
    for name, gradient in expected.gradients.items():
        least = 1e-6 * abs(expected.value)
        hold_close(f"gradient of {name}", got.gradients[name], gradient, least=least)
