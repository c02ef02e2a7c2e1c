"""Whatever a public function is handed is checked here, by the types that it declares.

`guard` walks public names and wraps them; `kinds` makes of a type what takes a value, or refuses
it, and gives it as it is then used: names as a tuple of texts, a mapping as a dict of its own, a
number of numpy's as Python's. (A library that checks types gives back what it was handed.)
"""

from purdist.checking.guarding import guard, guard_class
from purdist.checking.hints import CHECKED_INSIDE, IN_ORDER, LAZY, Called, Names
from purdist.checking.kinds import kind_of, known
from purdist.checking.numbers import Number, plain_int
from purdist.checking.pickling import OfThisProcess
from purdist.checking.plain import Kind, MisfitError
from purdist.checking.showing import shown

__all__ = [
    "CHECKED_INSIDE",
    "IN_ORDER",
    "LAZY",
    "Called",
    "Kind",
    "MisfitError",
    "Names",
    "Number",
    "OfThisProcess",
    "guard",
    "guard_class",
    "kind_of",
    "known",
    "plain_int",
    "shown",
]
