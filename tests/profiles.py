"""Which profile of the tests runs."""

from __future__ import annotations

import os

SLOW = "slow" in os.environ.get("PURDIST_TESTS", "")
"""``PURDIST_TESTS=slow`` runs what takes long beside the usual tests."""
