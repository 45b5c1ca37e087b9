"""Webhook endpoints: created, changed, given another secret, deleted and disabled, as the journal says."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from accounts.models import ApiKey
from events.feed import reading
from events.models import BUILT_IN, WebhookDelivery, WebhookEndpoint
from events.webhooks import signatures
from foundation import clock, journal
from foundation.concurrency.thread_pool import ThreadPool
from foundation.db import key_walks, transactions
from foundation.db.rows import present, save_changes
from foundation.errors import Rejected, invalid_field, required
from foundation.lazy_texts import mark
from foundation.outbound import public_addresses
from foundation.outbound.public_addresses import AddressRefused
from foundation.values import Values

MOST_ENDPOINTS = 50
"""Each with events to send has some threads of a worker."""
MOST_PATTERNS = 50
DATA_PLATFORM_EVENTS = ["coupon.issued", "order.cancelled", "order.paid", "order.refunded", "stock.low"]
MARK_LENGTH = 8
"""Of the hash that stands for a URL's path and query in the journal."""
FORMER_SECRET_VALID = timedelta(hours=24)
MOST_SECRETS = 10
"""Of an endpoint that sign at once, the current one included."""
BACKEND = "django.contrib.auth.backends.ModelBackend"
PENDING = WebhookDelivery.Status.PENDING
DisabledBy = WebhookEndpoint.DisabledBy
LOOK_UP_SECONDS = 3.0
_look_ups = ThreadPool("names", threads=16, max_waiting=64)


class Owner(NamedTuple):
    """The account for which an endpoint gets events, and the API key by which it asked, if it did by one."""

    account_id: int
    key_id: int | None = None


def create(
    *, url: str, events: Sequence[str], owner: Owner, description: str = "", reason: str = ""
) -> WebhookEndpoint:
    """A new endpoint, which is sent what happens from now on; its `secret` is shown this once. Durable.

    It gets events while its owner may read them; the caller checks that the owner may now. Raises `Invalid`,
    and `Rejected` `too_many_endpoints`.
    """
    check_url(url)
    endpoint = WebhookEndpoint(
        url=url,
        events=_checked_events(events),
        description=description,
        owner_id=owner.account_id,
        api_key_id=owner.key_id,
        secret=signatures.new_secret(),
        position=reading.read_state().last_position,
        created_at=clock.now(),
    )
    find()

    def insert() -> None:
        # Counted under a lock, of a row that is always there.
        WebhookEndpoint.objects.select_for_update().get(pk=BUILT_IN)
        if WebhookEndpoint.objects.exclude(pk=BUILT_IN).count() >= MOST_ENDPOINTS:
            raise Rejected(
                mark("There are {most} endpoints already; delete one first.", most=MOST_ENDPOINTS),
                code="too_many_endpoints",
            )
        endpoint.save(force_insert=True)
        _note("created", endpoint, after=_facts(endpoint), reason=reason)

    transactions.run_or_savepoint(insert, transactions.ONCE)
    return endpoint


def find() -> "QuerySet[WebhookEndpoint]":
    """All endpoints, with the data platform as one of them."""
    if not WebhookEndpoint.objects.filter(pk=BUILT_IN).exists():
        kind = WebhookEndpoint.Kind.DATA_PLATFORM
        # From position 0 on: it gets what happened before it was first looked for.
        row = WebhookEndpoint(pk=BUILT_IN, kind=kind, events=DATA_PLATFORM_EVENTS, created_at=clock.now())
        WebhookEndpoint.objects.bulk_create([row], ignore_conflicts=True)
    return WebhookEndpoint.objects.all()


def get(*, endpoint_id: UUID) -> WebhookEndpoint:
    """Raises `NotFound`."""
    return _get(endpoint_id, find())


def get_own(*, endpoint_id: UUID) -> WebhookEndpoint:
    """One that was created here. Raises `NotFound`, and `Rejected` `built_in_endpoint`."""
    endpoint = get(endpoint_id=endpoint_id)
    if endpoint.is_built_in:
        raise Rejected(
            mark("The data platform is set up by the settings, and has its own protocol."),
            code="built_in_endpoint",
        )
    return endpoint


def address_of(endpoint: WebhookEndpoint) -> str:
    """Where it is sent to; that of the data platform is a setting, whose keys nobody needs to read here, and
    empty while that is off.
    """
    if endpoint.is_built_in:
        url = settings.DATA_PLATFORM_URL
        return public_addresses.shown(f"{url}/events") if url else ""
    return endpoint.url


def change(
    *,
    endpoint_id: UUID,
    url: str | None = None,
    events: Sequence[str] | None = None,
    description: str | None = None,
    is_enabled: bool | None = None,
    owner: Owner | None = None,
    reason: str = "",
) -> WebhookEndpoint:
    """Change what is given, and the `owner` for whom it gets events; enabled again, it tries what is pending.
    Durable. Raises `Invalid`, `NotFound` and `Rejected` `built_in_endpoint`.
    """
    get_own(endpoint_id=endpoint_id)
    if url is not None:
        check_url(url)
    chosen = None if events is None else _checked_events(events)

    def update() -> WebhookEndpoint:
        endpoint = _lock(endpoint_id)
        now = clock.now()
        before = _facts(endpoint)
        changed = present(url=url, events=chosen, description=description)
        if is_enabled is not None and is_enabled != (endpoint.disabled_at is None):
            changed |= {"disabled_at": None if is_enabled else now, "failing_since": None}
            changed["disabled_by"] = "" if is_enabled else DisabledBy.STAFF
            if is_enabled:
                # What waited while it was disabled is tried as if it were new.
                pending = WebhookDelivery.objects.filter(endpoint=endpoint, status=PENDING)
                pending.update(created_at=now, next_attempt_at=now)
        # A change may be what repairs it: it is tried at once.
        changed |= {"next_attempt_at": None, "failures": 0}
        if owner is not None:
            changed |= {"owner_id": owner.account_id, "api_key_id": owner.key_id}
        save_changes(endpoint, **changed)
        after = _facts(endpoint)
        if after != before:
            _note("changed", endpoint, before=before, after=after, reason=reason)
        return endpoint

    return transactions.run(update, transactions.REPEATABLE)


def delete(*, endpoint_id: UUID) -> None:
    """Delete it with its deliveries. Raises `NotFound` and `Rejected` `built_in_endpoint`.

    Its log may be long, and is deleted first, by many transactions; a repeat continues with what is left.
    """
    get_own(endpoint_id=endpoint_id)
    enabled_row = WebhookEndpoint.objects.filter(pk=endpoint_id, disabled_at=None)
    transactions.run(lambda: enabled_row.update(disabled_at=clock.now()), transactions.REPEATABLE)
    key_walks.delete(WebhookDelivery.objects.filter(endpoint=endpoint_id))

    def work() -> None:
        endpoint = WebhookEndpoint.objects.select_for_update().filter(pk=endpoint_id).first()
        if endpoint is not None:
            _note("deleted", endpoint, before=_facts(endpoint))
            endpoint.delete()

    transactions.run(work, transactions.REPEATABLE)


def rotate_secret(*, endpoint_id: UUID, reason: str = "") -> WebhookEndpoint:
    """Give it another `secret`, which is shown this once; the former one signs as well for 24 hours.

    Durable on return. Raises `NotFound`, and `Rejected` `built_in_endpoint` or `too_many_secrets`.
    """
    get_own(endpoint_id=endpoint_id)

    def work() -> WebhookEndpoint:
        endpoint = _lock(endpoint_id)
        now = clock.now()
        former = _former_secrets(endpoint, now)
        until = now + FORMER_SECRET_VALID
        if len(former) >= MOST_SECRETS - 1:
            raise Rejected(
                mark(
                    "{limit} secrets of this endpoint sign at once, the most there may be.",
                    limit=MOST_SECRETS,
                ),
                code="too_many_secrets",
                limit=MOST_SECRETS,
                retry_after=1 + int((datetime.fromisoformat(former[0][1]) - now).total_seconds()),
            )
        former.append([endpoint.secret, until.isoformat()])
        save_changes(endpoint, secret=signatures.new_secret(), former_secrets=former)
        _note("secret_rotated", endpoint, after={"former_secret_until": until.isoformat()}, reason=reason)
        return endpoint

    return transactions.run_or_savepoint(work, transactions.ONCE)


def secrets_of(endpoint: WebhookEndpoint, at: datetime) -> list[str]:
    """The secrets that sign what is sent at this instant, the current one first."""
    return [endpoint.secret, *(secret for secret, _until in _former_secrets(endpoint, at))]


def forget_former_secrets() -> int:
    """Delete the former secrets that sign no more. Returns of how many endpoints."""

    def work() -> int:
        now = clock.now()
        changed = 0
        for endpoint in WebhookEndpoint.objects.select_for_update().filter(former_secrets__isnull=False):
            left = _former_secrets(endpoint, now)
            if left != endpoint.former_secrets:
                save_changes(endpoint, former_secrets=left or None)
                changed += 1
        return changed

    return transactions.run(work, transactions.REPEATABLE)


def lost_right(endpoint: WebhookEndpoint) -> str:
    """Why its owner may not read events any more; empty while the owner may, and for the data platform."""
    if endpoint.is_built_in:
        return ""
    if endpoint.owner_id is None or not _readers().filter(pk=endpoint.owner_id).exists():
        return "its owner may not read events any more"
    if (
        endpoint.api_key_id is not None
        and not _usable_keys(clock.now()).filter(pk=endpoint.api_key_id).exists()
    ):
        return "its API key is revoked, or has expired"
    return ""


def find_sendable(at: datetime) -> "QuerySet[WebhookEndpoint, tuple[UUID, str, str, list[str]]]":
    """What the enabled endpoints without a `lost_right` are sent by: key, lease token, URL and events."""
    is_owned = Exists(_readers().filter(pk=OuterRef("owner_id")))
    has_key = Q(api_key_id=None) | Exists(_usable_keys(at).filter(pk=OuterRef("api_key_id")))
    has_right = Q(is_owned, has_key) | Q(kind=WebhookEndpoint.Kind.DATA_PLATFORM)
    enabled = WebhookEndpoint.objects.filter(has_right, disabled_at=None)
    return enabled.values_list("pk", "lease_token", "url", "events")


def _readers() -> "QuerySet[User]":
    return User.objects.with_perm(reading.READ_EVENTS, backend=BACKEND).filter(is_staff=True)


def _usable_keys(at: datetime) -> "QuerySet[ApiKey]":
    return ApiKey.objects.filter(Q(expires_at=None) | Q(expires_at__gt=at), revoked_at=None)


def disable(endpoint: WebhookEndpoint, *, by: DisabledBy, error: str, at: datetime) -> None:
    """Disable an endpoint that has failed for too long, or whose owner lost the right, in a transaction; one
    that was disabled, or has another owner, meanwhile stays as it is.
    """
    same = WebhookEndpoint.objects.filter(
        pk=endpoint.pk, disabled_at=None, owner_id=endpoint.owner_id, api_key_id=endpoint.api_key_id
    )
    if same.update(disabled_at=at, disabled_by=by):
        since = endpoint.failing_since
        _note(
            "disabled",
            endpoint,
            before={"failing_since": since and since.isoformat()},
            after={"disabled_at": at.isoformat(), "disabled_by": by, "error": error},
            by=journal.SYSTEM,
        )


def note_skipped(endpoint: WebhookEndpoint, told: WebhookDelivery) -> None:
    """Note in the journal which events the endpoint doesn't get, of which this delivery tells it."""
    assert told.payload is not None
    after = told.payload["data"] | {"event": str(told.event_id)}
    _note("events_skipped", endpoint, after=after, by=journal.SYSTEM)


def count_disabled() -> dict[str, float]:
    """How many endpoints staff disabled, and how many failures or lost rights did, which staff left so."""
    disabled = WebhookEndpoint.objects.exclude(disabled_at=None).order_by().values_list("disabled_by")
    return dict.fromkeys(DisabledBy.values, 0.0) | dict(disabled.annotate(Count("pk")))


def check_url(url: str) -> None:
    """Raise `Invalid` unless it is a URL whose host has public addresses alone; with
    `WEBHOOK_PRIVATE_ADDRESSES` any will do.

    A name server that answers late holds a thread of the pool, so the names of one caller hold at most half
    of these threads, and one host a quarter. What was not begun in `LOOK_UP_SECONDS` is not begun. Raises
    `Overloaded`.
    """
    found: Future[list[str]] = Future()

    def look_up() -> None:
        if found.set_running_or_notify_cancel():
            try:
                found.set_result(
                    public_addresses.resolve(url, allows_private=settings.WEBHOOK_PRIVATE_ADDRESSES)
                )
            except Exception as error:
                found.set_exception(error)

    try:
        public_addresses.check_url(url, allows_private=settings.WEBHOOK_PRIVATE_ADDRESSES)
        _look_ups.start(look_up, group=("caller", journal.current_actor().id), member=urlsplit(url).hostname)
        found.result(timeout=LOOK_UP_SECONDS)
    except (AddressRefused, TimeoutError) as error:
        found.cancel()
        why = str(error) or public_addresses.NOT_PUBLIC
        raise invalid_field("url", "address_refused", mark("The url is refused: {why}.", why=why)) from None


def journal_subject(endpoint_id: UUID) -> str:
    """What the journal calls the endpoint."""
    return f"webhook endpoint {endpoint_id}"


def _lock(endpoint_id: UUID) -> WebhookEndpoint:
    return _get(endpoint_id, WebhookEndpoint.objects.select_for_update())


def _get(endpoint_id: UUID, endpoints: "QuerySet[WebhookEndpoint]") -> WebhookEndpoint:
    text = mark("There is no webhook endpoint {id}.", id=str(endpoint_id))
    return required(endpoints.filter(pk=endpoint_id).first(), text)


def _former_secrets(endpoint: WebhookEndpoint, at: datetime) -> list[list[str]]:
    """The former ones that still sign, each with the instant until which it does, the oldest first."""
    former: list[list[str]] = endpoint.former_secrets or []
    return [pair for pair in former if datetime.fromisoformat(pair[1]) > at]


def _checked_events(events: Sequence[str]) -> list[str]:
    for index, pattern in enumerate(events):
        reading.check_pattern(pattern, field=f"events.{index}")
    return sorted(set(events))


def _facts(endpoint: WebhookEndpoint) -> Values:
    """The endpoint in the journal: never its secret, nor a URL's path and query, which may have keys."""
    return {
        "url": _shown(endpoint.url),
        "events": list(endpoint.events),
        "description": endpoint.description,
        "enabled": endpoint.disabled_at is None,
        "owner": endpoint.owner_id,
        "api_key": endpoint.api_key_id,
    }


def _note(what: str, endpoint: WebhookEndpoint, *, reason: str = "", **more: Any) -> None:
    journal.note(
        what=f"webhook_endpoint.{what}",
        subject=journal_subject(endpoint.pk),
        detail=(reason or _shown(endpoint.url))[: journal.LONGEST_DETAIL],
        is_internal=True,
        **more,
    )


def _shown(url: str) -> str:
    """The address without path and query, with a mark that changes when they do."""
    parts = urlsplit(url)
    mark = hashlib.sha256(url.encode()).hexdigest()[:MARK_LENGTH]
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/ ({mark})"
