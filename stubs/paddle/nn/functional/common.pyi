from paddle import Tensor

def _feature_alpha_dropout_impl(
    x: Tensor, *, feature_dropout: bool, p: float, training: bool, name: str | None
) -> Tensor: ...
