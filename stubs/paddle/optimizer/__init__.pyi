from collections.abc import Callable, Sequence

from paddle import Tensor
from paddle.base.libpaddle.pir import Operation
from paddle.nn import _ClipGradBase
from paddle.optimizer import lr as lr
from paddle.optimizer.lr import LRScheduler
from paddle.regularizer import WeightDecayRegularizer
from paddle.static import Program

class Optimizer:
    _learning_rate: float | LRScheduler
    _learning_rate_map: dict[Program, Tensor]
    _parameter_list: list[Tensor] | None
    _param_groups: list[object]
    _grad_clip: _ClipGradBase | None
    regularization: WeightDecayRegularizer | None
    _apply_decay_param_fun: Callable[[str], bool] | None
    _exclude_from_weight_decay_fn: Callable[[Tensor], bool] | None
    _exclude_from_weight_decay: list[str]
    _append_optimize_op: Callable[..., object]

    def __init__(
        self,
        learning_rate: float | LRScheduler,
        parameters: Sequence[Tensor] | None = None,
        weight_decay: float | WeightDecayRegularizer | None = None,
        grad_clip: _ClipGradBase | None = None,
    ) -> None: ...
    def minimize(
        self, loss: Tensor, startup_program: Program | None = None
    ) -> tuple[list[Operation] | None, list[tuple[Tensor, Tensor]]]: ...
    def backward(self, loss: Tensor) -> list[tuple[Tensor, Tensor]]: ...
    def apply_gradients(self, params_grads: list[tuple[Tensor, Tensor]], /) -> object: ...
    def _apply_optimize(
        self,
        loss: Tensor,
        startup_program: Program | None,
        params_grads: list[tuple[Tensor, Tensor]],
    ) -> object: ...
    def step(self) -> None: ...
    def clear_grad(self, set_to_zero: bool = True) -> None: ...
    def get_lr(self) -> float: ...

class SGD(Optimizer):
    def __init__(
        self,
        learning_rate: float | LRScheduler = 0.001,
        parameters: Sequence[Tensor] | None = None,
        weight_decay: float | WeightDecayRegularizer | None = None,
        grad_clip: _ClipGradBase | None = None,
    ) -> None: ...

class Momentum(Optimizer):
    def __init__(
        self,
        learning_rate: float | LRScheduler = 0.001,
        momentum: float = 0.9,
        parameters: Sequence[Tensor] | None = None,
        use_nesterov: bool = False,
        weight_decay: float | WeightDecayRegularizer | None = None,
        grad_clip: _ClipGradBase | None = None,
    ) -> None: ...

class Adam(Optimizer):
    def __init__(
        self,
        learning_rate: float | LRScheduler = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        parameters: Sequence[Tensor] | None = None,
        weight_decay: float | WeightDecayRegularizer | None = None,
        grad_clip: _ClipGradBase | None = None,
    ) -> None: ...

class AdamW(Optimizer):
    def __init__(
        self,
        learning_rate: float | LRScheduler = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        parameters: Sequence[Tensor] | None = None,
        weight_decay: float = 0.01,
        *,
        apply_decay_param_fun: Callable[[str], bool] | None = None,
        grad_clip: _ClipGradBase | None = None,
        multi_precision: bool = False,
    ) -> None: ...

class Lamb(Optimizer):
    def __init__(
        self,
        learning_rate: float = 0.001,
        lamb_weight_decay: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-6,
        parameters: Sequence[Tensor] | None = None,
        grad_clip: _ClipGradBase | None = None,
    ) -> None: ...

class ASGD(Optimizer):
    _n: int
