"""Training ends where a loss or a weight is nan or infinite, and says where it came from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import paddle

from purdist import graphs, scopes
from purdist.arrays import Array, Arrays
from purdist.errors import NonFiniteError, RunError
from purdist.training.session import Session
from purdist.training.values import Training, session_of
from purdist.variables import FLOATS


def loss_error(
    training: Training, step: int, batch: int, feed: Arrays, before: Arrays | None
) -> NonFiniteError:
    """The error for a loss that is not finite.

    Args:
        training: What trains. Its running statistics are as they were before the update.
        step: The index of the update.
        batch: Which batch of it it was.
        feed: What was fed.
        before: What was fed before that, None if nobody knows.
    """
    look = _Look(training)
    losses, found = look(feed, step, batch)
    terms = {term: losses[term] for term in training.terms if not np.isfinite(losses[term])}
    meant = set() if before is None else look.infinite(before, step, batch)
    said = ", ".join(f"the term {term!r} is {value}" for term, value in terms.items())
    return NonFiniteError(
        f"Expected a finite loss, got {losses[training.loss]} at step {step}: "
        f"{said or 'each term is finite, their weighted sum is not'}. "
        f"{_first(training, found, meant)}",
        "That update was not made: weights and running statistics are those from before it. Look "
        "at that variable and at the batch; a smaller learning rate, clipping "
        "(paddle.nn.ClipGradByGlobalNorm) or a mask of empty rows often help.",
    )


def others_error(step: int) -> NonFiniteError:
    """The error where the loss of another process is not finite."""
    return NonFiniteError(
        f"Expected a finite loss in all processes, got one that is not at step {step}, in another "
        "than this.",
        "That update was not made in any. The other process says which variable it is.",
    )


def check_weights(session: Session) -> None:
    """Refuses weights, or what an optimizer keeps of them, that are not finite.

    Raises:
        NonFiniteError: The first.
    """
    step = session.progress.steps
    for name, (_, dtype) in scopes.kinds(session.progress.scope, session.kept).items():
        for array in scopes.values(session.progress.scope, [name]).values():
            if not is_finite(array, dtype):
                raise NonFiniteError(
                    f"Expected finite weights after step {step - 1}, got nan or infinite numbers "
                    f"in {name!r}.",
                    "The loss was finite: relu makes 0 of a nan in a feed, and a root at 0 has no "
                    "gradient. Look at what is fed. An earlier checkpoint goes on as it was made "
                    "by resume; its weights alone are taken into another training by "
                    "load_weights(program, 'step_....checkpoint.safetensors', partial=True).",
                )


def is_finite(array: Array, dtype: str) -> bool:
    """Whether all of ``array``, which holds numbers of a ``dtype``, is finite."""
    if dtype == "bfloat16":  # which numpy has as integers; infinity is all bits of the exponent
        return not bool(((array & 0x7F80) == 0x7F80).any())
    if array.dtype.kind not in "fc":
        return True
    with np.errstate(all="ignore"):  # a sum that is finite says all, one that overflows nothing
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())


def _first(training: Training, found: Mapping[str, str], meant: set[str]) -> str:
    """Which variable of the forward graph is not finite, before all others.

    Args:
        training: Whose variables they are.
        found: Name -> ``"nan"``, ``"infinite"`` or '', in the order they are computed.
        meant: What was infinite at the batch before, too: a class that is masked.
    """
    for name, kind in found.items():
        if kind == "nan" or (kind and name not in meant):
            return f"The first variable that is {kind} is {training.program.variables[name]}."
    return "No variable of the forward graph that has a name is."


class _Look:
    """Looks at all variables of a forward graph for numbers that are not finite."""

    def __init__(self, training: Training) -> None:
        self._session = session_of(training)
        self._losses = (training.loss, *training.terms)
        with graphs.building():
            draft = self._session.forward.copy()
            self._names = [
                name
                for name in training.program.variables
                if name in draft.values
                and name not in self._session.statistics  # they are written behind what reads them
                and graphs.dtype_name(draft.values[name].dtype) in FLOATS
            ]
            values = {name: draft.values[name] for name in self._losses}
            with draft.appending():
                for name in self._names:
                    value = graphs.widened(draft.values[name])
                    values[f"{name} nan"] = paddle.isnan(value).any()
                    values[f"{name} infinite"] = paddle.isinf(value).any()
            draft.values = values
            self._run = graphs.Runner(
                draft.finish(), list(values), self._session.progress.scope, self._session.place
            )

    def __call__(
        self, feed: Arrays, step: int, batch: int
    ) -> tuple[dict[str, float], dict[str, str]]:
        """The losses, and of each variable whether it is ``"nan"``, ``"infinite"`` or neither."""
        session = self._session
        found = scopes.values(session.progress.scope, session.statistics)
        try:
            with session.drawing(step, batch):
                numbers = iter(self._run(feed))
        finally:
            scopes.put_each(session.progress.scope, found, session.place)
        losses = {name: float(next(numbers)) for name in self._losses}
        flags = {name: (bool(next(numbers)), bool(next(numbers))) for name in self._names}
        kinds = {(False, False): "", (False, True): "infinite"}
        return losses, {name: kinds.get(flag, "nan") for name, flag in flags.items()}

    def infinite(self, feed: Arrays, step: int, batch: int) -> set[str]:
        """The variables that are infinite somewhere."""
        try:
            return {name for name, kind in self(feed, step, batch)[1].items() if kind}
        except RunError:  # its arrays may have been used for others since
            return set()
