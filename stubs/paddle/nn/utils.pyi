from typing import TypeVar

from paddle.nn import Layer

L = TypeVar("L", bound=Layer)

def weight_norm(layer: L, name: str = "weight", dim: int = 0) -> L: ...
def spectral_norm(layer: L, name: str = "weight") -> L: ...
