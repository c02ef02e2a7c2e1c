from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, overload

import numpy.typing as npt
from paddle import Tensor, _Attr, _DType, _Place, _Shape, dtype
from paddle._typing.libs.libpaddle import _Scope
from paddle.base.core import CPUPlace, CUDAPlace, DenseTensor, ProgramDesc
from paddle.base.framework import Block as _OldBlock
from paddle.base.libpaddle.pir import Block, IrMapping
from paddle.nn.initializer import Initializer
from paddle.static import nn as nn

class Program:
    """A PIR program or, where it says so, an old one: Paddle gives both this name."""

    def global_block(self) -> Block: ...
    @overload
    def clone(self, mapping: IrMapping = ..., /) -> Program: ...
    @overload
    def clone(self, *, for_test: bool) -> Program: ...  # of an old program alone
    def copy_to_block(self, mapping: IrMapping, block: Block, /) -> Block: ...
    def list_vars(self) -> list[Tensor]: ...
    def state_dict(self, mode: str = "all", scope: Scope | None = None) -> dict[str, Tensor]: ...
    lr_name: str  # once an optimizer with a scheduler was here

    # Of an old program alone.
    @property
    def blocks(self) -> list[_OldBlock]: ...
    desc: ProgramDesc

    @staticmethod
    def parse_from_string(binary_str: bytes) -> Program: ...
    def all_parameters(self) -> list[Tensor]: ...

Scope = _Scope

class InputSpec:
    shape: tuple[int, ...]
    dtype: dtype
    name: str | None
    stop_gradient: bool

    def __init__(
        self,
        shape: _Shape,
        dtype: _DType = "float32",
        name: str | None = None,
        stop_gradient: bool = False,
    ) -> None: ...

class Executor:
    place: CPUPlace | CUDAPlace

    def __init__(self, place: _Place | None = None) -> None: ...
    def run(
        self,
        program: Program | None = None,
        feed: Mapping[str, npt.NDArray[Any] | DenseTensor] | None = None,
        fetch_list: Sequence[Tensor | str] | None = None,
        *,
        scope: Scope | None = None,
    ) -> list[npt.NDArray[Any]]: ...
    def close(self) -> None: ...

def Print(input: Tensor) -> Tensor: ...
def data(name: str, shape: _Shape, dtype: _DType | None = None) -> Tensor: ...
def create_parameter(
    shape: Sequence[int],
    dtype: _DType,
    name: str | None = None,
    attr: _Attr = None,
    is_bias: bool = False,
    default_initializer: Initializer | None = None,
) -> Tensor: ...
def default_main_program() -> Program: ...
def default_startup_program() -> Program: ...
def program_guard(
    main_program: Program, startup_program: Program | None = None
) -> AbstractContextManager[None]: ...
def global_scope() -> Scope: ...
def scope_guard(scope: Scope) -> AbstractContextManager[None]: ...
def gradients(
    targets: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    target_gradients: Tensor | Sequence[Tensor] | None = None,
) -> list[Tensor | None]: ...
def normalize_program(
    program: Program, feed_vars: list[Tensor], fetch_vars: list[Tensor]
) -> Program: ...
def save_inference_model(
    path_prefix: str,
    feed_vars: Tensor | list[Tensor],
    fetch_vars: Tensor | list[Tensor],
    executor: Executor,
    *,
    program: Program = ...,
) -> None: ...
def load_inference_model(
    path_prefix: str, executor: Executor
) -> tuple[Program, list[str], list[Tensor]]: ...
