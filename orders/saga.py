"""A small saga engine: named steps that must all happen, or be undone in reverse.

It knows nothing of shops: a kind of saga is a tuple of steps (`orders.steps`). All state is in SQL. Any
process may call `advance` at any time; the lease makes doubles harmless, and a driver that died is
replaced once its lease is over.
"""

import secrets
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

from django.db.models import Q
from django.utils import timezone
from structlog import get_logger

from orders import saga_log, steps
from orders.models import Saga, SagaLog
from orders.saga_log import DO, IN_VAIN, UNDO, Event, Heard
from orders.steps import KINDS, LEASE_SECONDS, UNFINISHED, Kind, LeaseLost, Local, Outside, Step
from shop import backoff, journal, rows, transactions
from shop.journal import Who

log = get_logger(__name__)


def new(
    *,
    kind: str,
    subject_id: UUID,
    give_up_seconds: float,
    about_id: UUID | None = None,
    by: Who | None = None,
    done: Collection[str] = (),
    skipped: Collection[str] = (),
) -> tuple[Saga, list[SagaLog]]:
    """An unsaved saga with its first log lines, for the transaction that starts it and calls `begin`.

    `about_id` is the order that it is for, `by` who asked for it when that isn't `journal.who()`.
    """
    now = timezone.now()
    saga = Saga(
        kind=kind,
        subject_id=subject_id,
        about_id=about_id,
        request_id=(by or journal.who()).request_id,
        created_at=now,
        deadline_at=now + timedelta(seconds=give_up_seconds),
        # The edge enqueues it at once; the sweeper looks after what a crash forgot to enqueue.
        next_attempt_at=now + timedelta(seconds=LEASE_SECONDS),
    )
    events = dict.fromkeys(done, Event.DONE) | dict.fromkeys(skipped, Event.SKIPPED)
    lines = [
        saga_log.line_of(saga, step.name, DO, Heard(events[step.name]))
        for step in KINDS[kind].steps
        if step.name in events
    ]
    return saga, lines


def begin(started: Sequence[tuple[Saga, Sequence[SagaLog]]]) -> None:
    """Write new sagas with their lines: two statements for any number."""
    rows.insert_objects([saga for saga, _ in started])
    if noted := [(saga, line) for saga, lines in started for line in lines]:
        rows.insert_objects([line for _, line in noted])
    for saga, line in noted:
        saga_log.tell(saga, line)


def due(*, limit: int) -> list[UUID]:
    """The unfinished sagas whose time has come; each is told once per lease."""
    now = timezone.now()
    free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
    ids = list(
        Saga.objects.filter(free, next_attempt_at__lte=now)
        .order_by("next_attempt_at")
        .values_list("id", flat=True)[:limit]
    )
    later = now + timedelta(seconds=LEASE_SECONDS)
    told = Saga.objects.filter(id__in=ids, next_attempt_at__lte=now)
    # Drivers come to the same rows and their index from the other side: that may deadlock.
    transactions.run(lambda: told.update(next_attempt_at=later))
    return ids


def hasten(saga_id: UUID) -> None:
    """Make an unfinished saga due now: it has a reason to look before its pause is over."""
    unfinished = Saga.objects.filter(id=saga_id, state__in=UNFINISHED)
    transactions.run(lambda: unfinished.update(next_attempt_at=timezone.now()))


def advance(saga_id: UUID) -> str:
    """Drive the saga as far as it goes now. Returns its state; safe to call at any time, from anywhere."""
    token = _take_lease(saga_id)
    saga = Saga.objects.get(id=saga_id)
    if token is None:
        return saga.state
    go_on(saga, token)
    return Saga.objects.values_list("state", flat=True).get(id=saga_id)


def go_on(saga: Saga, token: str, heard: Heard | None = None, *, called: str = "") -> None:
    """Drive the saga, whose lease is held by `token`, as far as it goes now.

    `heard` is what the outside step `called` has come to already, and is not written down yet.
    """
    try:
        with journal.acting(saga_log.acting_for(saga)):
            _drive(saga, token, {called: heard} if heard else {})
    except LeaseLost:
        log.info("saga's lease lost", saga=str(saga.id))


def _take_lease(saga_id: UUID) -> str | None:
    """The token of the lease, or None while another driver holds it or nothing is left to do."""
    now, token = timezone.now(), secrets.token_hex(8)
    free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
    until = now + timedelta(seconds=LEASE_SECONDS)
    taken = transactions.run(
        lambda: Saga.objects.filter(free, id=saga_id, state__in=UNFINISHED).update(
            lease_token=token, leased_until=until, next_attempt_at=until
        )
    )
    return token if taken else None


def _drive(saga: Saga, token: str, known: dict[str, Heard]) -> None:
    """`known` is what an outside step's do has come to already, by its name."""
    kind = KINDS[saga.kind]
    while True:
        step, direction = _next(saga.id, kind)
        end = partial(_end, saga.id, kind, direction, token)
        if step is None:
            end()
            _tell_end(saga, kind, direction)
            return
        is_last = direction == UNDO and kind.is_ours_from(step)
        perform = partial(steps.perform, saga.id, step, direction, token=token)
        if direction == DO and isinstance(step, Outside) and step.name in known:
            perform = partial(steps.record, saga.id, step, DO, known.pop(step.name), token=token)
        heard = _attempt(saga.id, step, end if is_last else perform)
        if is_last and heard.event == Event.DONE:
            _tell_end(saga, kind, direction)
            return
        if heard.event in IN_VAIN:
            if transactions.run(partial(_postpone, saga.id, kind, step, direction, heard, token)):
                steps.reach(f"{step.name} {direction} postponed")
                return
        elif heard.event == Event.DONE and step.after and direction == DO:
            step.after([saga])


def _attempt(saga_id: UUID, step: Step, work: Callable[[], Heard]) -> Heard:
    """One step in one direction; an error that nobody foresaw counts as an outcome unknown."""
    try:
        return work()
    except LeaseLost:
        raise
    except Exception as error:
        log.warning("saga step failed", saga=str(saga_id), step=step.name, exc_info=error)
        return Heard(Event.FAILED, f"{type(error).__name__}: {error}")


def _next(saga_id: UUID, kind: Kind) -> tuple[Step | None, str]:
    """The step that is to be done or undone next, and which of the two; None when all are."""
    direction = Saga.objects.values_list("direction", flat=True).get(id=saga_id)
    final = set(
        SagaLog.objects.filter(saga_id=saga_id, attempt=0, direction=direction).values_list("step", flat=True)
    )
    return kind.next_step(direction, final), direction


def _postpone(saga_id: UUID, kind: Kind, step: Step, direction: str, heard: Heard, token: str) -> bool:
    """Log the attempt in vain; past the deadline turn round at once, else let it rest. True when it rests.

    What can't turn round any more and is late is stuck: told to operators, and still tried now and then.
    """
    saga, _ = steps.locked(saga_id, token)
    now, attempts = timezone.now(), saga.attempts + 1
    saga_log.write(saga, step.name, direction, heard, attempt=attempts)
    is_late = now >= saga.deadline_at
    if is_late and direction == DO and step in kind.reversible:
        saga_log.turn_round(saga, "gave_up", "The outcome stayed unknown until the deadline.")
        return False
    if is_late and saga.state != Saga.State.STUCK:
        log.error("saga is stuck", saga=str(saga_id), step=step.name, direction=direction, error=heard.detail)
        if kind.stuck:
            kind.stuck(saga)
    pause, left = backoff.pause_seconds(attempts), (saga.deadline_at - now).total_seconds()
    Saga.objects.filter(id=saga_id).update(
        attempts=attempts,
        last_error=heard.detail[:255],
        state=Saga.State.STUCK if is_late else saga.state,
        next_attempt_at=now + timedelta(seconds=pause if is_late else min(pause, left)),
        leased_until=None,
        lease_token="",
    )
    return True


def _end(saga_id: UUID, kind: Kind, direction: str, token: str) -> Heard:
    """End it, in one transaction with what is left to undo of our own: nobody sees half of that undone."""
    transactions.run(partial(_write_end, saga_id, kind, direction, token))
    return Heard(Event.DONE)


def _tell_end(saga: Saga, kind: Kind, direction: str) -> None:
    steps.reach("ended")
    if kind.after_undone and direction == UNDO:
        kind.after_undone(saga)


def _write_end(saga_id: UUID, kind: Kind, direction: str, token: str) -> None:
    saga, lines = steps.locked(saga_id, token)
    if direction == UNDO:
        # In the order in which they were done: it is the locks' order.
        for step in kind.reversible:
            if isinstance(step, Local):
                steps.undo_local(saga, lines, step)
        kind.compensated(saga)
    state = Saga.State.DONE if direction == DO else Saga.State.COMPENSATED
    Saga.objects.filter(id=saga_id).update(**saga_log.ended(state))
