"""One term of a loss, built by its spec in a program of its own.

What a spec's code does to values, programs and modes cannot reach the networks there: what it
gets are feeds that stand in for their variables. What it built is copied once it is found good.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import attrs
import paddle
from paddle.utils import unique_name

from purdist import graphs
from purdist.building.chance import same_chance
from purdist.building.code import Build, Code
from purdist.errors import (
    BuildError,
    DtypeMismatchError,
    ForeignValueError,
    InvalidArgumentError,
    PurdistError,
    ShapeMismatchError,
    some,
)
from purdist.losses.custom import CustomLoss
from purdist.losses.spec import LossSpec
from purdist.variables import FLOATS


@attrs.frozen(eq=False)
class Term:
    """What a spec built.

    Attributes:
        program: It alone, with a feed for each variable.
        startup: Sets its parameters.
        feeds: What the feeds are: by the keys of the spec's variables.
        digests: What a `LossSpec.digest` of the spec's own returned.
        result: The scalar.
    """

    program: paddle.static.Program
    startup: paddle.static.Program
    feeds: Mapping[str, paddle.Tensor]
    digests: Mapping[str, paddle.Tensor]
    result: paddle.Tensor


def build_term(
    name: str,
    spec: LossSpec,
    variables: Mapping[str, paddle.Tensor],
    taught: Collection[str] = (),
    *,
    sizes: Callable[[Sequence[int]], list[int]] = list,
    again: bool = True,
) -> Term:
    """Calls the code of ``spec`` with stand-ins for ``variables``, of the shapes of ``sizes``.

    Where it asks for numbers, in an if or a loop, it is converted and called again.

    Args:
        name: What the term is called.
        spec: What builds it.
        variables: By the keys of the spec's variables.
        taught: The keys of those that go through `LossSpec.digest`.
        again: Call code of a user's once more, which must do the same.
        sizes: Makes the shape of a stand-in of that of a variable.

    Raises:
        BuildError: It raised; what it raised is the cause.
        DtypeMismatchError: It returned no floating-point number.
        ForeignValueError: It used or returned what is not of its program.
        InvalidArgumentError: It added gradients or an optimizer, its digest is no mapping of
            keys of its own, or it remembers something from call to call.
        ShapeMismatchError: It returned no scalar.
    """
    if is_ours(spec):
        return _build(Code.of(name, spec, taught), variables, sizes, ours=True)
    built = _built_twice if again else functools.partial(_build, ours=False)
    try:
        return built(Code.of(name, spec, taught), variables, sizes)
    except BuildError as error:
        if not isinstance(error.__cause__, graphs.NumbersError):
            raise
        asked = error
    with Code.converted(name, spec, taught) as code:
        if code is None:
            raise asked
        try:
            return built(code, variables, sizes)
        except BuildError:
            raise asked from asked.__cause__


def _built_twice(
    code: Code,
    variables: Mapping[str, paddle.Tensor],
    sizes: Callable[[Sequence[int]], list[int]],
) -> Term:
    """What code of a user's builds, if it builds the same when it is called again."""
    with same_chance() as again:
        term = _build(code, variables, sizes, ours=False)
        digests = code.digests
        again()
        try:
            other = _build(code, variables, sizes, ours=False)
        except ForeignValueError:
            raise _remembering(code.name, "one that meets a value of the call before") from None
        code.digests = digests
    if graphs.signature(term.program) != graphs.signature(other.program):
        raise _remembering(code.name, "one that computes something else when it is called again")
    return term


def _build(
    code: Code,
    variables: Mapping[str, paddle.Tensor],
    sizes: Callable[[Sequence[int]], list[int]],
    *,
    ours: bool,
) -> Term:
    name, draft, startup = code.name, graphs.Draft(), paddle.static.Program()
    if not ours:  # whose values somebody may keep
        graphs.keep_graph(draft.program)
        graphs.keep_graph(startup)
    with _alone(draft), draft.appending(startup):
        feeds = {key: _stand_in(key, value, sizes(value.shape)) for key, value in variables.items()}
        with unique_name.guard(f"{name}/"):
            if ours:
                result = _own(name, draft, code(feeds))
            else:
                overwriting = graphs.Overwriting()
                result = _own(name, draft, _called(name, code, feeds, overwriting))
                result = _newest(name, draft, result, overwriting)
            result = _scalar(name, result)
            if not ours and graphs.drops_unknown_axes(draft.operations()):
                result = graphs.only_number(result, f"{name}: {_ONE_NUMBER}")
    _check(name, draft)
    graphs.mend_loops(draft)
    graphs.tie_parameters(draft)
    return Term(draft.finish().program, startup, feeds, code.digests, result)


@contextmanager
def _alone(draft: graphs.Draft) -> Iterator[None]:
    """Lets ``draft`` hold no other program back where it fails: those may be dropped."""
    try:
        yield
    except Exception:
        graphs.let_go_of_others(draft)
        raise


_ONE_NUMBER = (
    "Expected a scalar, got more numbers"
    " | Reduce it with .mean() over all axes: an axis of unknown size that squeeze takes off in "
    "the graph stays where its size is not 1."
)

_KNOWN = (
    " If it needs sizes that are not known here, write it with ops on all rows at once, or build "
    "the networks with a known batch."
)


def _stand_in(key: str, value: paddle.Tensor, shape: Sequence[int]) -> paddle.Tensor:
    feed = paddle.static.data(key, shape, value.dtype)
    feed.stop_gradient = value.stop_gradient
    return feed


def is_ours(spec: LossSpec) -> bool:
    """Whether no code of a user's builds ``spec``."""
    return graphs.is_ours(spec) and not isinstance(spec, CustomLoss)


def _called(
    name: str, build: Build, feeds: Mapping[str, paddle.Tensor], overwriting: graphs.Overwriting
) -> object:
    """What code of a user's returns."""
    foreign: list[str] = []
    try:
        with graphs.asking(foreign.append), overwriting.recorded():
            result = build(feeds)
    except PurdistError:
        raise
    except graphs.NumbersError as error:
        raise BuildError(
            f"{name}: Expected the loss to compute with values, got code that asks for {error}, in "
            f"{graphs.place_in_source(error)}.",
            "Write it with Paddle's ops on all rows at once, such as paddle.where for an if, or "
            "build the networks with a known batch. In a function with def, an if, max and min of "
            "sizes, and a for over range(x.shape[0]) that adds up to one tensor, from 0.0 on, work "
            "as well; rows have no end that zip, list or a comprehension could come to.",
        ) from error
    except graphs.OutsideWriteError as error:
        raise _remembering(name, f"{error} in {graphs.place_in_source(error)}") from error
    except Exception as error:
        if foreign:
            raise _foreign(name, foreign[0]) from error
        raise BuildError(
            f"{name}: Expected the loss to build, got {type(error).__name__} in "
            f"{graphs.place_in_source(error)}: {graphs.said(str(error))}",
            "The exception that it raised is the cause of this one, with its traceback."
            + (_KNOWN if any(-1 in feed.shape for feed in feeds.values()) else ""),
        ) from error
    if foreign:
        raise _foreign(name, foreign[0])
    return result


def _own(name: str, draft: graphs.Draft, result: object) -> paddle.Tensor:
    """``result`` if it is a value of ``draft``, and that is made of its own values."""
    if not graphs.is_value(result):
        raise ForeignValueError(
            f"{name}: Expected one value of the program, got {type(result).__name__}.",
            "Return what the ops on the function's arguments compute.",
        )
    ops = draft.operations()
    if not graphs.value_ids(ops).issuperset({*graphs.read_ids(ops), graphs.value_id(result)}):
        raise _foreign(name, "a value or layer of another program")
    return result


def _newest(
    name: str, draft: graphs.Draft, value: paddle.Tensor, overwriting: graphs.Overwriting
) -> paddle.Tensor:
    """``value`` after all that was written over, which every read gets the newest of."""
    try:
        overwriting.settle(draft)
        last = max(map(graphs.op_id, draft.operations()))
        return overwriting.newest(value, until=last)
    except graphs.StaleReadError as error:
        raise InvalidArgumentError(
            f"{name}: Expected what is written over to be read as it then is, got "
            f"{error.statement}: {error.why}.",
            "Assign to a new name: s = s + 1 for s.add_(1), paddle.where for s[mask] = 0.",
        ) from error


def _scalar(name: str, value: paddle.Tensor) -> paddle.Tensor:
    """``value`` if it is a floating-point scalar, with its axes of size 1 taken off."""
    if any(size != 1 for size in value.shape):
        raise ShapeMismatchError(
            f"{name}: Expected a scalar, got a value of shape {list(value.shape)}.",
            "Reduce it, with .mean() or .sum().",
        )
    if graphs.dtype_name(value.dtype) not in FLOATS:
        raise DtypeMismatchError(
            f"{name}: Expected a floating-point scalar, got {graphs.dtype_name(value.dtype)}.",
            "Cast it with .astype('float32').",
        )
    value = graphs.widened(value)  # what is summed up and told keeps its digits
    return value.reshape([]) if value.shape else value


def _check(name: str, draft: graphs.Draft) -> None:
    ops = graphs.optimizer_operations(draft.program)
    if ops:
        raise InvalidArgumentError(
            f"{name}: Expected a loss, got one that adds gradient or optimizer ops: {some(ops)}.",
            "Leave append_backward, paddle.grad and minimize out of it: purdist.minimize adds the "
            "gradients of the whole loss.",
        )


def _remembering(name: str, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{name}: Expected a loss that computes the same at each call, got {what}. Its code is "
        "called while the graph is built, and not at each step.",
        "Feed what changes from step to step (a NewInput), let a Schedule weigh the term, or keep "
        "it in a buffer of the student, which forward writes.",
    )


def _foreign(name: str, what: str) -> ForeignValueError:
    return ForeignValueError(
        f"{name}: Expected the loss to compute with its arguments and with layers it makes "
        f"itself, got {what} from outside.",
        "Make the layer inside the function; it becomes part of the program, trainable, under "
        "the term's name.",
    )
