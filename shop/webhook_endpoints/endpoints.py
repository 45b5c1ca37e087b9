"""Webhook endpoints: created, changed, deleted and disabled, each with a line of the journal."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet

from shop import clock
from shop.db import batch_deletion, transactions
from shop.errors import NotFound, Rejected, invalid_field
from shop.event_feed import catalogue, reading
from shop.events import journal
from shop.lazy_texts import mark as _
from shop.outbound import public_addresses
from shop.outbound.public_addresses import AddressRefused
from shop.webhook_endpoints import signatures
from shop.webhook_models import BUILT_IN, WebhookDelivery, WebhookEndpoint

MOST_ENDPOINTS = 50
"""Each with events to send has some threads of a worker."""
MOST_PATTERNS = 50
MARK_LENGTH = 8
"""Of the hash that stands for a URL's path and query in the journal."""
PENDING = WebhookDelivery.Status.PENDING


class Terms(TypedDict, total=False):
    """What can be changed of an endpoint."""

    url: str
    events: Sequence[str]
    description: str


def create(*, url: str, events: Sequence[str], description: str = "") -> WebhookEndpoint:
    """A new endpoint, which is sent what happens from now on; its `secret` is shown this once.

    Durable on return. Raises `Invalid`, and `Rejected` `too_many_endpoints`.
    """
    check_url(url)
    _check_events(events)
    endpoint = WebhookEndpoint(
        url=url,
        events=sorted(set(events)),
        description=description,
        secret=signatures.new_secret(),
        position=reading.last_position(),
        created_at=clock.now(),
    )

    find()

    def insert() -> None:
        # Counted under a lock, of a row that is always there.
        WebhookEndpoint.objects.select_for_update().get(pk=BUILT_IN)
        if WebhookEndpoint.objects.exclude(pk=BUILT_IN).count() >= MOST_ENDPOINTS:
            raise Rejected(
                _("There are {most} endpoints already; delete one first.", most=MOST_ENDPOINTS),
                code="too_many_endpoints",
            )
        endpoint.save(force_insert=True)
        _note("created", endpoint, after=_facts(endpoint))

    transactions.run(insert, transactions.ONCE)
    return endpoint


def find() -> "QuerySet[WebhookEndpoint]":
    """All endpoints, with the data platform as one of them."""
    if not WebhookEndpoint.objects.filter(pk=BUILT_IN).exists():
        row = WebhookEndpoint(
            pk=BUILT_IN,
            kind=WebhookEndpoint.Kind.DATA_PLATFORM,
            events=["coupon.issued", "order.cancelled", "order.paid", "order.refunded", "stock.low"],
            created_at=clock.now(),
        )
        WebhookEndpoint.objects.bulk_create([row], ignore_conflicts=True)
    return WebhookEndpoint.objects.all()


def get(*, endpoint_id: UUID) -> WebhookEndpoint:
    """Raises `NotFound`."""
    endpoint = find().filter(pk=endpoint_id).first()
    if endpoint is None:
        raise NotFound(_("There is no webhook endpoint {id}.", id=str(endpoint_id)))
    return endpoint


def get_own(*, endpoint_id: UUID) -> WebhookEndpoint:
    """One that was created here. Raises `NotFound`, and `Rejected` `built_in_endpoint`."""
    endpoint = get(endpoint_id=endpoint_id)
    if endpoint.kind != WebhookEndpoint.Kind.PROGRAM:
        raise Rejected(
            _("The data platform is set up by the settings, and has its own protocol."),
            code="built_in_endpoint",
        )
    return endpoint


def address_of(endpoint: WebhookEndpoint) -> str:
    """Where it is sent to; that of the data platform is a setting."""
    if endpoint.kind == WebhookEndpoint.Kind.DATA_PLATFORM:
        return f"{settings.DATA_PLATFORM_URL}/events"
    return endpoint.url


def change(*, endpoint_id: UUID, is_enabled: bool | None = None, **terms: Unpack[Terms]) -> WebhookEndpoint:
    """Change these terms; with `is_enabled` disable it, or enable it again, which tries what is pending.

    Durable on return. Raises `Invalid`, `NotFound` and `Rejected` `built_in_endpoint`.
    """
    get_own(endpoint_id=endpoint_id)
    if "url" in terms:
        check_url(terms["url"])
    if "events" in terms:
        _check_events(terms["events"])
        terms["events"] = sorted(set(terms["events"]))

    def update() -> WebhookEndpoint:
        endpoint = WebhookEndpoint.objects.select_for_update().filter(pk=endpoint_id).first()
        if endpoint is None:
            raise NotFound(_("There is no webhook endpoint {id}.", id=str(endpoint_id)))
        before = _facts(endpoint)
        changed: dict[str, Any] = {**terms}
        now = clock.now()
        if is_enabled is not None and is_enabled != (endpoint.disabled_at is None):
            changed |= {"disabled_at": None if is_enabled else now, "failing_since": None}
            if is_enabled:
                # What waited while it was disabled is tried as if it were new.
                pending = WebhookDelivery.objects.filter(endpoint=endpoint, status=PENDING)
                pending.update(created_at=now, next_attempt_at=now)
        # A change may be what mends it: it is tried at once.
        changed |= {"next_attempt_at": None, "failures": 0}
        for name, value in changed.items():
            setattr(endpoint, name, value)
        endpoint.save(update_fields=list(changed))
        after = _facts(endpoint)
        if after != before:
            _note("changed", endpoint, before=before, after=after)
        return endpoint

    return transactions.run(update, transactions.REPEATABLE)


def delete(*, endpoint_id: UUID) -> None:
    """Delete it with its deliveries. Raises `NotFound` and `Rejected` `built_in_endpoint`.

    Its log may be long, and is deleted first, by many transactions; a repeat continues with what is left.
    """
    get_own(endpoint_id=endpoint_id)
    enabled_row = WebhookEndpoint.objects.filter(pk=endpoint_id, disabled_at=None)
    transactions.run(lambda: enabled_row.update(disabled_at=clock.now()), transactions.REPEATABLE)
    batch_deletion.delete_in_batches(WebhookDelivery.objects.filter(endpoint=endpoint_id))

    def work() -> None:
        endpoint = WebhookEndpoint.objects.select_for_update().filter(pk=endpoint_id).first()
        if endpoint is not None:
            _note("deleted", endpoint, before=_facts(endpoint))
            endpoint.delete()

    transactions.run(work, transactions.REPEATABLE)


def disable_failing(endpoint: WebhookEndpoint, *, error: str, at: datetime) -> None:
    """Disable an endpoint that has failed for too long, in the caller's transaction."""
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(disabled_at=at)
    since = endpoint.failing_since or at
    _note(
        "disabled",
        endpoint,
        before={"failing_since": since.isoformat()},
        after={"disabled_at": at.isoformat(), "error": error},
        by=journal.SYSTEM,
    )


def enabled() -> "QuerySet[WebhookEndpoint]":
    """The endpoints to which workers deliver."""
    return WebhookEndpoint.objects.filter(kind=WebhookEndpoint.Kind.PROGRAM, disabled_at=None)


def count_disabled() -> dict[str, float]:
    """How many endpoints staff disabled, and how many `failures` did, which staff have not dealt with yet."""
    disabled = WebhookEndpoint.objects.exclude(disabled_at=None)
    by_failures = disabled.exclude(failing_since=None).count()
    return {"staff": disabled.count() - by_failures, "failures": by_failures}


def check_url(url: str) -> None:
    """Raise `Invalid` unless it is a URL whose host has public addresses alone; with `DEBUG` any will do."""
    try:
        public_addresses.check_soon(url, allows_private=settings.DEBUG)
    except AddressRefused as error:
        detail = _("The url is refused: {why}.", why=str(error))
        raise invalid_field("url", "address_refused", detail) from None


def journal_subject(endpoint_id: UUID) -> str:
    """What the journal calls the endpoint."""
    return f"webhook endpoint {endpoint_id}"


def _check_events(events: Sequence[str]) -> None:
    if not events or len(events) > MOST_PATTERNS:
        raise invalid_field(
            "events", "invalid", _("Name one type at least, and {most} at most.", most=MOST_PATTERNS)
        )
    for index, pattern in enumerate(events):
        if not catalogue.is_pattern(pattern):
            detail = _("No event has the type {type}.", type=pattern)
            raise invalid_field(f"events.{index}", "unknown_type", detail)


def _facts(endpoint: WebhookEndpoint) -> dict[str, Any]:
    """The endpoint in the journal: never its secret, nor a URL's path and query, which may have keys."""
    return {
        "url": _shown(endpoint.url),
        "events": list(endpoint.events),
        "description": endpoint.description,
        "enabled": endpoint.disabled_at is None,
    }


def _note(what: str, endpoint: WebhookEndpoint, **more: Any) -> None:
    journal.note(
        what=f"webhook_endpoint.{what}",
        subject=journal_subject(endpoint.pk),
        detail=_shown(endpoint.url)[: journal.LONGEST_DETAIL],
        is_internal=True,
        **more,
    )


def _shown(url: str) -> str:
    """The address without path and query, with a mark that changes when they do."""
    parts = urlsplit(url)
    mark = hashlib.sha256(url.encode()).hexdigest()[:MARK_LENGTH]
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/ ({mark})"
