from collections.abc import Sequence
from typing import Any, Literal

class LRScheduler:
    last_epoch: int
    def __init__(self, learning_rate: float = 0.1, last_epoch: int = -1) -> None: ...
    def __call__(self) -> float: ...
    def step(self, epoch: int | None = None) -> None: ...
    def get_lr(self) -> float: ...
    def state_dict(self) -> dict[str, Any]: ...

class CosineAnnealingDecay(LRScheduler):
    def __init__(
        self, learning_rate: float, T_max: int, eta_min: float = 0, last_epoch: int = -1
    ) -> None: ...

class CosineAnnealingWarmRestarts(LRScheduler):
    def __init__(
        self,
        learning_rate: float,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0,
        last_epoch: int = -1,
    ) -> None: ...

class LinearWarmup(LRScheduler):
    learning_rate: float | LRScheduler
    def __init__(
        self,
        learning_rate: float | LRScheduler,
        warmup_steps: int,
        start_lr: float,
        end_lr: float,
        last_epoch: int = -1,
    ) -> None: ...

class ReduceOnPlateau(LRScheduler):
    def __init__(
        self,
        learning_rate: float,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float = 0,
    ) -> None: ...
    def step(self, metrics: float, epoch: int | None = None) -> None: ...  # type: ignore[override]  # so does Paddle

class StepDecay(LRScheduler):
    def __init__(
        self, learning_rate: float, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None: ...

class OneCycleLR(LRScheduler):
    def __init__(self, max_learning_rate: float, total_steps: int) -> None: ...
