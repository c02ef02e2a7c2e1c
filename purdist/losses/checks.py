"""What losses ask of the variables they read.

A check raises before anything is built. A size of -1 is unknown and agrees
with every other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from purdist.errors import (
    DtypeMismatchError,
    PurdistError,
    ShapeMismatchError,
    together,
)
from purdist.losses.classes import CLASSES
from purdist.variables import FLOATS, Variable, shapes_agree

__all__ = [
    "check_classes",
    "check_floats",
    "check_known",
    "check_labels",
    "check_logits",
    "check_maps",
    "check_pair_of_logits",
    "check_poolable",
    "check_rank",
    "check_same_axes",
    "check_same_batch",
    "check_same_shape",
    "check_samples",
]


# --- dtypes -----------------------------------------------------------------------------


def check_floats(variables: Mapping[str, Variable]) -> None:
    """Refuses variables that are not all of one floating-point dtype.

    Raises:
        DtypeMismatchError: One is not, or two differ.
    """
    faults: list[PurdistError] = [
        DtypeMismatchError(
            f"Expected {key} to be floating-point, got {variable}.",
            "Name a variable that a network computes, such as its logits or a feature map.",
        )
        for key, variable in variables.items()
        if variable.dtype not in FLOATS
    ]
    if not faults and len({v.dtype for v in variables.values()}) > 1:
        there = ", ".join(f"{key} {variable}" for key, variable in variables.items())
        faults.append(
            DtypeMismatchError(
                f"Expected variables of one dtype, got {there}.",
                "Cast in one of the networks, or build both for one dtype.",
            )
        )
    if faults:
        raise together(faults)


def check_labels(label: Variable, logits: Variable) -> None:
    """Refuses labels that are not one integer a row of ``logits``.

    Raises:
        DtypeMismatchError: They are not integers.
        ShapeMismatchError: Their rank is not 1, or they are more or fewer than the rows.
    """
    if label.dtype not in ("int32", "int64"):
        raise DtypeMismatchError(
            f"Expected label to be int64 or int32, got {label}.",
            "Give the numbers of the classes, not their probabilities.",
        )
    check_rank({"label": label}, 1, "[N]")
    if not shapes_agree(label.shape, logits.shape[:1]):
        raise ShapeMismatchError(
            f"Expected a label for each row of {logits}, got {label}.",
            "Leave the size of the batch unknown (-1), or give both the same.",
        )


# --- shapes -----------------------------------------------------------------------------


def check_rank(
    variables: Mapping[str, Variable], rank: int, axes: str, *, or_more: bool = False
) -> None:
    """Refuses variables that are not of that rank, or of that rank ``or_more``.

    Raises:
        ShapeMismatchError: One is not.
    """
    least = "at least " if or_more else ""
    faults = [
        ShapeMismatchError(
            f"Expected {key} to have rank {least}{rank}, {axes}, got rank "
            f"{len(variable.shape)}: {variable}.",
            "Name a variable of that rank, or reshape this one in its network.",
        )
        for key, variable in variables.items()
        if len(variable.shape) < rank or (len(variable.shape) > rank and not or_more)
    ]
    if faults:
        raise together(faults)


def check_same_shape(
    variables: Mapping[str, Variable],
    one: str,
    other: str,
    *,
    otherwise: str = "adapt one to the other in a CustomLoss",
) -> None:
    """Refuses two variables whose shapes cannot be equal.

    Raises:
        ShapeMismatchError: They cannot. The text names the axis.
    """
    a, b = variables[one], variables[other]
    if not shapes_agree(a.shape, b.shape):
        raise ShapeMismatchError(
            f"Expected {one} and {other} to have the same shape, got {a} and {b}: "
            f"{_differing(a.shape, b.shape)}.",
            f"Name variables of the same shape, or {otherwise}.",
        )


def check_same_axes(
    variables: Mapping[str, Variable],
    one: str,
    other: str,
    axes: Mapping[int, str],
    *,
    remedy: str = "Name two layers between which the size of the map stays the same.",
) -> None:
    """Refuses two variables whose sizes differ on one of ``axes``.

    Raises:
        ShapeMismatchError: They do. The text names the axis.
    """
    a, b = variables[one], variables[other]
    wanted = [a.shape[axis] for axis in axes]
    got = [b.shape[axis] for axis in axes]
    if not shapes_agree(wanted, got):
        raise ShapeMismatchError(
            f"Expected {one} and {other} to share {', '.join(axes.values())}, got {a} and "
            f"{b}: {_differing(wanted, got, tuple(axes))}.",
            remedy,
        )


def check_same_batch(variables: Mapping[str, Variable], one: str, other: str) -> None:
    """Refuses two variables that are not of one batch.

    Raises:
        ShapeMismatchError: Their sizes differ on axis 0.
    """
    remedy = "Teacher and student must see the same samples: look at what merge was given."
    check_same_axes(variables, one, other, {0: "N"}, remedy=remedy)


def check_known(variables: Mapping[str, Variable], axes: Mapping[int, str], why: str) -> None:
    """Refuses variables of which a size that the graph is built by is not known.

    Args:
        variables: Whose sizes are looked at.
        axes: Axis -> its name.
        why: What the size is needed for.

    Raises:
        ShapeMismatchError: A size is -1.
    """
    faults = [
        ShapeMismatchError(
            f"Expected {key} to have a known size on axis {axis} ({name}), which {why}, got "
            f"{variable}.",
            "Build the network for inputs of a known size; the batch may stay unknown.",
        )
        for key, variable in variables.items()
        for axis, name in axes.items()
        if variable.shape[axis] == -1
    ]
    if faults:
        raise together(faults)


def check_poolable(variables: Mapping[str, Variable], one: str, other: str) -> None:
    """Refuses two maps [N, C, H, W] that differ in size where a size is not known.

    Raises:
        ShapeMismatchError: They differ, and a size to average down to is -1.
    """
    a, b = variables[one], variables[other]
    if not shapes_agree(a.shape[2:], b.shape[2:]):
        check_known({one: a, other: b}, {2: "H", 3: "W"}, "the larger map is averaged down to")


# --- what is compared --------------------------------------------------------------------


def check_maps(variables: Mapping[str, Variable]) -> None:
    """Refuses ``teacher_var`` and ``student_var`` that cannot be compared as maps.

    Raises:
        ShapeMismatchError: A rank is not 4, or sizes differ that must agree.
        DtypeMismatchError: They are not of one floating-point dtype.
    """
    check_floats(variables)
    check_rank(variables, 4, "[N, C, H, W]")
    check_same_batch(variables, "teacher_var", "student_var")
    check_poolable(variables, "teacher_var", "student_var")


def check_samples(variables: Mapping[str, Variable]) -> None:
    """Refuses variables that are not features of the samples of one batch, [N, ...].

    Raises:
        ShapeMismatchError: A rank is below 2, or the batches differ.
        DtypeMismatchError: They are not of one floating-point dtype.
    """
    check_floats(variables)
    check_rank(variables, 2, "[N, ...]", or_more=True)
    check_same_batch(variables, "teacher_var", "student_var")


def check_classes(logits: Variable, least: int, why: str, remedy: str) -> None:
    """Refuses logits of fewer than ``least`` classes, on the last axis.

    Raises:
        ShapeMismatchError: They are fewer.
    """
    classes = logits.shape[CLASSES]
    if classes != -1 and classes < least:
        raise ShapeMismatchError(
            f"Expected at least {least} classes, {why}, got {classes}: {logits}.",
            remedy,
        )


def check_logits(*logits: Variable) -> None:
    """Refuses logits of one class, the last in the text's example: a softmax of one is always 1.

    Raises:
        ShapeMismatchError: There is one class.
    """
    alone = [variable for variable in logits if variable.shape[CLASSES:] in ((1,), ())]
    if not alone:
        return
    names = ", ".join(f"{key}={v.name!r}" for key, v in zip("st", reversed(logits), strict=False))
    taught = "F.sigmoid(t)" if len(logits) > 1 else "y"
    read = "s, t" if len(logits) > 1 else "s, y"
    label = "" if len(logits) > 1 else ", y=NewInput('y', (-1, 1), 'float32')"
    raise ShapeMismatchError(
        f"Expected at least 2 classes on the last axis, got {alone[0]}: a softmax over one "
        "is 1, whatever the logit.",
        f"Teach single logits by a sigmoid: CustomLoss(lambda {read}: "
        f"F.binary_cross_entropy_with_logits(s, {taught}), dict({names}{label})).",
    )


def check_pair_of_logits(pair: Mapping[str, Variable]) -> None:
    """Refuses two variables that are not logits of one shape.

    Raises:
        DtypeMismatchError: They are not of one floating-point dtype.
        ShapeMismatchError: The shapes differ, or there is one class.
    """
    check_floats(pair)
    check_same_shape(pair, *pair)
    check_logits(*pair.values())


def _differing(one: Sequence[int], other: Sequence[int], axes: Sequence[int] = ()) -> str:
    if len(one) != len(other):
        return f"rank {len(one)} against {len(other)}"
    return ", ".join(
        f"axis {axis} is {a} against {b}"
        for axis, a, b in zip(axes or range(len(one)), one, other, strict=True)
        if a != b and -1 not in (a, b)
    )
