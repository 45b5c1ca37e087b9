"""Celery tasks: each calls one function, and may run twice or never."""

from uuid import UUID

from celery import shared_task
from celery.signals import worker_init, worker_shutdown

from orders import cancellation
from orders.payment import gateway_events
from orders.saga import run, store
from payments import webhooks
from shop.operations import dispatch

DUE_AT_ONCE = 500
SAGAS_PER_TASK = 50
# Sagas that are not done by then are left to beat.
SHUTDOWN_SECONDS = 5.0


@shared_task(name="orders.advance")
def advance(*saga_ids: str) -> None:
    """Advance these sagas as far as possible; returns once all are leased, so others wait in the broker."""
    run.process_executor().accept([UUID(saga_id) for saga_id in saga_ids])


@worker_init.connect
def start_polling(**_: object) -> None:
    """Poll for new sagas, before their messages come; only workers do, not web processes."""
    run.process_executor().start_polling()


@worker_shutdown.connect
def finish(**_: object) -> None:
    """Wait for the sagas in progress: their tasks end before they do."""
    run.process_executor().finish(seconds=SHUTDOWN_SECONDS)


@shared_task(name="orders.advance_due", due=staticmethod(store.due))
def advance_due() -> int:
    """Enqueue the sagas whose next attempt is due. Returns how many."""
    ids = store.dequeue_due(limit=DUE_AT_ONCE)
    for start in range(0, len(ids), SAGAS_PER_TASK):
        dispatch.enqueue(advance, *map(str, ids[start : start + SAGAS_PER_TASK]))
    return len(ids)


@shared_task(name="orders.handle_webhook")
def handle_webhook(event_id: int) -> None:
    """Handle a gateway's event as far as possible now."""
    gateway_events.handle(event_id)


@shared_task(name="orders.handle_webhooks_due", due=staticmethod(webhooks.due))
def handle_webhooks_due() -> int:
    """Enqueue the gateway events that are due. Returns how many."""
    ids = webhooks.dequeue_due(limit=DUE_AT_ONCE)
    for event_id in ids:
        dispatch.enqueue(handle_webhook, event_id)
    return len(ids)


@shared_task(name="orders.sweep")
def sweep() -> int:
    """Expire the unpaid orders whose time to pay is over. Returns how many."""
    return cancellation.expire_due()
