"""What tests of losses share."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pytest

from purdist import LossSpec
from purdist.losses import CATALOGUE
from purdist.testing import Arrays, evaluating, laws
from purdist.testing.evaluating import Evaluator


@pytest.fixture(scope="module")
def built_once() -> Iterator[None]:
    """What was built for a loss and arrays serves later ones of the same names, dtypes and sizes.

    Building takes most of the time of an evaluation. Losses of the catalogue alone, which are
    values that running leaves as they are: a user's function may be another each time.
    """
    built = dict[object, Evaluator]()

    def evaluator(
        spec: LossSpec,
        teacher: Arrays,
        student: Arrays,
        inputs: Arrays,
        unknown_axes: Collection[int] = (0,),
    ) -> Evaluator:
        sides = tuple(
            (side, name, array.dtype, known(array.shape, unknown_axes))
            for side, arrays in enumerate((teacher, student, inputs))
            for name, array in arrays.items()
        )
        if (found := built.get((spec, sides))) is None:
            found = Evaluator(spec, teacher, student, inputs, unknown_axes)
            if type(spec) in CATALOGUE:
                built[spec, sides] = found
        return found

    with pytest.MonkeyPatch.context() as patch:
        for module in (evaluating, laws):
            patch.setattr(module, "Evaluator", evaluator)
        yield


def known(shape: tuple[int, ...], unknown_axes: Collection[int]) -> tuple[int, ...]:
    """The sizes that a program is told."""
    return tuple(-1 if k in unknown_axes else size for k, size in enumerate(shape))
