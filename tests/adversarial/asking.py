"""Asking children what cases come to: in groups first, then one by one where a group fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from tests.adversarial.around import Group, Named
from tests.adversarial.battery import Shown, shown
from tests.adversarial.children import Children
from tests.adversarial.zoo import zoo

Outcomes = Mapping[str, Shown]
"""Way of running -> what it came to."""


def outcomes(
    cases: Mapping[str, Named],
    ways: Sequence[str],
    *,
    alone: Mapping[str, Sequence[str]] = MappingProxyType({}),
    size: int = 12,
) -> Mapping[str, Outcomes]:
    """What each case comes to in each way.

    Args:
        cases: By name.
        ways: To run them in.
        alone: Cases that are not to be tried in a group -> the ways to run them in.
        size: Of a group.
    """
    grouped = [named for name, named in cases.items() if name not in alone and size > 1]
    found: dict[str, dict[str, Shown]] = {name: {} for name in cases}
    with Children(__name__) as children:
        for name, answers in _try_groups(children, list(_groups(grouped, size)), ways).items():
            found[name].update(answers)
        for name, answers in found.items():
            left = [way for way in ("dygraph", *alone.get(name, ways)) if way not in answers]
            if left:
                answers.update(_try_alone(children, name, left))
    return found


def _groups(cases: Iterable[Named], size: int) -> Iterator[list[Named]]:
    for fixed in (False, True):
        some = [named for named in cases if named.fixed == fixed]
        for k in range(0, len(some), size):
            yield some[k : k + size]


def _try_groups(
    children: Children, groups: Sequence[Sequence[Named]], ways: Sequence[str]
) -> dict[str, Outcomes]:
    """The ways in which all of a group goes well, one group after the other in one child."""
    found: dict[str, dict[str, Shown]] = {}
    left = [[str(named) for named in group] for group in groups]
    while left:
        answer = children.ask(_each_shown, left, ways, seconds=60 + 30 * len(left))
        for k, one in answer.items:
            if not one.error:
                for name in left[k]:
                    found.setdefault(name, {})[one.way] = one
        reached = max((k for k, _ in answer.items), default=0)
        left = left[reached + 1 :] if answer.fault else []
    return {**found}


def _try_alone(children: Children, name: str, ways: Sequence[str]) -> Outcomes:
    """A case on its own; a way that ends its child does not take the others with it."""
    found: dict[str, Shown] = {}
    left = ["dygraph", *(way for way in ways if way != "dygraph")]
    while left:
        asked = [way for way in left if way != "dygraph"]
        answer = children.ask(_shown, [name], asked, seconds=400)
        answers = [one for one in answer.items if one.way in left]
        found.update({one.way: one for one in answers})
        left = left[len(answers) :] if answer.fault else []
        if answer.fault and left:
            found[left[0]] = Shown(left[0], "Fault", answer.fault)
            left = [] if left[0] == "dygraph" else left[1:]
    return found


def _each_shown(
    groups: Sequence[Sequence[str]], ways: Sequence[str]
) -> Iterator[tuple[int, Shown]]:
    """In a child: what groups come to, with the number of each."""
    for k, names in enumerate(groups):
        for one in _shown(names, ways):
            yield k, one


def _shown(names: Sequence[str], ways: Sequence[str]) -> Iterator[Shown]:
    """In a child: what one case comes to, or several side by side."""
    members = tuple(zoo()[name] for name in names)
    return shown(members[0] if len(members) == 1 else Group(members), ways)
