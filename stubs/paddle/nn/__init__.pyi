from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from paddle import Tensor, _Attr, _DType
from paddle.nn import functional as functional
from paddle.nn import initializer as initializer
from paddle.nn import utils as utils
from paddle.nn.initializer import Initializer

_Size = int | Sequence[int]

class _ClipGradBase: ...

class ClipGradByNorm(_ClipGradBase):
    def __init__(self, clip_norm: float) -> None: ...

class ClipGradByValue(_ClipGradBase):
    max: float
    min: float
    def __init__(self, max: float, min: float | None = None) -> None: ...

class ClipGradByGlobalNorm(_ClipGradBase):
    auto_skip_clip: bool
    def __init__(
        self, clip_norm: float, group_name: str = ..., auto_skip_clip: bool = False
    ) -> None: ...

class _HookRemoveHelper:
    def remove(self) -> None: ...

class Layer:
    training: bool
    _parameters: dict[str, Tensor | None]
    _buffers: dict[str, Tensor | None]

    def __init__(self, name_scope: str | None = None, dtype: _DType = "float32") -> None: ...
    # Parameters, buffers and sublayers are attributes too, whoever registered them.
    def __getattr__(self, name: str) -> Any: ...
    # What a layer returns is its own affair; most return one tensor, and all those here do.
    def __call__(self, *inputs: Any, **kwargs: Any) -> Any: ...
    def forward(self, *inputs: Any, **kwargs: Any) -> Any: ...
    def train(self) -> None: ...
    def eval(self) -> None: ...
    def full_name(self) -> str: ...
    def sublayers(self, include_self: bool = False) -> list[Layer]: ...
    def named_sublayers(
        self,
        prefix: str = "",
        include_self: bool = False,
        layers_set: set[Layer] | None = None,
        remove_duplicate: bool = True,
    ) -> Iterable[tuple[str, Layer]]: ...
    def parameters(self, include_sublayers: bool = True) -> list[Tensor]: ...
    def named_parameters(
        self, prefix: str = "", include_sublayers: bool = True, remove_duplicate: bool = True
    ) -> Iterable[tuple[str, Tensor]]: ...
    def buffers(self, include_sublayers: bool = True) -> list[Tensor]: ...
    def register_buffer(
        self, name: str, tensor: Tensor | None, persistable: bool = True
    ) -> None: ...
    def create_parameter(
        self,
        shape: Sequence[int],
        attr: _Attr = None,
        dtype: _DType | None = None,
        is_bias: bool = False,
        default_initializer: Initializer | None = None,
    ) -> Tensor: ...
    def register_forward_pre_hook(
        self, hook: Callable[[Layer, tuple[Any, ...]], Any]
    ) -> _HookRemoveHelper: ...
    def register_forward_post_hook(
        self, hook: Callable[[Layer, Any, Any], Any]
    ) -> _HookRemoveHelper: ...
    def state_dict(self) -> dict[str, Tensor]: ...

class _Unary(Layer):
    def __call__(self, x: Tensor) -> Tensor: ...
    def forward(self, x: Tensor) -> Tensor: ...

class Sequential(_Unary):
    def __init__(self, *layers: Layer | tuple[str, Layer]) -> None: ...
    def __getitem__(self, index: int) -> Layer: ...
    def __len__(self) -> int: ...

class LayerList(Layer):
    def __init__(self, sublayers: Iterable[Layer] | None = None) -> None: ...
    def __getitem__(self, index: int) -> Layer: ...
    def __iter__(self) -> Iterator[Layer]: ...
    def __len__(self) -> int: ...
    def append(self, sublayer: Layer) -> LayerList: ...

class Linear(_Unary):
    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        weight_attr: _Attr = None,
        bias_attr: _Attr = None,
        name: str | None = None,
    ) -> None: ...

class Conv2D(_Unary):
    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Size,
        stride: _Size = 1,
        padding: _Size | str = 0,
        dilation: _Size = 1,
        groups: int = 1,
        *,
        weight_attr: _Attr = None,
        bias_attr: _Attr = None,
        data_format: str = ...,
    ) -> None: ...

class Conv1D(Conv2D): ...
class Conv3D(Conv2D): ...

class Conv2DTranspose(_Unary):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Size,
        stride: _Size = 1,
        padding: _Size | str = 0,
        *,
        data_format: str = "NCHW",
    ) -> None: ...

class _BatchNorm(_Unary):
    weight: Tensor
    bias: Tensor
    _mean: Tensor
    _variance: Tensor

    def __init__(
        self,
        num_features: int,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        weight_attr: _Attr = None,
        bias_attr: _Attr = None,
        *,
        data_format: str = ...,
        use_global_stats: bool | None = None,
    ) -> None: ...

class BatchNorm1D(_BatchNorm): ...
class BatchNorm2D(_BatchNorm): ...
class BatchNorm3D(_BatchNorm): ...

class Dropout(_Unary):
    p: float

    def __init__(
        self,
        p: float = 0.5,
        inplace: bool = False,
        axis: _Size | None = None,
        mode: str = "upscale_in_train",
    ) -> None: ...

class Dropout3D(_Unary):
    def __init__(self, p: float = 0.5) -> None: ...

class AlphaDropout(_Unary):
    def __init__(self, p: float = 0.5) -> None: ...

class FeatureAlphaDropout(_Unary):
    def __init__(self, p: float = 0.5) -> None: ...

class Dropout2D(_Unary):
    def __init__(self, p: float = 0.5) -> None: ...

class Flatten(_Unary):
    def __init__(self, start_axis: int = 1, stop_axis: int = -1) -> None: ...

class MaxPool2D(_Unary):
    def __init__(
        self, kernel_size: _Size, stride: _Size | None = None, padding: _Size | str = 0
    ) -> None: ...

class AvgPool2D(_Unary):
    def __init__(
        self,
        kernel_size: _Size,
        stride: _Size | None = None,
        padding: _Size | str = 0,
        *,
        data_format: str = "NCHW",
    ) -> None: ...

class GELU(_Unary): ...

class MaxPool3D(_Unary):
    def __init__(
        self, kernel_size: _Size, stride: _Size | None = None, padding: _Size | str = 0
    ) -> None: ...

class AvgPool3D(_Unary):
    def __init__(
        self, kernel_size: _Size, stride: _Size | None = None, padding: _Size | str = 0
    ) -> None: ...

class ReLU(_Unary): ...
class RReLU(_Unary): ...
class Tanh(_Unary): ...

class LayerNorm(_Unary):
    def __init__(self, normalized_shape: int) -> None: ...

class Softmax(_Unary): ...

class Embedding(_Unary):
    weight: Tensor
    def __init__(
        self, num_embeddings: int, embedding_dim: int, *, sparse: bool = False
    ) -> None: ...

class LSTM(Layer):
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        direction: str = "forward",
        time_major: bool = False,
        dropout: float = 0.0,
    ) -> None: ...
    def __call__(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]: ...

class GRU(Layer):
    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None: ...

class LSTMCell(Layer):
    def __init__(self, input_size: int, hidden_size: int) -> None: ...

class RNN(Layer):
    def __init__(self, cell: Layer) -> None: ...

class MultiHeadAttention(Layer):
    dropout: float

class TransformerEncoder(_Unary):
    def __init__(self, encoder_layer: TransformerEncoderLayer, num_layers: int) -> None: ...

class TransformerEncoderLayer(_Unary):
    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int, dropout: float = 0.1
    ) -> None: ...
