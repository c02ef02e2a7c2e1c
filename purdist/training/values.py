"""The values of training: a `Training`, and each `Step` of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy.typing as npt

from purdist import processor
from purdist.checking import OfThisProcess
from purdist.mappings import FrozenMapping
from purdist.program import Program
from purdist.training.session import Session


@attrs.frozen(eq=False)
class Training(OfThisProcess):
    """A distillation with gradients and an optimizer, ready to train.

    Attributes:
        program: The program that learns. `train` changes the weights in its scope.
        loss: The name of the variable that is minimised.
        terms: The names of its terms, unweighted.
    """

    program: Program
    loss: str
    terms: tuple[str, ...]
    _session: Session = attrs.field(repr=False)

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return self._session.progress.steps

    def __str__(self) -> str:
        """What is minimised, how far it is and where the teacher computes."""
        where = self._session.driver.describe(self.program)
        rows = [("loss", self.loss), ("terms", ", ".join(self.terms)), ("teacher", where)]
        if processor.has_generic_products():
            rows.append(("products", f"on generic kernels: set {processor.VARIABLE}=5 on AMD"))
        return "\n".join(f"{k:<9}{v}" for k, v in (*rows, ("steps", str(self.steps))))


def session_of(training: Training) -> Session:
    """What a training is inside, which those need who move it."""
    return training._session


def _read_only(numbers: Mapping[str, float]) -> Mapping[str, float]:
    return FrozenMapping(numbers)


def _own(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``array`` if it cannot be written, a copy that cannot otherwise."""
    if array.flags.writeable or not array.flags.owndata:  # what it looks at may be written
        array = array.copy()
        array.flags.writeable = False
    return array


def sealed(arrays: Mapping[str, npt.NDArray[Any]]) -> FrozenMapping[str, npt.NDArray[Any]]:
    """``arrays`` that nobody else holds, for a `Step` to keep without a copy."""
    for array in arrays.values():
        array.flags.writeable = False
    return FrozenMapping(arrays)


def _read_only_arrays(fetched: Mapping[str, npt.NDArray[Any]]) -> Mapping[str, npt.NDArray[Any]]:
    if isinstance(fetched, FrozenMapping):  # of another step, or of `train`
        return fetched
    return FrozenMapping({name: _own(array) for name, array in fetched.items()})


@attrs.frozen
class Step:
    """One training step that was taken: a value, of which no part can be written. It pickles.

    Steps are equal that are so in all but what was fetched.

    Attributes:
        index: Counted from 0 over the whole training.
        loss: The loss before the step changed the weights.
        terms: Term name -> its unweighted value.
        weights: Term name -> the factor that it had in the loss.
        learning_rate: What the optimizer was given; a parameter's own factor is not in it.
        fetched: What was asked for, by name: arrays that cannot be written.
    """

    index: int
    loss: float
    terms: Mapping[str, float] = attrs.field(converter=_read_only)
    weights: Mapping[str, float] = attrs.field(converter=_read_only)
    learning_rate: float
    fetched: Mapping[str, npt.NDArray[Any]] = attrs.field(
        factory=dict, converter=_read_only_arrays, eq=False, repr=False
    )

    def __reduce__(self) -> tuple[type[Step], tuple[object, ...]]:
        # Arrays that are unpickled can be written: those of a dict are taken for such.
        told = (self.index, self.loss, self.terms, self.weights, self.learning_rate)
        return Step, (*told, dict(self.fetched))
