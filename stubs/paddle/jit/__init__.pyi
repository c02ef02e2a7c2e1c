from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

from paddle import Tensor
from paddle.nn import Layer
from paddle.static import Program

_Layer = TypeVar("_Layer", bound=Layer)

class _ConcreteProgram:
    main_program: Program
    inputs: Sequence[Any]  # as nested as the arguments of the function
    outputs: Sequence[Tensor]
    parameters: tuple[list[Tensor], list[Tensor]]  # with memory, and in the graph

class _StaticFunction:
    @property
    def concrete_program(self) -> _ConcreteProgram: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

class TranslatedLayer(Layer): ...

@overload
def to_static(  # type: ignore[overload-overlap]  # a layer can be called, and stays a layer
    function: _Layer, input_spec: Sequence[object] | None = None, *, full_graph: bool = True
) -> _Layer: ...
@overload
def to_static(
    function: Callable[..., Any],
    input_spec: Sequence[object] | None = None,
    *,
    full_graph: bool = True,
) -> _StaticFunction: ...
def save(
    layer: Layer | Callable[..., Any], path: str, input_spec: Sequence[object] | None = None
) -> None: ...
def load(path: str) -> TranslatedLayer: ...
