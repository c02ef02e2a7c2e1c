from paddle.base import core as core
from paddle.base import dygraph as dygraph
from paddle.base import framework as framework
from paddle.base import libpaddle as libpaddle
from paddle.base import unique_name as unique_name
