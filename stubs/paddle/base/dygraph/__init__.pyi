from contextlib import AbstractContextManager

def guard() -> AbstractContextManager[None]: ...

from paddle.base.dygraph import base as base
