from paddle.vision import models as models
from paddle.vision import ops as ops
