from paddle.pir import core as core
