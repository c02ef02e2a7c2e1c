"""Asking children what cases come to: in groups first, then one by one where a group fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.adversarial.battery import Shown, shown
from tests.adversarial.cases import Group, Named
from tests.adversarial.children import Children
from tests.adversarial.zoo import zoo

Outcomes = Mapping[str, Shown]
"""Way of running -> what it came to."""

WORKERS = 2


def outcomes(
    cases: Mapping[str, Named], ways: Sequence[str], *, alone: Iterable[str] = (), size: int = 12
) -> dict[str, Outcomes]:
    """What each case comes to in each way.

    Args:
        cases: By name.
        ways: To run them in.
        alone: The names of cases that are not to be tried in a group.
        size: Of a group.
    """
    apart = set(alone) if size > 1 else set(cases)
    grouped = [named for name, named in cases.items() if name not in apart]
    groups = list(_groups(grouped, size))
    found: dict[str, dict[str, Shown]] = {name: {} for name in cases}
    with ThreadPoolExecutor(WORKERS) as workers:
        parts = [groups[k::WORKERS] for k in range(WORKERS)]
        for answers in workers.map(_try_groups, parts, [ways] * WORKERS):
            for name, told in answers.items():
                found[name].update(told)
        left = [
            (name, [way for way in ("dygraph", *ways) if way not in told])
            for name, told in found.items()
        ]
        left = [(name, some) for name, some in left if some]
        for answers in workers.map(_try_alone, [left[k::WORKERS] for k in range(WORKERS)]):
            for name, told in answers.items():
                found[name].update(told)
    return {name: found[name] for name in cases}


def _groups(cases: Iterable[Named], size: int) -> Iterator[list[Named]]:
    for fixed in (False, True):
        some = [named for named in cases if named.fixed == fixed]
        for k in range(0, len(some), size):
            yield some[k : k + size]


def _try_groups(groups: Iterable[Sequence[Named]], ways: Sequence[str]) -> dict[str, Outcomes]:
    """The ways in which all of a group goes well."""
    found: dict[str, Outcomes] = {}
    with Children(__name__) as children:
        for group in groups:
            answer = children.ask(_shown, [str(named) for named in group], ways, seconds=300)
            well = {told.way: told for told in answer.items if not told.error}
            found.update({str(named): well for named in group})
    return found


def _try_alone(cases: Iterable[tuple[str, list[str]]]) -> dict[str, Outcomes]:
    with Children(__name__) as children:
        return {name: alone(children, name, ways) for name, ways in cases}


def alone(children: Children, name: str, ways: Sequence[str]) -> Outcomes:
    """A case on its own; a way that ends its child does not take the others with it."""
    found: dict[str, Shown] = {}
    left = ["dygraph", *(way for way in ways if way != "dygraph")]
    while left:
        asked = [way for way in left if way != "dygraph"]
        answer = children.ask(_shown, [name], asked, seconds=120)
        told = [one for one in answer.items if one.way in left]
        found.update({one.way: one for one in told})
        left = left[len(told) :] if answer.fault else []
        if answer.fault and left:
            found[left[0]] = Shown(left[0], "Fault", answer.fault)
            left = [] if left[0] == "dygraph" else left[1:]
    return found


def _shown(names: Sequence[str], ways: Sequence[str]) -> Iterator[Shown]:
    """In a child: what one case comes to, or several side by side."""
    members = tuple(zoo()[name] for name in names)
    return shown(members[0] if len(members) == 1 else Group(members), ways)
