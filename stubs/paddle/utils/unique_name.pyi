from paddle.base.unique_name import generate as generate
from paddle.base.unique_name import guard as guard
