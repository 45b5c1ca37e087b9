"""Driving many sagas at once: their steps share transactions, and their calls outside go on side by side.

A few threads of a process do all of it. A driver takes whatever has come in meanwhile, new sagas and those
whose call outside has returned, and visits them in one transaction (`orders.visiting`). The busier it is,
the more share a visit, so that a saga gets cheaper as they come faster; and a slow call keeps nobody
waiting but its own saga.

This is the way of those that go well. Whatever is refused, in doubt, tried again or undone goes on alone
by `orders.saga`, and so does everybody in a visit that fails. What a crash leaves lying the sweeper finds.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from uuid import UUID

from django.db import close_old_connections
from structlog import get_logger

from orders import saga, steps, visiting
from orders.saga_log import Event, Heard
from orders.steps import Call, Outside
from orders.visiting import Visit, Visitor
from shop import transactions

log = get_logger(__name__)
# Two would make the visits half as large: that costs more than it gains while one waits for the database.
DRIVERS = 1
CALLS_AT_ONCE = 64
# These need the database meanwhile: each a connection. Who has heard already what it waited for has only
# to write that down, and must not queue behind those who may wait for an answer from outside.
ALONE_AT_ONCE = 4
OUTGOING_AT_ONCE = 8
# Past it sagas wait without a lease: those that have one must not wait for their calls until it is over.
UNDER_WAY_AT_ONCE = 4 * CALLS_AT_ONCE
# From one visit to the next at least: it costs its statements however few share it.
PACE_SECONDS = 0.02
WAIT_SECONDS = 1.0

_drivers = ThreadPoolExecutor(DRIVERS, thread_name_prefix="driver")
_callers = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="caller")
_loners = ThreadPoolExecutor(ALONE_AT_ONCE, thread_name_prefix="alone")
_outgoing = ThreadPoolExecutor(OUTGOING_AT_ONCE, thread_name_prefix="outgoing")
_tellers = ThreadPoolExecutor(1, thread_name_prefix="teller")

_mutex = threading.Lock()
_new: dict[UUID, Visitor] = {}
_returned: deque[Visitor] = deque()
_under_way: set[Visitor] = set()
# Those who go on by themselves, by saga and lease: whoever comes as another of these is one too many.
_alone: set[tuple[UUID, str]] = set()
# Those who are in no hurry, by the step that they wait for together.
_gathering: dict[Outside, list[Visitor]] = defaultdict(list)


def advance_all(saga_ids: Sequence[UUID]) -> None:
    """Have these sagas driven as far as they go now; returns when each was visited, or after a second."""
    ends_at = time.monotonic() + WAIT_SECONDS
    with _mutex:
        visitors = [_new.setdefault(saga_id, Visitor(saga_id)) for saga_id in saga_ids]
    _drivers.submit(_guarded, _drive)
    for visitor in visitors:
        if not visitor.visited.wait(max(0.0, ends_at - time.monotonic())):
            return


def finish(*, seconds: float) -> bool:
    """Wait until nobody is on the way any more, at most so long. Whether that is so."""
    ends_at = time.monotonic() + seconds
    while is_busy := bool(_new or _under_way or _alone):
        if time.monotonic() > ends_at:
            log.warning("sagas left to the sweeper", under_way=len(_under_way), alone=len(_alone))
            break
        time.sleep(PACE_SECONDS)
    return not is_busy


def _drive() -> None:
    """Visit all who wait."""
    visitors = _take()
    if not visitors:
        return
    began_at = time.monotonic()
    with _leaving_if_it_fails(visitors):
        _visit(visitors)
    time.sleep(max(0.0, began_at + PACE_SECONDS - time.monotonic()))


def _visit(visitors: Sequence[Visitor]) -> None:
    try:
        visit = visiting.visit(visitors)
    except transactions.DatabaseAway as error:
        # For everybody, so nobody would fare better alone.
        log.warning("sagas left to the sweeper", count=len(visitors), error=str(error))
        _leave(visitors)
    except Exception as error:
        log.warning("sagas can't be visited together", count=len(visitors), exc_info=error)
        _go_alone(visitors)
    else:
        for visitor in visitors:
            visitor.visited.set()
        _send_on(visit)


def _take() -> list[Visitor]:
    """Those who have returned, and as many new ones as there is room for."""
    with _mutex:
        taken = [_returned.popleft() for _ in range(len(_returned))]
        room = max(0, UNDER_WAY_AT_ONCE - len(_under_way))
        taken += [_new.pop(saga_id) for saga_id in list(islice(_new, room))]
        _under_way.update(taken)
    return taken


def _send_on(visit: Visit) -> None:
    """After the commit: tell who waits, and let everybody go where their way leads."""
    for step, rows in visit.done:
        if step.after:
            _tellers.submit(_guarded, partial(step.after, rows))
    _return(visit.again)
    _leave(visit.over)
    _go_alone(visit.alone)
    for step, visitors in visit.calling:
        if step.gather_seconds:
            _gather(step, visitors)
        else:
            _call_outside(step, visitors)


def _gather(step: Outside, visitors: Sequence[Visitor]) -> None:
    """Have the step wait for others who come to it within a moment."""
    with _mutex:
        is_first = not _gathering[step]
        _gathering[step] += visitors
    if is_first:
        call = partial(_outgoing.submit, _guarded, partial(_call_gathered, step))
        timer = threading.Timer(step.gather_seconds, call)
        timer.daemon = True
        timer.start()


def _call_gathered(step: Outside) -> None:
    with _mutex:
        visitors = _gathering.pop(step)
    _call_outside(step, visitors)


def _call_outside(step: Outside, visitors: Sequence[Visitor]) -> None:
    """Have the calls of these sagas made; where they can't be prepared, each goes on alone."""
    assert step.calls
    # Who came to a saga last has its lease.
    by_id = {visitor.saga_id: visitor for visitor in visitors}
    _leave([visitor for visitor in visitors if by_id[visitor.saga_id] is not visitor])
    with _leaving_if_it_fails(visitors):
        try:
            calls = step.calls([visitor.saga for visitor in by_id.values()])
        except Exception as error:
            log.warning("calls outside can't be made together", step=step.name, exc_info=error)
            _go_alone(list(by_id.values()))
            return
        for call in calls:
            some = [by_id[row.id] for row in call.sagas]
            threads = _outgoing if call.uses_database else _callers
            threads.submit(_guarded, partial(_call, step, call, some))


def _call(step: Outside, call: Call, visitors: Sequence[Visitor]) -> None:
    with _leaving_if_it_fails(visitors):
        try:
            heard = call.make()
        except Exception as error:
            log.warning("call outside failed", step=step.name, exc_info=error)
            heard = [Heard(Event.FAILED, f"{type(error).__name__}: {error}")] * len(visitors)
        steps.reach(f"{step.name} do called")
        for visitor, one in zip(visitors, heard, strict=True):
            visitor.called, visitor.heard = step.name, one
        _return(visitors)


def _return(visitors: Sequence[Visitor]) -> None:
    """They have something to be visited for."""
    if visitors:
        _returned.extend(visitors)
        _drivers.submit(_guarded, _drive)


def _go_alone(visitors: Sequence[Visitor]) -> None:
    """Let each go on by itself; meanwhile there is room for others."""
    for visitor in visitors:
        with _mutex:
            is_new = _as_alone(visitor) not in _alone
            _alone.add(_as_alone(visitor))
        if is_new:
            threads = _loners if visitor.heard else _outgoing
            threads.submit(_guarded, partial(_advance_alone, visitor))
    _leave(visitors)


def _advance_alone(visitor: Visitor) -> None:
    try:
        if visitor.token:
            saga.go_on(visitor.saga, visitor.token, visitor.heard, called=visitor.called)
        else:
            saga.advance(visitor.saga_id)
    finally:
        with _mutex:
            _alone.discard(_as_alone(visitor))


def _as_alone(visitor: Visitor) -> tuple[UUID, str]:
    return visitor.saga_id, visitor.token


def _leave(visitors: Iterable[Visitor]) -> None:
    """They go no further together now: there is room for others."""
    with _mutex:
        for visitor in visitors:
            _under_way.discard(visitor)
            visitor.visited.set()
    if _new:
        _drivers.submit(_guarded, _drive)


@contextmanager
def _leaving_if_it_fails(visitors: Sequence[Visitor]) -> Iterator[None]:
    """Who isn't sent on, because this fails, must not take the room of others for ever."""
    try:
        yield
    except BaseException:
        _leave(visitors)
        raise


def _guarded(work: Callable[[], None]) -> None:
    """Work of a thread of ours: its failure is logged, and it keeps no connection that is broken."""
    try:
        close_old_connections()
        work()
    except Exception:
        log.exception("driving failed; the sweeper will find it")
