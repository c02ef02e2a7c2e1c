from paddle import Tensor
from paddle.static import Program

class _Recorder:
    params_dict: dict[int, object]
    tensor2value: dict[int, object]

class _InplaceMap:
    params_dict: dict[int, object]
    def add(self, program: Program, origin_value: Tensor, new_value: Tensor) -> None: ...
    def pop(self, program: Program) -> None: ...

_global_parameter_recorder: _Recorder
_global_inplace_map: _InplaceMap
