from paddle.autograd import ir_backward as ir_backward
