from contextlib import AbstractContextManager

from paddle import Tensor
from paddle.static import Program as Program

class Parameter(Tensor):
    """A parameter of an old program."""

class Variable:
    """A value of an old program."""

class Operator:
    """An op of an old program."""

    type: str

    @property
    def output_names(self) -> list[str]: ...
    def output(self, name: str) -> list[str]: ...

class Block:
    """A block of an old program."""

    ops: list[Operator]
    vars: dict[str, Tensor]

    def var(self, name: str) -> Tensor: ...

class NameStruct:
    """Counts the layers of each kind that were called, for the paths they leave on ops."""

    _children: dict[str, list[NameStruct]]

stride_ops: list[str]
_name_struct: NameStruct

def in_pir_mode() -> bool: ...
def _current_expected_place_() -> object: ...
def _dygraph_guard(tracer: None) -> AbstractContextManager[None]: ...
