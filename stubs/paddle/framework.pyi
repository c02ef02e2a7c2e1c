from paddle.base.framework import in_pir_mode as in_pir_mode
