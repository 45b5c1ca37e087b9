"""The status of unfinished sagas, and which of them need an operator."""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from django.db.models import Count, Prefetch, Q, QuerySet

from orders.models import Saga, SagaLog
from orders.saga.definitions import AT_ONCE, SAGA_TYPES
from payments.models import Payment
from shop import clock

READ_AT_ONCE = 500


def read_unfinished() -> Iterator[Saga]:
    """The unfinished sagas, as `with_final_lines` has them."""
    return with_final_lines(_unfinished()).iterator(chunk_size=READ_AT_ONCE)


def read_needing_operator(*, most: int | None = None) -> Iterator[Saga]:
    """Those that need an operator, at most `most`: stuck, or past their deadline and not yet retried."""
    sagas = filter_needing_operator(_unfinished())[:most]
    return with_final_lines(sagas).iterator(chunk_size=READ_AT_ONCE)


def count_needing_operator(*, most: int) -> int:
    """How many sagas need an operator; `most` stands for so many or more."""
    return filter_needing_operator(_unfinished()).order_by()[:most].count()


def filter_needing_operator(sagas: "QuerySet[Saga]") -> "QuerySet[Saga]":
    overdue = Q(state=Saga.State.RUNNING, deadline_at__lt=clock.now())
    # The index on the next attempt finds the unfinished ones; the state has no index.
    return sagas.filter(Q(state=Saga.State.STUCK) | overdue, next_attempt_at__isnull=False)


def count_stuck() -> dict[str, int]:
    return count_unfinished(state=Saga.State.STUCK)


def count_unfinished(**only: str) -> dict[str, int]:
    """How many sagas of each type are unfinished."""
    counted = _unfinished().filter(**only).order_by().values_list("kind").annotate(count=Count("id"))
    return dict.fromkeys(SAGA_TYPES, 0) | dict(counted)


def filter_unsettled(payments: "QuerySet[Payment]", statuses: Collection[str]) -> "QuerySet[Payment]":
    """Those in one of these unsettled statuses, by their unfinished sagas: the status has no index."""
    unfinished = Saga.objects.filter(next_attempt_at__isnull=False).values("subject_id")
    return payments.filter(id__in=unfinished, status__in=statuses)


def oldest_due_seconds() -> float:
    """For how many seconds the saga that is due first has waited for an executor; 0 when none is due."""
    # Each by the index: a new one, which is due at once, waits since its start.
    new = Saga.objects.filter(next_attempt_at=AT_ONCE).order_by("id").values_list("created_at", flat=True)
    others = Saga.objects.filter(next_attempt_at__gt=AT_ONCE).order_by("next_attempt_at")
    first = [at for at in (*new[:1], *others.values_list("next_attempt_at", flat=True)[:1]) if at]
    return max(0.0, (clock.now() - min(first)).total_seconds()) if first else 0.0


def with_final_lines(sagas: "QuerySet[Saga]") -> "QuerySet[Saga]":
    """These sagas with their final log lines, which show the current step: one query for all."""
    return sagas.prefetch_related(Prefetch("log", SagaLog.objects.filter(attempt=0), to_attr="final_lines"))


def step_name(saga: Any) -> str:
    """The step that a saga with its final lines is at; empty at its end."""
    final = {line.step for line in saga.final_lines if line.direction == saga.direction}
    step = SAGA_TYPES[saga.kind].next_step(saga.direction, final, is_irreversible=saga.is_irreversible)
    return step.name if step and not saga.ended_at else ""


def late_since(saga: Saga) -> datetime | None:
    """The deadline of an unfinished saga, once that has passed."""
    return saga.deadline_at if saga.deadline_at < clock.now() else None


def _unfinished() -> "QuerySet[Saga]":
    return Saga.objects.filter(next_attempt_at__isnull=False).order_by("deadline_at", "id")
