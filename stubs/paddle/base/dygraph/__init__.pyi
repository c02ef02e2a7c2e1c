"""Dynamic mode."""

from contextlib import AbstractContextManager

from paddle.base.dygraph import base as base

def guard() -> AbstractContextManager[None]: ...

from paddle.base.dygraph import base as base
