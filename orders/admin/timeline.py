"""Sagas as drawn time lines: a row for each step with its marks, and the entries of the log below."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext

from orders.models import Saga, SagaLog
from orders.saga.definitions import DO, SAGA_TYPES, UNDO, Step
from shop.admin_base.display import COLOURS, stored_text

Event = SagaLog.Event
EVENT_COLOURS = {
    Event.DONE: "success",
    Event.SKIPPED: "default",
    Event.REFUSED: "danger",
    Event.VOID: "default",
    Event.FAILED: "danger",
    Event.PENDING: "warning",
    Event.REQUIRES_ACTION: "info",
    Event.FORCED: "info",
}


def draw(saga: Saga, log: Sequence[SagaLog], *, now: datetime) -> dict[str, Any]:
    """The saga with these lines of its log, oldest first; `duration` is of the time until its end or now."""
    last_at = log[-1].at if log else saga.created_at
    end = max(saga.ended_at or now, last_at)
    return {
        "kind": saga.kind,
        "page": reverse("admin:orders_saga_change", args=[saga.pk]),
        "state": saga.get_state_display(),
        "colour": COLOURS[saga.state],
        "is_compensating": saga.direction == UNDO and not saga.ended_at,
        "failure": ": ".join(filter(None, (saga.failure_code, stored_text(saga.failure_detail)))),
        "last_error": "" if saga.ended_at else stored_text(saga.last_error),
        "duration": duration_text(end - saga.created_at),
        "next_attempt_at": saga.next_attempt_at,
        "step_rows": list(_step_rows(saga, log, start=saga.created_at, end=end)),
        "entries": [_entry(saga, list(alike)) for _, alike in groupby(log, key=_kind_of_line)],
    }


def duration_text(time: timedelta) -> str:
    """A length of time in its largest unit and the next: `3 min 20 s`."""
    seconds, milliseconds = divmod(max(0, time // timedelta(milliseconds=1)), 1_000)
    if not seconds:
        return gettext("%(count)s ms") % {"count": milliseconds}
    if seconds < 60:
        return gettext("%(count)s s") % {"count": f"{seconds}.{milliseconds // 100}"}
    text = gettext("%(minutes)s min %(seconds)s s")
    if seconds >= 86_400:
        text = gettext("%(days)s d %(hours)s h")
    elif seconds >= 3_600:
        text = gettext("%(hours)s h %(minutes)s min")
    minutes, hours, days = seconds // 60, seconds // 3_600, seconds // 86_400
    return text % {"days": days, "hours": hours % 24, "minutes": minutes % 60, "seconds": seconds % 60}


def _kind_of_line(line: SagaLog) -> tuple[Any, ...]:
    """What consecutive lines of one entry have in common. A final line has an entry of its own."""
    return line.step, line.direction, line.event, line.attempt == 0 and line.pk


def _entry(saga: Saga, alike: Sequence[SagaLog]) -> dict[str, Any]:
    """Consecutive lines of the log about the same step that ended alike."""
    first, last = alike[0], alike[-1]
    return {
        "step": first.step,
        "is_compensation": first.direction == UNDO,
        "event": first.get_event_display(),
        "colour": EVENT_COLOURS[Event(first.event)],
        "count": len(alike),
        "at": first.at,
        "last_at": last.at,
        "after": duration_text(first.at - saga.created_at),
        "detail": stored_text(last.detail),
        "reference": last.reference,
    }


def _step_rows(
    saga: Saga, log: Sequence[SagaLog], *, start: datetime, end: datetime
) -> Iterable[dict[str, Any]]:
    """The steps in their order, then the compensations in theirs; compensations only once they began."""
    type = SAGA_TYPES.get(saga.kind)
    steps = type.steps if type else ()
    undone = [step for step in reversed(steps) if _lines_of(log, step, UNDO)]
    current = _current_step(saga, log)
    for direction, some in ((DO, steps), (UNDO, undone)):
        for step in some:
            lines = _lines_of(log, step, direction)
            is_current = current is step and saga.direction == direction
            note = gettext("now") if is_current else "" if lines else gettext("not reached")
            marks = [_mark(line, start=start, end=end) for line in lines]
            yield {"name": step.name, "is_compensation": direction == UNDO, "marks": marks, "note": note}


def _current_step(saga: Saga, log: Sequence[SagaLog]) -> Step | None:
    if saga.ended_at or saga.kind not in SAGA_TYPES:
        return None
    final = {line.step for line in log if line.attempt == 0 and line.direction == saga.direction}
    return SAGA_TYPES[saga.kind].next_step(saga.direction, final, is_irreversible=saga.is_irreversible)


def _lines_of(log: Sequence[SagaLog], step: Step, direction: str) -> list[SagaLog]:
    return [line for line in log if (line.step, line.direction) == (step.name, direction)]


def _mark(line: SagaLog, *, start: datetime, end: datetime) -> dict[str, str]:
    """A line of the log on the row of its step; `left` is its place in percent of the drawn time."""
    length = max(end - start, timedelta(milliseconds=1))
    permille = min(1_000, max(0, (line.at - start) * 1_000 // length))
    text = (
        gettext("%(event)s, attempt %(attempt)s at %(at)s %(detail)s")
        if line.attempt
        else gettext("%(event)s at %(at)s %(detail)s")
    )
    title = text % {
        "event": line.get_event_display(),
        "attempt": line.attempt,
        "at": f"{line.at:%H:%M:%S}",
        "detail": stored_text(line.detail),
    }
    left, colour = f"{permille // 10}.{permille % 10}", EVENT_COLOURS[Event(line.event)]
    return {"left": left, "colour": colour, "title": title.strip()}
