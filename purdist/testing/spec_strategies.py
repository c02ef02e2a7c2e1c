"""Hypothesis strategies of losses: made by the types of their fields, with arrays that fit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Annotated, Any, Literal, TypedDict, TypeVar, get_args, get_origin, overload

import attrs
import numpy as np
from hypothesis import strategies as st

from purdist.arrays import Array, Arrays
from purdist.checking import Number, guard
from purdist.errors import InvalidArgumentError, PurdistError
from purdist.losses import CATALOGUE
from purdist.losses.fields import beside_none, field_types, part_of
from purdist.losses.schedule import Schedule
from purdist.losses.spec import LossSpec
from purdist.variables import Dtype, NewInput, Variable, name_of

T = TypeVar("T", bound=LossSpec)


_MODERATE = 0.5


class Given(TypedDict):
    """The arguments of a law of losses, beside the loss."""

    teacher: Arrays
    student: Arrays
    inputs: Arrays


def schedules() -> st.SearchStrategy[Schedule]:
    """Schedules of every kind, composed. They shrink towards constants."""
    return _schedules()


@cache  # to make and to check one takes longer than to draw from it
def _schedules() -> st.SearchStrategy[Schedule]:
    numbers = st.floats(-4, 4, allow_subnormal=False)  # half of the least is 0, another weight
    steps = st.integers(1, 50)
    single = st.one_of(
        st.builds(Schedule.constant, numbers),
        st.builds(Schedule.linear, numbers, numbers, steps),
        st.builds(Schedule.warmup, steps),
        st.builds(Schedule.cosine, numbers, numbers, steps),
    )

    def composed(inner: st.SearchStrategy[Schedule]) -> st.SearchStrategy[Schedule]:
        pieces = st.dictionaries(st.integers(1, 50), inner, max_size=2)
        behind = st.tuples(inner, pieces).map(lambda pair: {0: pair[0], **pair[1]})
        product = st.builds(lambda one, other: one * other, inner, inner)
        return st.one_of(st.builds(Schedule.piecewise, behind), product)

    return st.recursive(single, composed, max_leaves=4)


@overload
def specs() -> st.SearchStrategy[LossSpec]: ...
@overload
def specs(*kinds: type[T]) -> st.SearchStrategy[T]: ...
def specs(*kinds: type[LossSpec]) -> st.SearchStrategy[Any]:
    """Losses of these classes, with variables, weights and options of every kind that is allowed.

    Options are drawn by the types and bounds of the fields: numbers by `Number`, choices by
    ``Literal``; what neither says is left as by default. Each reads variables of its own, and
    `arrays_for` has arrays for it. They shrink towards plain options and a weight of 1.

    Args:
        kinds: The classes; all losses of purdist if there are none.

    Raises:
        InvalidArgumentError: One has a field without a default whose type does not say what it
            takes.
    """
    for kind in kinds:  # those of purdist are held to it by its own tests
        for field, hint in _made_with(kind):
            if field.default is attrs.NOTHING and _values(hint, field) is None:
                raise InvalidArgumentError(
                    f"Expected the type of {kind.__name__}.{field.name} to say what it takes, got "
                    f"{field.type}.",
                    f"Draw it yourself: hypothesis.strategies.builds({kind.__name__}, ...).",
                )
    return st.sampled_from(kinds or CATALOGUE).flatmap(_of_kind)


def arrays_for(spec: LossSpec, *, min_rows: int = 3, max_rows: int = 5) -> st.SearchStrategy[Given]:
    """Arrays for a loss, of the smallest shapes that its `check` allows: what a law takes.

    A law of losses, held against one::

        import hypothesis, hypothesis.strategies as st

        @hypothesis.settings(deadline=None, max_examples=3)
        @hypothesis.given(st.data())
        def test_kd(data):
            spec = data.draw(specs(KDLoss))
            for law in LOSS_LAWS:
                law(spec, **data.draw(arrays_for(spec)))

        test_kd()

    Args:
        spec: The loss.
        min_rows: Of the batch. Losses between samples are 0 of two samples or fewer.
        max_rows: Of the batch.

    Raises:
        InvalidArgumentError: No shapes were found: each variable of one shape, of rank 2 to 4.
    """
    shapes = _shapes(spec)
    if shapes is None:
        raise InvalidArgumentError(
            f"Expected a loss over variables of one shape, of rank 2 to 4, got {spec}.",
            "Make the arrays yourself.",
        )
    return st.builds(
        lambda rows, seed: _given(spec, shapes, rows, seed),
        st.integers(min_rows, max_rows),
        st.integers(0, 2**32 - 1),
    )


# --- losses -----------------------------------------------------------------------------


def _made_with(kind: type[LossSpec]) -> Iterator[tuple[attrs.Attribute[Any], Any]]:
    """The fields of a loss that are its own, each with its type."""
    types = field_types(kind)
    for field in attrs.fields(kind):
        if field.init and field.name not in ("weight", "name"):
            yield field, types[field.name]


@st.composite
def _of_kind(draw: st.DrawFn, kind: type[LossSpec]) -> LossSpec:
    numbered = itertools.count()
    values: dict[str, Any] = {}
    for field, hint in _made_with(kind):
        drawn = _values(hint, field)
        if drawn is not None:
            values[field.alias or field.name] = _named(draw(drawn), numbered)
    weight = draw(st.just(1.0) | st.floats(0.0, 4.0, allow_subnormal=False) | _schedules())
    try:
        spec = kind(**values, weight=weight)
    except InvalidArgumentError:  # options that do not go together
        spec = None
    if spec is None or _shapes(spec) is None:
        return draw(st.nothing())
    return spec


@attrs.frozen
class _Unnamed:
    """A variable that gets a name of its own: a stem, and whether it is a new input."""

    stem: str
    dtype: Literal["int64", "float32"] | None = None
    rank: int = 1


def _named(value: object, numbered: Iterator[int]) -> object:
    if isinstance(value, tuple):
        return tuple(_named(inner, numbered) for inner in value)
    if not isinstance(value, _Unnamed):
        return value
    name = f"{value.stem}{next(numbered)}"
    return name if value.dtype is None else NewInput(name, (-1,) * value.rank, value.dtype)


_VARIABLES: Mapping[str, st.SearchStrategy[_Unnamed]] = {
    "teacher": st.just(_Unnamed("teacher_")),
    "student": st.just(_Unnamed("student.")),
    "label": st.sampled_from([_Unnamed("label"), _Unnamed("label", "int64")]),
    "mask": st.sampled_from(
        [_Unnamed("mask"), *(_Unnamed("mask", "float32", rank) for rank in (1, 2))]
    ),
}


def _values(hint: Any, field: attrs.Attribute[Any]) -> st.SearchStrategy[Any] | None:
    """What a field takes, None where its type does not say."""
    part = part_of(hint)
    if part is not None:
        return _VARIABLES[part]
    inner = beside_none(hint)
    if inner is not None:
        some = _values(inner, field)
        return None if some is None else st.none() | some
    origin, kinds = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _numbers(kinds[0], [mark for mark in kinds[1:] if isinstance(mark, Number)], field)
    if origin is Literal:
        return st.sampled_from(kinds)
    if origin is tuple:
        return _tuples(kinds, field)
    if hint is bool:
        return st.booleans()
    return _numbers(hint, [], field)


def _tuples(kinds: tuple[Any, ...], field: attrs.Attribute[Any]) -> st.SearchStrategy[Any] | None:
    each = [_values(kind, field) for kind in kinds if kind is not Ellipsis]
    known = [drawn for drawn in each if drawn is not None]
    if len(known) < len(each):
        return None
    if Ellipsis in kinds:
        return st.lists(known[0], min_size=1, max_size=3).map(tuple)
    return st.tuples(*known)


def _numbers(
    kind: object, bounds: list[Number], field: attrs.Attribute[Any]
) -> st.SearchStrategy[Any] | None:
    """Numbers within the bounds, those that the field's validator knows among them."""
    if kind not in (int, float):
        return None
    asked = [*bounds, *([field.validator] if isinstance(field.validator, Number) else [])]
    low = max([-4.0, *(n.least for n in asked), *(n.above for n in asked)])
    high = min([low + 8.0, *(n.most for n in asked), *(n.below for n in asked)])
    positive = low > 0 or (low == 0 and not all(0 in n for n in asked))
    if positive and low < _MODERATE < high:  # a millionth leaves float32 few digits
        low = _MODERATE
    whole = kind is int or any(n.whole for n in asked)
    drawn = st.integers(int(low), int(high)) if whole else st.floats(low, high)
    return drawn.filter(lambda number: all(number in n for n in asked))


# --- arrays -----------------------------------------------------------------------------

_SIZES = ((5,), (3,), (4,), (3, 4), (3, 5), (3, 6), (3, 7), (3, 8), (4, 4, 4), (2, 5, 5))
"""Shapes that are tried, without the batch."""

_Shapes = Mapping[str, tuple[int, ...]]


@lru_cache(maxsize=1024)
def _shapes(spec: LossSpec) -> _Shapes | None:
    """Variable -> shape without the batch, the first that the loss is defined for."""
    for size in _SIZES:
        # Rows are all axes but the classes': the last of two or three, the first of maps.
        for rows in {size[:-1], size[1:]}:
            found = {
                key: size if spec.part(key) in ("teacher", "student") else rows
                for key in spec.variables
            }
            if _allows(spec, found):
                return {name_of(spec.variables[key]): shape for key, shape in found.items()}
    return None


def _allows(spec: LossSpec, shapes: _Shapes) -> bool:
    variables: dict[str, Variable] = {}
    for key, read in spec.variables.items():
        shape = (-1, *shapes[key])
        if isinstance(read, NewInput) and len(read.shape) != len(shape):
            return False
        dtype = read.dtype if isinstance(read, NewInput) else _dtype(spec, key)
        variables[key] = Variable(name_of(read), shape, dtype, "activation")
    try:
        spec.check(variables)
    except PurdistError:
        return False
    return True


def _dtype(spec: LossSpec, key: str) -> Dtype:
    return "int64" if spec.part(key) == "label" else "float32"


def _given(spec: LossSpec, shapes: _Shapes, rows: int, seed: int) -> Given:
    random = np.random.RandomState(seed)
    teacher: dict[str, Array] = {}
    student: dict[str, Array] = {}
    inputs: dict[str, Array] = {}
    classes = min(shape[-1] for shape in shapes.values() if shape)
    for key, read in spec.variables.items():
        name, part = name_of(read), spec.part(key)
        shape = (rows, *shapes[name])
        if part in ("teacher", "student"):
            side = teacher if part == "teacher" else student
            side[name] = random.standard_normal(shape).astype(np.float32)
        else:
            drawn = random.randint(0, classes if part == "label" else 2, shape)
            dtype = read.dtype if isinstance(read, NewInput) else _dtype(spec, key)
            inputs[name] = drawn.astype(dtype)
    return Given(teacher=teacher, student=student, inputs=inputs)


guard(("schedules", "specs", "arrays_for"), globals())
