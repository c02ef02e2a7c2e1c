"""One example of the fuzzer: a distillation run by purdist, and by hand in dygraph."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import paddle

import purdist
from tests.adversarial.by_hand import by_hand
from tests.adversarial.by_purdist import by_purdist
from tests.adversarial.examples import Example
from tests.adversarial.reference import (
    DiffersError,
    close,
    near,
)


def differs(example: Example) -> Iterator[str]:
    """What of an example is not as by hand; nothing if it is no example."""
    paddle.disable_static()
    warnings.simplefilter("ignore")
    try:
        expected, answers = by_hand(example)
        nudged, moved = by_hand(example, nudge=1e-6)
        near(expected, nudged)
        list(map(close, moved, answers, ("answer", "answer")))
    except Exception:
        return  # dygraph cannot, or what it computes hangs on its rounding
    if not np.isfinite(expected.losses).all() or max(expected.losses) > 1e3:
        return
    yield "expected"
    try:
        by_purdist(example, expected, answers)
    except purdist.EngineError:
        yield "no engine"
    except purdist.PurdistError as error:
        yield f"refused: {type(error).__name__}: {error}"
    except DiffersError as error:
        yield f"differs: {error}"
