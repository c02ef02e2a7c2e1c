"""Which profile of the tests runs."""

from __future__ import annotations

import os

SLOW = "slow" in os.environ.get("PURDIST_TESTS", "")
"""``PURDIST_TESTS=slow`` runs what takes long beside the usual tests."""


def examples(count: int) -> int:
    """How many a property draws: all in the slow profile, a third otherwise, at least 3."""
    return count if SLOW else max(3, count // 3)
