"""The one table of losses that tests read: a row each, in the file of what it compares."""

from __future__ import annotations

import re

import pytest

from purdist import CustomLoss
from tests.losses import features, logits, maps, samples, tokens
from tests.losses.row import LOGITS, Case, Row
from tests.own_loss import PseudoHuberLoss

ROWS: tuple[Row, ...] = (
    *logits.ROWS,
    *features.ROWS,
    *maps.ROWS,
    *samples.ROWS,
    *tokens.ROWS,
)
"""The losses of the catalogue."""

OWN = (
    Case(PseudoHuberLoss("t", "s", delta=0.5), LOGITS),
    Case(CustomLoss(lambda t, s: (t - s).abs().mean(), {"t": "t", "s": "s"}), LOGITS),
)

CASES = (*(case for row in ROWS for case in row.cases), *OWN)
"""Every loss in every form, and those that are a user's."""

OVER_CLASSES = tuple(case for row in ROWS if row.over_classes for case in row.cases)


def identity(case: Case) -> str:
    """A loss in the name of a test, the same in every process: functions without addresses."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(case.spec))[:60]


each_case = pytest.mark.parametrize("case", CASES, ids=identity)
