"""The threads of a worker that deliver to endpoints: one gives events their positions and looks for endpoints
with events to send, each of which has its own.

Of all workers one delivers to an endpoint, by a lease in its row, so the events of an order stay in sequence;
after a crash another worker has it once the lease lapses.
"""

import secrets
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import datetime
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import Error
from django.db.models import Q, QuerySet, Subquery
from structlog import get_logger

from events.feed import rows as feed_rows, sequencing
from events.models import BUILT_IN, FeedState, WebhookDelivery, WebhookEndpoint
from events.webhooks import delivery_pass, endpoints, rows
from foundation import clock
from foundation.db import compiled, transactions
from foundation.outbound import backoff
from foundation.repeated_work import RepeatedWork, start_once

log = get_logger(__name__)
POLL_SECONDS = 0.5
STOP_SECONDS = 5.0
PAUSE_AFTER_FAILURE_SECONDS = 10.0
"""After a pass that could not be recorded, before the endpoint is released."""
LEASE_SECONDS = 60
"""How long a worker has an endpoint beside the time of a request: a pass begins requests for 15 s, a slow
name server holds one for 30, and a slow database its reading and its record."""


class Dispatcher:
    """Finds endpoints with work, and has a thread for each, which leases it, until it has none left."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._passes: dict[UUID, Future[None]] = {}
        self._token = secrets.token_hex(16)
        self._is_first = True
        self._has_looked = False  # for endpoints: every other time, while no event comes
        self._work = RepeatedWork(self._start_due, name="webhooks", pause=lambda: POLL_SECONDS)

    def start(self, **_: object) -> None:
        """Start looking for work."""
        self._work.start()

    def stop(self, seconds: float = STOP_SECONDS, **_: object) -> None:
        """End after the requests under way, or after so many seconds: what those sent comes again."""
        self._stop.set()
        self._work.stop(within_seconds=seconds / 2)
        running = {id: one for id, one in [*self._passes.items()] if not one.done()}
        wait(running.values(), timeout=seconds / 2)
        for id in running:
            # What its requests brought is still recorded, unless another worker takes it before.
            release(id, self._token)

    def _start_due(self) -> None:
        if not clock.is_measured():
            # By the host's clock others' leases might have lapsed.
            return
        rests = self._has_looked
        self._has_looked = False
        if sequencing.sequence() or self._is_first:
            # A restored database may lack the data platform.
            endpoints.find()
            self._is_first = False
        elif rests:
            return
        for id in [UUID(name) for [name] in compiled.rows(self._find_free, at=clock.now())]:
            self._passes[id] = start_once(f"webhooks {id}", partial(self._serve, id))
        self._has_looked = True

    def _find_free(self, now: datetime) -> "QuerySet[WebhookEndpoint, tuple[UUID]]":
        lapsed = clock.has_come("leased_until", most_seconds=_lease_seconds(), at=now)
        is_free = Q(leased_until=None) | lapsed | Q(lease_token=self._token)
        return due_endpoints(now).filter(is_free).values_list("pk")

    def _serve(self, id: UUID) -> None:
        """Deliver to an endpoint until nothing is due; then let others have it."""
        try:
            with ThreadPoolExecutor(delivery_pass.SENDING_AT_ONCE, thread_name_prefix="webhook") as pool:
                while not self._stop.is_set() and deliver_due(id, self._token, pool=pool, stop=self._stop):
                    pass
        except delivery_pass.LeaseLost:
            log.info("the webhook endpoint was changed, or another worker has it", endpoint=id)
        except Exception as error:
            log.warning("webhooks of an endpoint failed; trying again", error=error)
            # What was sent is not recorded, and will be sent again: not at once.
            self._stop.wait(PAUSE_AFTER_FAILURE_SECONDS)
        finally:
            release(id, self._token)


of_worker = Dispatcher()


def due_endpoints(now: datetime | None = None) -> "QuerySet[WebhookEndpoint]":
    """The endpoints with events after their position, or deliveries that are due."""
    is_due = backoff.is_due(at=now)
    pending = WebhookDelivery.objects.filter(is_due, status=WebhookDelivery.Status.PENDING)
    is_rested = Q(next_attempt_at=None) | is_due
    last = FeedState.objects.filter(pk=feed_rows.ROW).values("last_position")
    is_behind = Q(position__lt=Subquery(last)) | Q(pk__in=pending.values("endpoint"))
    is_on = Q() if settings.DATA_PLATFORM_URL else ~Q(pk=BUILT_IN)
    return WebhookEndpoint.objects.filter(is_on, is_rested, is_behind, disabled_at=None).order_by("pk")


def deliver_due(
    endpoint_id: UUID, token: str, *, pool: Executor, stop: threading.Event | None = None
) -> bool:
    """Do a pass over the endpoint, unless nothing is due or another worker has it, and say whether there is
    more to do at once. Raises `LeaseLost`.
    """
    if not lease(endpoint_id, token):
        return False
    endpoint = due_endpoints().filter(pk=endpoint_id, lease_token=token).first()
    return endpoint is not None and delivery_pass.run(endpoint, pool=pool, stop=stop)


def lease(endpoint_id: UUID, token: str) -> bool:
    """Take the endpoint, or keep it, unless another worker has it."""
    take = partial(rows.lease_endpoint, endpoint_id, token, now=clock.now(), seconds=_lease_seconds())
    return transactions.run(take, transactions.REPEATABLE) == 1


def _lease_seconds() -> float:
    return LEASE_SECONDS + settings.WEBHOOK_TIMEOUT_SECONDS


def release(endpoint_id: UUID, token: str) -> None:
    """Let other workers have the endpoint, at the latest once the lease lapses."""
    with suppress(Error):
        rows.release_endpoint(endpoint_id, token)
