"""What to do next so that a primary component exists and one of its members writes, from what each says.

Which member shall write is a row that Galera replicates (`cluster.writer`): no two members that are up to
date read different ones. A member takes writes when the row names it, and it is open (`read_only` is off).
Every member starts closed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from scripts.cluster.steps import Step

WAITING = "waiting to start"
USABLE = ("Synced", "Donor/Desynced")
"""States in which a member has applied what the others have. As a donor it serves while it is copied."""


@dataclass(frozen=True, order=True)
class Position:
    """The last transaction that a member has: its number, and the history to which numbers belong."""

    history: str = ""
    """Galera's UUID of the state; empty for a member without data."""
    number: int = -1

    def includes(self, other: "Position") -> bool:
        """Whether everything that the other has is part of this."""
        return not other.history or (self.history == other.history and self.number >= other.number)


@dataclass(frozen=True)
class Writer:
    """The row that names the member that shall write."""

    member: int = 0
    """0 before any was appointed."""
    node: str = ""
    """Galera's UUID of that run of its server: after a restart it is not the one that was appointed."""
    former: frozenset[str] = frozenset()
    """The runs that were appointed before: no other one can be open."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What one member says about itself and the others."""

    state: str
    """`wsrep_local_state_comment`, or `WAITING` for one whose server is not started yet."""
    position: Position
    is_primary: bool = False
    """Whether it counts itself to the primary component: most of the members that were together before."""
    is_ready: bool = False
    """Whether it takes statements (`wsrep_ready`)."""
    is_open: bool = False
    """Whether the shop's account may write to it."""
    configuration: int = -1
    """The number of its component's composition: it grows with each member that comes or goes."""
    reached: Mapping[int, str] = field(default_factory=dict)
    """The members of its component, itself included, and the UUID of each one's run."""
    writer: Writer = field(default_factory=Writer)
    """Who shall write, by its own copy of the row."""

    @property
    def is_usable(self) -> bool:
        return self.is_primary and self.is_ready and self.state in USABLE


def component(views: Mapping[int, View | None]) -> dict[int, View]:
    """The members of the primary component as far as they answer.

    A member that was frozen believes in the component that it was in, until it hears from the others: the
    higher number is that of the present one.
    """
    primary = {number: view for number, view in views.items() if view is not None and view.is_primary}
    latest = max((view.configuration for view in primary.values()), default=-1)
    return {number: view for number, view in primary.items() if view.configuration == latest}


def writer(views: Mapping[int, View | None]) -> int | None:
    """The member that writes now: it is named, open, and up to date. None while there is none."""
    usable = {number: view for number, view in component(views).items() if view.is_usable}
    named = _named(usable)
    return named if named in usable and usable[named].is_open else None


def next_step(views: Mapping[int, View | None]) -> Step:
    """What to do; `views` has each member of the configuration, None for one that doesn't answer.

    `found` starts the primary component with a member that has everything, `revive` does so with one that
    runs and lost the others. `appoint` names another writer, `close` takes writes away from members that are
    not named, and `open` gives them to the one that is: in this order, so that never two take writes.
    """
    members = component(views)
    if not members:
        return _founding(views)
    usable = {number: view for number, view in members.items() if view.is_usable}
    if not usable:
        return Step(action="wait", members=tuple(members), reason="no member of the component is ready")
    named = _named(usable)
    reached = next(iter(usable.values())).reached
    if named not in usable:
        if named and views.get(named) is None:
            return _silent_inside((named,))
        synced = [number for number, view in usable.items() if view.state == "Synced"]
        return Step(action="appoint", members=(min(synced or usable),))
    others = tuple(number for number, view in views.items() if number != named and view and view.is_open)
    if others:
        return Step(action="close", members=others)
    if usable[named].is_open:
        return Step(action="nothing")
    # A member that joins is silent too, for as long as it is copied; it is closed.
    former = usable[named].writer.former
    silent = tuple(
        number for number in sorted(reached) if views.get(number) is None and reached[number] in former
    )
    return _silent_inside(silent) if silent else Step(action="open", members=(named,))


def _named(usable: Mapping[int, View]) -> int:
    """The writer by the row, as the member has it that has applied most; 0 when that run of it has left."""
    if not usable:
        return 0
    latest = max(usable.values(), key=lambda view: view.position.number)
    row = latest.writer
    return row.member if latest.reached.get(row.member) == row.node else 0


def _silent_inside(members: tuple[int, ...]) -> Step:
    reason = f"{_are(members)} silent, and still in the component: another writer waits until it has left"
    return Step(action="wait", members=members, reason=reason)


def _founding(views: Mapping[int, View | None]) -> Step:
    """What to do while no member is in a primary component.

    One is begun only when the position of every member is known, and by one that includes all: a component
    without a member that had committed more would lose what was acknowledged.
    """
    known = {number: view for number, view in views.items() if view is not None}
    silent = tuple(number for number in views if number not in known)
    if silent:
        reason = (
            f"{_are(silent)} not answering, and might have transactions that the others lack. The cluster is "
            "founded again when all members answer; see their logs"
        )
        return Step(action="wait", members=silent, reason=reason)
    running = tuple(number for number, view in known.items() if view.state != WAITING)
    if len(running) > 1:
        # Two of them may be a majority already: a third one that went on would be a second cluster.
        reason = f"{_are(running)} outside of a primary component, and form it again when they meet"
        return Step(action="wait", members=running, reason=reason)
    for number in sorted(known, key=lambda number: number not in running):
        # One that runs comes first: it need not be started again.
        if all(known[number].position.includes(other.position) for other in known.values()):
            return Step(action="revive" if number in running else "found", members=(number,))
    positions = "; ".join(_positions(known))
    reason = (
        f"no member has all transactions ({positions}). To go on, some of them must be given up, which "
        "a person decides: stop the cluster, keep a copy of the data folders of all members, remove those "
        "of the members whose transactions are given up, and start it again; they are then copied from "
        "the others"
    )
    return Step(action="refuse", members=tuple(known), reason=reason)


def _positions(views: Mapping[int, View]) -> Iterator[str]:
    for number, view in views.items():
        position = view.position
        yield f"member {number} is at {position.number} of {position.history or 'no history'}"


def _are(members: tuple[int, ...]) -> str:
    names = " and ".join(f"member {number}" for number in members)
    return f"{names} {'is' if len(members) == 1 else 'are'}"
