"""Which cases of the zoo are run, and what of what they come to is not as it should be.

By default one case in 31 is run, always the same, several in one network, and what is known to
take long is left out; the slow profile, ``PURDIST_TESTS=slow``, runs each, on its own, and layers
that stand first in a network too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tests.adversarial import expected
from tests.adversarial.around import Named
from tests.adversarial.asking import Outcomes, outcomes
from tests.adversarial.battery import WAYS
from tests.adversarial.cases import Of
from tests.adversarial.zoo import zoo
from tests.profiles import SLOW

_ONE_IN = 61
"""An odd number: cases in both formats stand in pairs."""

_TOGETHER = 12


def cases(*of: Of) -> list[str]:
    """The names of those that are run."""
    named = [(name, one) for name, one in zoo().items() if one.of in of]
    if SLOW:
        return [name for name, _ in named]
    later = [name for name, one in named if not one.first]
    networks = [name for name in later if name.startswith("net.")][::2]
    return [name for k, name in enumerate(later) if k % _ONE_IN == 0 or name in networks]


def come_to(names: Iterable[str]) -> Mapping[str, Outcomes]:
    """What these cases come to."""
    chosen: Mapping[str, Named] = {name: zoo()[name] for name in names}
    apart = {name: list(_ways(name)) for name in chosen if any(_texts(name))}
    return outcomes(chosen, list(WAYS), alone=apart, size=1 if SLOW else _TOGETHER)


def wrong(name: str, came_to: Outcomes) -> list[str]:
    """The ways in which a case came to something else than it should, and to what."""
    refused = dict(expected.of(expected.REFUSED, name))
    return [
        f"{way}: {shown.error or 'well'}: {shown.text}"
        for way, shown in came_to.items()
        if shown.error != refused.get(way, "")
    ]


def _texts(name: str) -> Iterator[tuple[str, str]]:
    return expected.of({**expected.REFUSED, **expected.LATE}, name)


def _ways(name: str) -> Iterator[str]:
    later = dict(expected.of(expected.LATE, name))
    return (way for way in WAYS if SLOW or way not in later)
