"""Finds sagas that wait for a worker: new ones, and those left by a crash, a lost message or a pause."""

from collections.abc import Collection
from datetime import timedelta
from functools import partial
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet

from orders.models import Saga
from orders.saga.definitions import LEASE_SECONDS, SAGA_COLUMNS, SAGA_TYPES, UNFINISHED, SagaRow
from shop import clock
from shop.db import bulk_sql, transactions


def find_new(*, limit: int) -> list[SagaRow]:
    """New sagas that no worker has leased yet, oldest first; without types of a newer release."""
    now, cells = clock.now(), bulk_sql.SqlLiterals()
    # Recovery finds it within a lease: the index is read for that range only.
    later = now + timedelta(seconds=LEASE_SECONDS)
    reader, types = bulk_sql.reader(Saga, SAGA_COLUMNS), cells.listed(SAGA_TYPES)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {reader.selected} FROM orders_saga WHERE next_attempt_at > {cells[now]}"  # noqa: S608 - instants
            f" AND next_attempt_at <= {cells[later]} AND lease_token = '' AND attempts = 0"
            f" AND open_call = '' AND leased_until IS NULL AND kind IN ({types})"
            f" ORDER BY next_attempt_at LIMIT {limit:d}"
        )
        return [SagaRow(*reader.values(row)) for row in cursor.fetchall()]


def filter_unleased(saga_ids: Collection[UUID]) -> dict[UUID, str]:
    """The kinds of those of these sagas that are unfinished and not leased, in the order given."""
    free = Q(leased_until__isnull=True) | Q(leased_until__lte=clock.now())
    sagas = Saga.objects.filter(free, id__in=saga_ids, state__in=UNFINISHED, kind__in=SAGA_TYPES)
    kinds = dict(sagas.values_list("id", "kind"))
    return {saga_id: kinds[saga_id] for saga_id in saga_ids if saga_id in kinds}


def due() -> "QuerySet[Saga]":
    """Unfinished sagas whose next attempt is due and that are not leased."""
    now = clock.now()
    free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
    return Saga.objects.filter(free, next_attempt_at__lte=now, kind__in=SAGA_TYPES)


def dequeue_due(*, limit: int) -> list[UUID]:
    """The sagas that are due; each is returned once per lease."""
    ids = list(due().order_by("next_attempt_at").values_list("id", flat=True)[:limit])
    now = clock.now()
    later = now + timedelta(seconds=LEASE_SECONDS)
    taken = Saga.objects.filter(id__in=ids, next_attempt_at__lte=now)
    # Executors lock these rows and the index in another order: the update is retried on deadlock.
    transactions.run(partial(taken.update, next_attempt_at=later, queued_at=now), transactions.REPEATABLE)
    return ids


def make_due(saga_id: UUID) -> None:
    """Make an unfinished saga due now, for example because a webhook arrived."""
    unfinished = Saga.objects.filter(id=saga_id, state__in=UNFINISHED)
    transactions.run(lambda: unfinished.update(next_attempt_at=clock.now()), transactions.REPEATABLE)
