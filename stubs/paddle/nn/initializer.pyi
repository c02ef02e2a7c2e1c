from typing import Any

import numpy.typing as npt
from paddle import Tensor

class Initializer: ...

class Constant(Initializer):
    def __init__(self, value: float = 0.0) -> None: ...

class Normal(Initializer):
    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None: ...

class KaimingUniform(Initializer):
    def __init__(
        self,
        fan_in: float | None = None,
        negative_slope: float = 0.0,
        nonlinearity: str = "relu",
    ) -> None: ...
