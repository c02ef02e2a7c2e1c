"""All of Paddle, for tests that walk it: our stubs are of the part that purdist uses."""

from __future__ import annotations

import importlib
from typing import Any

paddle: Any = importlib.import_module("paddle")
nn: Any = paddle.nn
F: Any = paddle.nn.functional
