"""What Celery runs: each task calls one function, and may run twice or never."""

from uuid import UUID

from celery import shared_task

from orders import ending, gateway_events, kinds, saga
from payments import webhooks
from shop import queueing

# The kinds of saga that a worker can drive.
KINDS = kinds.NAMES
SAGAS_AT_ONCE = 500
EVENTS_AT_ONCE = 500


@shared_task(name="orders.advance")
def advance(saga_id: str) -> None:
    """Drive one saga as far as it goes."""
    saga.advance(UUID(saga_id))


@shared_task(name="orders.advance_due")
def advance_due() -> int:
    """Hand out the sagas whose time has come. Returns how many."""
    ids = saga.due(limit=SAGAS_AT_ONCE)
    for saga_id in ids:
        queueing.enqueue(advance, str(saga_id))
    return len(ids)


@shared_task(name="orders.handle_webhook")
def handle_webhook(event_id: int) -> None:
    """Do about a gateway's event what can be done now."""
    gateway_events.handle(event_id)


@shared_task(name="orders.handle_webhooks_due")
def handle_webhooks_due() -> int:
    """Hand out the events whose time has come. Returns how many."""
    ids = webhooks.due(limit=EVENTS_AT_ONCE)
    for event_id in ids:
        queueing.enqueue(handle_webhook, event_id)
    return len(ids)


@shared_task(name="orders.sweep")
def sweep() -> int:
    """End the orders whose time to be paid is over. Returns how many."""
    return ending.expire_due()
