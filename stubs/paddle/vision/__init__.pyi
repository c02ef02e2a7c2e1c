from paddle.vision import models as models
