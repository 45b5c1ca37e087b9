"""A visit: one transaction in which many sagas that go well each come a step further.

It writes down what each heard outside, does the local step that is next, takes or renews the leases, and
ends those that are done: the same few statements for any number. The barrier is that of `orders.steps`:
the locks of the sagas' rows, their leases, and the final lines of their logs.
"""

import secrets
import threading
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from orders import saga_log, steps
from orders.models import Saga, SagaLog
from orders.saga_log import DO, Event, Heard
from orders.steps import KINDS, LEASE_SECONDS, UNFINISHED, Local, Outside, Step
from shop import journal, transactions
from shop.errors import Rejected


@dataclass(slots=True, eq=False)
class Visitor:
    """A saga on its way. `token` is its lease, once it has one; `heard` is what the outside step `called`
    has come to, not written down yet; `visited` is set once it was visited, or isn't going to be.
    """

    saga_id: UUID
    visited: threading.Event = field(default_factory=threading.Event)
    token: str = ""
    row: Saga | None = None
    called: str = ""
    heard: Heard | None = None

    @property
    def saga(self) -> Saga:
        assert self.row, "it was not visited yet"
        return self.row


@dataclass(slots=True)
class Visit:
    """What became of the visitors: the steps that are `done`, with their sagas; who is `over`, ended or
    another driver's; who has a local step next, `again`; who is `calling`; and who goes on `alone`.
    """

    done: list[tuple[Step, list[Saga]]] = field(default_factory=list)
    over: list[Visitor] = field(default_factory=list)
    again: list[Visitor] = field(default_factory=list)
    calling: list[tuple[Outside, list[Visitor]]] = field(default_factory=list)
    alone: list[Visitor] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Standing:
    """A visitor's saga while it is locked: its row, and the steps of it that are final."""

    visitor: Visitor
    row: Saga
    final: set[str]

    @property
    def next(self) -> Step | None:
        return KINDS[self.row.kind].next_step(DO, self.final)


Written = list[tuple[Saga, Step, Heard]]


def visit(visitors: Sequence[Visitor]) -> Visit:
    """Bring them a step further, durably when this returns; raises what a step raised, with nothing done."""
    token = secrets.token_hex(8)
    steps.reach("visit before")
    made, going_on = transactions.run(lambda: _visit(visitors, token))
    for one in going_on:
        one.visitor.token, one.visitor.row = token, one.row
        one.visitor.called, one.visitor.heard = "", None
    steps.reach("visit committed")
    return made


def _visit(visitors: Sequence[Visitor], token: str) -> tuple[Visit, list[_Standing]]:
    made = Visit()
    standings = _sorted_out(visitors, token, made)
    with journal.acting_for({one.row.about_id: saga_log.acting_for(one.row) for one in standings}):
        heard = _heard(standings)
        # First, for the steps that follow read what the earlier ones came to.
        saga_log.write_together(_named(heard))
        local, refused = _do_local(standings)
        saga_log.write_together(_named(local))
    ended, going_on = _parted(standings, refused, made)
    _end([one.row.id for one in ended])
    _lease([one.row.id for one in going_on], token)
    made.over += [one.visitor for one in ended]
    done: dict[Step, list[Saga]] = defaultdict(list)
    for row, step, _ in heard + local:
        done[step].append(row)
    made.done = list(done.items())
    return made, going_on


def _named(written: Sequence[tuple[Saga, Step, Heard]]) -> list[tuple[Saga, str, Heard]]:
    return [(row, step.name, heard) for row, step, heard in written]


def _sorted_out(visitors: Sequence[Visitor], token: str, made: Visit) -> list[_Standing]:
    """Lock those that go well, and keep those of them that nobody else drives."""
    seen = Saga.objects.in_bulk([visitor.saga_id for visitor in visitors])
    together = []
    for visitor in visitors:
        if visitor.saga_id not in seen:
            made.over.append(visitor)
        elif _goes_well(seen[visitor.saga_id], visitor.heard):
            together.append(visitor)
        else:
            # Not locked here: somebody may hold it, and everybody would wait.
            made.alone.append(visitor)
    rows = _locked([seen[visitor.saga_id] for visitor in together])
    return _standing(together, rows, token, made)


def _standing(
    visitors: Sequence[Visitor], rows: dict[UUID, Saga], token: str, made: Visit
) -> list[_Standing]:
    """What the locked rows say may be another thing than what was seen before."""
    final: dict[UUID, set[str]] = defaultdict(set)
    lines = SagaLog.objects.filter(saga_id__in=list(rows), direction=DO, attempt=0)
    for saga_id, step in lines.values_list("saga_id", "step"):
        final[saga_id].add(step)
    standings = []
    for visitor in visitors:
        # Who comes twice is driven once.
        row = rows.pop(visitor.saga_id, None)
        if row is None or not _is_ours(row, visitor, token):
            made.over.append(visitor)
        elif _goes_well(row, visitor.heard):
            standings.append(_Standing(visitor, row, final[row.id]))
        else:
            made.alone.append(visitor)
    return standings


def _locked(seen: Collection[Saga]) -> dict[UUID, Saga]:
    subjects: dict[str, list[UUID]] = defaultdict(list)
    for row in seen:
        subjects[row.kind].append(row.subject_id)
    for kind in sorted(subjects):
        KINDS[kind].lock(subjects[kind])
    rows = Saga.objects.select_for_update().filter(id__in=[row.id for row in seen]).order_by("id")
    return {row.id: row for row in rows}


def _is_ours(row: Saga, visitor: Visitor, token: str) -> bool:
    """Whether there is something to do, and for this visitor; `token` may be its lease by a first attempt."""
    if row.state not in UNFINISHED:
        return False
    if row.lease_token and row.lease_token in (visitor.token, token):
        return True
    return not visitor.token and (row.leased_until is None or row.leased_until <= timezone.now())


def _goes_well(row: Saga, heard: Heard | None) -> bool:
    is_together = any(isinstance(step, Local) and step.together for step in KINDS[row.kind].steps)
    is_done = heard is None or heard.event == Event.DONE
    return is_together and is_done and row.direction == DO and not row.attempts


def _heard(standings: Sequence[_Standing]) -> Written:
    """What calls outside have come to, and isn't written down yet."""
    written: Written = []
    for one in standings:
        step, heard = one.next, one.visitor.heard
        if heard and step and step.name == one.visitor.called:
            if isinstance(step, Outside) and step.note:
                step.note(one.row, heard)
            written.append((one.row, step, heard))
            one.final.add(step.name)
    return written


def _do_local(standings: Sequence[_Standing]) -> tuple[Written, set[_Standing]]:
    """Do the local step that is next for each; return what is to be written of it, and who was refused.

    The later steps come first: they lock stock and coupons, the earlier ones wallets.
    """
    waiting: dict[Local, list[_Standing]] = defaultdict(list)
    for one in standings:
        if isinstance(one.next, Local) and one.next.together:
            waiting[one.next].append(one)
    written: Written = []
    refused = set()
    for step, some in sorted(waiting.items(), key=_place, reverse=True):
        assert step.together
        outcomes = step.together([one.row for one in some])
        for one, outcome in zip(some, outcomes, strict=True):
            if isinstance(outcome, Rejected):
                refused.add(one)
            else:
                written.append((one.row, step, Heard(Event.DONE, outcome)))
                one.final.add(step.name)
    return written, refused


def _place(waiting: tuple[Local, list[_Standing]]) -> int:
    step, some = waiting
    return KINDS[some[0].row.kind].steps.index(step)


def _parted(
    standings: Sequence[_Standing], refused: Collection[_Standing], made: Visit
) -> tuple[list[_Standing], list[_Standing]]:
    """Those that are at their end, and those that go on: the latter are told where to in `made`."""
    ended: list[_Standing] = []
    going_on: list[_Standing] = []
    calling: dict[Outside, list[Visitor]] = defaultdict(list)
    for one in standings:
        step = one.next
        (ended if step is None else going_on).append(one)
        if step is None:
            continue
        if one not in refused and isinstance(step, Outside) and step.calls:
            calling[step].append(one.visitor)
        elif one not in refused and isinstance(step, Local) and step.together:
            made.again.append(one.visitor)
        else:
            made.alone.append(one.visitor)
    made.calling = list(calling.items())
    return ended, going_on


def _end(saga_ids: Collection[UUID]) -> None:
    if saga_ids:
        Saga.objects.filter(id__in=saga_ids).update(**saga_log.ended(Saga.State.DONE))


def _lease(saga_ids: Collection[UUID], token: str) -> None:
    if saga_ids:
        until = timezone.now() + timedelta(seconds=LEASE_SECONDS)
        Saga.objects.filter(id__in=saga_ids).update(
            lease_token=token, leased_until=until, next_attempt_at=until
        )
