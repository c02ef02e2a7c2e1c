from paddle.jit.dy2static import parameter_recorder as parameter_recorder
