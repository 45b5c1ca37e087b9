"""The steps of a saga, and the barrier that lets each happen once.

A local step commits its effect and its log line in one transaction, and the line is unique per saga, step
and direction. An outside step calls out under a key of the saga's, outside any transaction, and then
records what it heard. An undo of a step that never ran leaves a line that refuses the late do. (The
barrier is dtm's: dtm-labs/client, `dtmcli/barrier.go`.)
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import takewhile
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from orders import saga_log
from orders.models import Saga, SagaLog
from orders.saga_log import DO, IN_EFFECT, IN_VAIN, UNDO, Event, Heard, Lines
from shop import transactions
from shop.errors import Invalid, NotFound, Rejected

UNFINISHED = (Saga.State.RUNNING, Saga.State.STUCK)

# Longer than the two calls that a step may make outside, renewed before each step; a dead driver costs
# this long.
LEASE_SECONDS = max(10.0, 3 * settings.GATEWAY_TIMEOUT_SECONDS)


@dataclass(frozen=True, slots=True)
class Local:
    """A step within our database. `do` and `undo` run in the transaction that logs them.

    `do` returns a word for the log, or raises `Rejected` to have the saga undone. Without `undo` the step
    is the point of no return: it and all after it are only ever retried. `together` is `do` for many in
    one transaction (`orders.driving`): it gives a refusal back rather than raise it. `after` runs once
    the step is committed, for all that came to it by the same transaction.
    """

    name: str
    do: Callable[[Saga], str]
    undo: Callable[[Saga], str] | None = None
    after: Callable[[Sequence[Saga]], None] | None = None
    together: Callable[[Sequence[Saga]], Sequence[str | Rejected]] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call outside for some sagas. `make` may take its time, and returns what each of them heard."""

    sagas: Sequence[Saga]
    make: Callable[[], Sequence[Heard]]
    uses_database: bool = False


@dataclass(frozen=True, slots=True)
class Outside:
    """A step at another system. `do` and `undo` are keyed, and called outside any transaction.

    `note` runs in the transaction that records what `do` heard. `calls` is `do` for many that were not
    tried in vain before (`orders.driving`); where nobody waits for it they are gathered for so long.
    """

    name: str
    do: Callable[[Saga], Heard]
    undo: Callable[[Saga], Heard] | None = None
    note: Callable[[Saga, Heard], None] | None = None
    after: Callable[[Sequence[Saga]], None] | None = None
    calls: Callable[[Sequence[Saga]], Sequence[Call]] | None = None
    gather_seconds: float = 0.0


Step = Local | Outside


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of saga. `lock` takes the locks that come before the sagas' rows in the lock order, by subject;
    `compensated` runs in the transaction that ends an undone saga, `after_undone` once it is committed;
    `stuck` runs in the transaction that gives a late one to the operators, `resumed` in the one in which
    an operator sets it going again.
    """

    name: str
    steps: tuple[Step, ...]
    lock: Callable[[Collection[UUID]], None]
    compensated: Callable[[Saga], None]
    after_undone: Callable[[Saga], None] | None = None
    stuck: Callable[[Saga], None] | None = None
    resumed: Callable[[Saga], None] | None = None

    def step(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)

    @property
    def reversible(self) -> tuple[Step, ...]:
        """The steps before the point of no return, which is the first step without an undo."""
        return tuple(takewhile(lambda step: step.undo is not None, self.steps))

    def is_ours_from(self, step: Step) -> bool:
        """Whether only steps of our own are left to undo, from this one on."""
        return all(isinstance(one, Local) for one in self.steps[: self.steps.index(step) + 1])

    def next_step(self, direction: str, final: Collection[str]) -> Step | None:
        """What is to be done or undone next, when the steps named `final` are; None when all are."""
        way = self.steps if direction == DO else self.reversible[::-1]
        return next((step for step in way if step.name not in final), None)


class LeaseLost(Exception):
    """Another driver took over: stop here, it does the rest."""


KINDS: dict[str, Kind] = {}


def reach(point: str) -> None:
    """A place where a crash may strike: between any two effects. Tests make it strike."""


def perform(saga_id: UUID, step: Step, direction: str, *, token: str | None = None) -> Heard:
    """Run one step's do or undo, once, whatever was tried before and in whatever order.

    With the `token` of a lease, raises `LeaseLost` when another driver has taken over.
    """
    if isinstance(step, Outside):
        return _call_outside(saga_id, step, direction, token)
    work = _do_local if direction == DO else undo_local
    reach(f"{step.name} {direction} before")
    heard = transactions.run(lambda: work(*locked(saga_id, token), step))
    reach(f"{step.name} {direction} committed")
    return heard


def _do_local(saga: Saga, lines: Lines, step: Local) -> Heard:
    if (step.name, DO) in lines:
        return lines[step.name, DO]
    try:
        with transactions.savepoint():
            heard = Heard(Event.DONE, step.do(saga))
    except (Rejected, Invalid, NotFound) as error:
        heard = _taken(Heard(Event.REFUSED, error.detail, code=error.code), saga, step)
    if heard.event not in IN_VAIN:
        saga_log.write(saga, step.name, DO, heard)
    return heard


def undo_local(saga: Saga, lines: Lines, step: Local) -> Heard:
    """Undo a step of our own, unless its line says that it is; with the saga `locked`."""
    if (step.name, UNDO) in lines:
        return lines[step.name, UNDO]
    heard = Heard(Event.SKIPPED)
    done = lines.get((step.name, DO))
    if done is None:
        saga_log.write(saga, step.name, DO, Heard(Event.VOID))
    elif done.event in IN_EFFECT and step.undo:
        heard = Heard(Event.DONE, step.undo(saga))
    saga_log.write(saga, step.name, UNDO, heard)
    return heard


def _call_outside(saga_id: UUID, step: Outside, direction: str, token: str | None) -> Heard:
    """A step whose outcome is unknown is undone too: only the other system knows whether it happened."""
    saga, known = transactions.run(lambda: _before_outside(saga_id, step, direction, token))
    call = step.do if direction == DO else step.undo
    if known or call is None:
        return known or Heard(Event.SKIPPED)
    reach(f"{step.name} {direction} before")
    heard = call(saga)
    reach(f"{step.name} {direction} called")
    return record(saga_id, step, direction, heard, token=token)


def record(saga_id: UUID, step: Outside, direction: str, heard: Heard, *, token: str | None) -> Heard:
    """Write down what a call outside came to, unless that is known already."""

    def write_down() -> Heard:
        saga, lines = locked(saga_id, token)
        if (step.name, direction) in lines:
            return lines[step.name, direction]
        taken = _taken(heard, saga, step)
        if step.note and direction == DO:
            step.note(saga, taken)
        if taken.event not in IN_VAIN:
            saga_log.write(saga, step.name, direction, taken)
        return taken

    recorded = transactions.run(write_down)
    reach(f"{step.name} {direction} committed")
    return recorded


def _taken(heard: Heard, saga: Saga, step: Step) -> Heard:
    """What was heard, as the saga takes it: where it can't turn round, a refusal is one more try in vain."""
    if heard.event != Event.REFUSED or step in KINDS[saga.kind].reversible:
        return heard
    return replace(heard, event=Event.FAILED, detail=f"refused: {heard.detail}")


def _before_outside(
    saga_id: UUID, step: Outside, direction: str, token: str | None
) -> tuple[Saga, Heard | None]:
    """Renew the lease, and tell whether the call is still to be made; an undo bars the late do."""
    saga, lines = locked(saga_id, token)
    known = lines.get((step.name, direction))
    done = lines.get((step.name, DO))
    if known or direction == DO:
        return saga, known
    if done is None:
        saga_log.write(saga, step.name, DO, Heard(Event.VOID))
    elif done.event in (Event.REFUSED, Event.SKIPPED):
        known = Heard(Event.SKIPPED)
        saga_log.write(saga, step.name, UNDO, known)
    return saga, known


def locked(saga_id: UUID, token: str | None) -> tuple[Saga, Lines]:
    """The saga and its final log lines, locked for this transaction, with the lease renewed."""
    kind, subject_id = Saga.objects.values_list("kind", "subject_id").get(id=saga_id)
    KINDS[kind].lock([subject_id])
    saga = Saga.objects.select_for_update().get(id=saga_id)
    if token is not None:
        if saga.lease_token != token or saga.state not in UNFINISHED:
            raise LeaseLost()
        until = timezone.now() + timedelta(seconds=LEASE_SECONDS)
        Saga.objects.filter(id=saga_id).update(leased_until=until, next_attempt_at=until)
    return saga, {
        (line.step, line.direction): Heard(Event(line.event), line.detail, reference=line.reference)
        for line in SagaLog.objects.filter(saga_id=saga_id, attempt=0)
    }


def alone(together: Callable[[Sequence[Saga]], Sequence[str | Rejected]]) -> Callable[[Saga], str]:
    """A step's `do`, made of what does it for many."""

    def do(saga: Saga) -> str:
        [outcome] = together([saga])
        if isinstance(outcome, Rejected):
            raise outcome
        return outcome

    return do
