"""What cannot leave its process, and what to send instead."""

from __future__ import annotations

from typing import NoReturn, Self

from purdist.errors import InvalidArgumentError


class OfThisProcess:
    """Holds graphs and memory of Paddle's, which are of this process: it does not pickle.

    It is a value, of which no copy is needed.
    """

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        kind = type(self).__name__
        raise InvalidArgumentError(
            f"Expected something that can be pickled or deeply copied, got a {kind}: its graphs "
            "and weights are memory of this process.",
            "Send what it is made of, and make it there: the layer for from_layer, or the path of "
            "what export or save_weights has written; losses can be pickled, save of lambdas.",
        )
