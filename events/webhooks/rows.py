"""The rows of webhook endpoints and of their deliveries.

- A worker leases an endpoint by its row, without a transaction around it, and gives it back so.
- Recording a pass locks the endpoint's row; it writes new deliveries, changed ones, then that row.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from events.models import WebhookDelivery, WebhookEndpoint
from foundation import clock
from foundation.db import bulk_sql
from foundation.outbound import backoff
from foundation.values import GivenValues

PENDING_OF = "endpoint_id = {endpoint} AND status = 'pending'"


def read_due(endpoint: WebhookEndpoint, *, most: int) -> list[WebhookDelivery]:
    """The first pending deliveries whose next attempt has come."""
    cells = bulk_sql.SqlLiterals()
    pending = PENDING_OF.format(endpoint=cells[endpoint.pk])
    # Last comes what the data platform has refused: however much that is, it gets the others.
    sequence = f"ORDER BY refused_at, next_attempt_at, id LIMIT {most}"
    is_due = clock.has_come_sql("next_attempt_at", cells, most_seconds=backoff.LONGEST_SECONDS)
    return bulk_sql.reader(WebhookDelivery).models(f"{pending} AND {is_due} {sequence}", cells)


def has_pending(endpoint: WebhookEndpoint, number: int) -> bool:
    """Whether so many deliveries are pending; to the data platform those that fail and are not refused."""
    cells = bulk_sql.SqlLiterals()
    pending = PENDING_OF.format(endpoint=cells[endpoint.pk])
    if endpoint.is_built_in:
        pending += " AND refused_at IS NULL AND attempts > 0"
    found = bulk_sql.reader(WebhookDelivery).rows(f"{pending} LIMIT 1 OFFSET {number - 1}", cells)
    return bool(found)


def new_delivery(columns: GivenValues) -> WebhookDelivery:
    return bulk_sql.new_object(WebhookDelivery, columns)


def insert_deliveries(deliveries: Sequence[WebhookDelivery]) -> None:
    bulk_sql.insert_objects(deliveries)


def lock_endpoint(endpoint_id: UUID) -> WebhookEndpoint | None:
    cells = bulk_sql.SqlLiterals()
    locked = f"id = {cells[endpoint_id]}{bulk_sql.for_update()}"
    return next(iter(bulk_sql.reader(WebhookEndpoint).models(locked, cells)), None)


def lease_endpoint(endpoint_id: UUID, token: str, *, now: datetime, seconds: float) -> int:
    """Lease the endpoint for so long, unless another worker has it; returns how many rows changed."""
    cells = bulk_sql.SqlLiterals()
    lapsed = clock.has_come_sql("leased_until", cells, most_seconds=seconds)
    is_free = f"leased_until IS NULL OR {lapsed} OR lease_token = {cells[token]}"
    values: dict[str, bulk_sql.Value] = {
        "lease_token": token,
        "leased_until": now + timedelta(seconds=seconds),
    }
    condition = f"id = {cells[endpoint_id]} AND ({is_free})"
    return bulk_sql.update(WebhookEndpoint, values, condition=condition, cells=cells)


def release_endpoint(endpoint_id: UUID, token: str) -> None:
    cells = bulk_sql.SqlLiterals()
    condition = f"id = {cells[endpoint_id]} AND lease_token = {cells[token]}"
    bulk_sql.update(WebhookEndpoint, {"leased_until": None}, condition=condition, cells=cells)
