"""What to do next so that all members of MySQL's group are online, decided from what each says."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.cluster.group_replication.gtids import GtidSet
from lab.cluster.steps import Step

OUTSIDE = ("OFFLINE", "ERROR")
"""States of a member that is in no group: not yet, or no longer."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What one member says about itself and the others."""

    state: str
    """`ONLINE`, `RECOVERING`, `OFFLINE` or `ERROR`."""
    role: str = ""
    received: GtidSet = field(default_factory=lambda: GtidSet({}))
    """The transactions that it executed, and those that wait in its relay log."""
    states: Mapping[int, str] = field(default_factory=dict)
    """The state of each member of its group, by its port, as this one sees it."""

    @property
    def has_majority(self) -> bool:
        """Whether it is in a group most of whose members it reaches."""
        reached = sum(state in ("ONLINE", "RECOVERING") for state in self.states.values())
        return self.state == "ONLINE" and reached * 2 > len(self.states)


def next_step(views: Mapping[int, View | None]) -> Step:
    """What to do: `found`, `join`, `wait`, `refuse` or `nothing`.

    `views` has each member of the configuration, None for one that doesn't answer. A group is founded only
    when every member answers, none is in a group, and one has all transactions of the others: a group without
    a member that had committed more would lose what was acknowledged.
    """
    answering = {number: view for number, view in views.items() if view is not None}
    outside = tuple(number for number, view in answering.items() if view.state in OUTSIDE)
    if any(view.has_majority for view in answering.values()):
        return Step(action="join", members=outside) if outside else Step(action="nothing")
    inside = tuple(number for number in answering if number not in outside)
    if inside:
        return Step(
            action="wait",
            members=inside,
            reason=f"{_named(inside)} in a group without a majority, or not yet in one",
        )
    silent = tuple(number for number, view in views.items() if view is None)
    if silent:
        reason = (
            f"{_named(silent)} not answering, and might have transactions that the others lack. The group is "
            "founded again when all members answer; see their logs"
        )
        return Step(action="wait", members=silent, reason=reason)
    return _founder(answering)


def _founder(views: Mapping[int, View]) -> Step:
    for number, view in views.items():
        if all(other.received <= view.received for other in views.values()):
            return Step(action="found", members=(number,))
    lacks = "; ".join(
        f"member {number} lacks {other.received - view.received} transactions of member {other_number}"
        for number, view in views.items()
        for other_number, other in views.items()
        if not other.received <= view.received
    )
    reason = (
        f"no member has all transactions ({lacks}). To go on, some of them must be given up, which a person "
        "decides: stop the cluster, keep a copy of the data folders of all members, remove those of the "
        "members whose transactions are given up, and start it again; they are then cloned from the others"
    )
    return Step(action="refuse", members=tuple(views), reason=reason)


def _named(members: tuple[int, ...]) -> str:
    names = " and ".join(f"member {number}" for number in members)
    return f"{names} {'is' if len(members) == 1 else 'are'}"
