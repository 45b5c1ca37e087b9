"""The log of a saga: a final line for each step and direction, and the tries before it.

A line is written in the transaction of what it tells, and told in the journal as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.utils import timezone

from orders.models import Saga, SagaLog
from shop import journal, rows
from shop.journal import Who

DO, UNDO = Saga.Direction.DO, Saga.Direction.UNDO
Event = SagaLog.Event
# Not final: the step is to be tried again.
IN_VAIN = (Event.FAILED, Event.PENDING)
# Final, and it has happened: we did it, or an operator answers for it.
IN_EFFECT = (Event.DONE, Event.FORCED)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a step came to: `done`, `refused` for good, `failed` this time with its outcome unknown, or
    `pending` while the other side is at it.
    """

    event: Event
    detail: str = ""
    code: str = ""
    reference: str = ""


# A saga's final lines, by step and direction.
Lines = dict[tuple[str, str], Heard]


class LineRow(NamedTuple):
    """The row of a line of a saga's log."""

    saga_id: UUID
    step: str
    direction: str
    attempt: int
    event: str
    detail: str
    reference: str
    at: datetime


LINES = rows.Table(SagaLog, LineRow._fields)


def write(saga: Saga, step: str, direction: str, heard: Heard, *, attempt: int = 0) -> None:
    """Write a line, final unless it counts an attempt; a refusal turns the saga round."""
    line = line_of(saga, step, direction, heard, attempt=attempt)
    line.save(force_insert=True)
    tell(saga, line)
    if heard.event == Event.REFUSED:
        turn_round(saga, heard.code, heard.detail)


def write_together(written: Sequence[tuple[Saga, str, Heard]]) -> None:
    """Write final lines of steps that are done, in one statement."""
    if not written:
        return
    now = timezone.now()
    rows.insert(
        LINES,
        [
            LineRow(saga.id, step, DO, 0, heard.event, heard.detail[:255], heard.reference, now)
            for saga, step, heard in written
        ],
    )
    for saga, step, heard in written:
        _tell(saga, step, DO, heard, attempt=0, at=now)


def ended(state: str) -> dict[str, Any]:
    """What a saga's row says once it is over."""
    return {
        "state": state,
        "ended_at": timezone.now(),
        "next_attempt_at": None,
        "leased_until": None,
        "lease_token": "",
    }


def line_of(saga: Saga, step: str, direction: str, heard: Heard, *, attempt: int = 0) -> SagaLog:
    """An unsaved line of the saga's log."""
    return SagaLog(
        saga=saga,
        step=step,
        direction=direction,
        attempt=attempt,
        event=heard.event,
        detail=heard.detail[:255],
        reference=heard.reference,
        at=timezone.now(),
    )


def tell(saga: Saga, line: SagaLog) -> None:
    """Note a line in the journal, such as `charge_card.done`; `charge_card.undo.done` on the way back."""
    heard = Heard(Event(line.event), line.detail, reference=line.reference)
    _tell(saga, line.step, line.direction, heard, attempt=line.attempt, at=line.at)


def _tell(saga: Saga, step: str, direction: str, heard: Heard, *, attempt: int, at: datetime) -> None:
    way = ".undo" if direction == UNDO else ""
    journal.note(
        what=f"{step}{way}.{heard.event}",
        subject=f"{saga.kind} {saga.subject_id}",
        order_id=saga.about_id,
        detail=heard.detail,
        reference=heard.reference,
        is_internal=attempt > 0,
        at=at,
        by=acting_for(saga),
    )


def acting_for(saga: Saga) -> Who:
    """At whose hands a saga goes on: an operator's who forces it, else the system's, for its request."""
    who = journal.who()
    return who if who.actor == journal.Actor.STAFF else Who(request_id=saga.request_id)


def turn_round(saga: Saga, code: str, detail: str) -> None:
    """From here on the saga is undone, because of `code`."""
    Saga.objects.filter(id=saga.id).update(
        direction=UNDO, failure_code=code[:64] or "refused", failure_detail=detail[:255]
    )
