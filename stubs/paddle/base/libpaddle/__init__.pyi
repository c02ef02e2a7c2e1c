from paddle.base.libpaddle import pir as pir
