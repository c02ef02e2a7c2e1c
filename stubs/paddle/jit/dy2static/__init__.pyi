from typing import Any

from paddle.jit.dy2static import convert_call_func as convert_call_func
from paddle.jit.dy2static import convert_operators as convert_operators
from paddle.jit.dy2static import parameter_recorder as parameter_recorder
from paddle.jit.dy2static import program_translator as program_translator
from paddle.jit.dy2static import utils as utils

def Shape(x: Any) -> Any: ...
def Ld(x: Any) -> Any: ...
