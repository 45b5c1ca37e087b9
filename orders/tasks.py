"""What Celery runs: each task calls one function, and may run twice or never."""

from uuid import UUID

from celery import shared_task
from celery.signals import worker_init, worker_shutdown

from orders import cancellation
from orders.payment import gateway_events, saga_types
from orders.saga import executor, recovery
from payments import webhooks
from shop.operations import dispatch

# The saga types that a worker can advance.
SAGA_TYPES = saga_types.NAMES
SAGAS_AT_ONCE = 500
SAGAS_PER_TASK = 50
EVENTS_AT_ONCE = 500
# What is not done by then is left to recovery.
SHUTDOWN_SECONDS = 5.0


@shared_task(name="orders.advance")
def advance(*saga_ids: str) -> None:
    """Advance these sagas as far as they go; done once each is leased, so that the broker keeps the rest."""
    executor.process_executor().accept([UUID(saga_id) for saga_id in saga_ids])


@worker_init.connect
def start_polling(**_: object) -> None:
    """A worker takes up new sagas before their messages come; other processes only what is handed to them."""
    executor.process_executor().start_polling()


@worker_shutdown.connect
def finish(**_: object) -> None:
    """Let the sagas that are on their way finish: their tasks are over sooner than they are."""
    executor.process_executor().finish(seconds=SHUTDOWN_SECONDS)


@shared_task(name="orders.advance_due")
def advance_due() -> int:
    """Hand out the sagas whose time has come. Returns how many."""
    ids = recovery.dequeue_due(limit=SAGAS_AT_ONCE)
    for start in range(0, len(ids), SAGAS_PER_TASK):
        dispatch.enqueue(advance, *map(str, ids[start : start + SAGAS_PER_TASK]))
    return len(ids)


@shared_task(name="orders.handle_webhook")
def handle_webhook(event_id: int) -> None:
    """Do about a gateway's event what can be done now."""
    gateway_events.handle(event_id)


@shared_task(name="orders.handle_webhooks_due")
def handle_webhooks_due() -> int:
    """Hand out the events whose time has come. Returns how many."""
    ids = webhooks.dequeue_due(limit=EVENTS_AT_ONCE)
    for event_id in ids:
        dispatch.enqueue(handle_webhook, event_id)
    return len(ids)


@shared_task(name="orders.sweep")
def sweep() -> int:
    """End the orders whose time to be paid is over. Returns how many."""
    return cancellation.expire_due()
