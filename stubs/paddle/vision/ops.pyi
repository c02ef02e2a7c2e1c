from paddle import Tensor

def deform_conv2d(
    x: Tensor, offset: Tensor, weight: Tensor, *, mask: Tensor | None = None
) -> Tensor: ...
