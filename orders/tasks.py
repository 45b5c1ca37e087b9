"""Celery tasks: each calls one function, and may run twice or never."""

from celery import shared_task
from celery.signals import worker_init, worker_ready, worker_shutdown

from foundation.operations import dispatch
from orders import cancellation, rows as order_rows
from orders.payment import gateway_events
from orders.saga import rows as saga_rows, run
from payments import webhooks
from payments.rows import is_webhook_due

DUE_AT_ONCE = 500


@shared_task(name="orders.advance", is_due=staticmethod(saga_rows.is_any_due))
def advance() -> None:
    """Wake this process's executor, which looks for the sagas that are due."""
    run.process_executor().wake()


@worker_init.connect
def start_polling(**_: object) -> None:
    """Look for more sagas while there are some; only workers do, not web processes."""
    run.process_executor().polls = True


@worker_shutdown.connect
def finish(**_: object) -> None:
    """Wait for the sagas in progress: their tasks end before they do."""
    run.finish()


@shared_task(name="orders.handle_webhook")
def handle_webhook(event_id: int) -> None:
    """Handle a gateway's event as far as possible now."""
    gateway_events.handle(event_id)


@shared_task(name="orders.handle_webhooks_due", is_due=staticmethod(is_webhook_due))
def handle_webhooks_due() -> int:
    """Enqueue the gateway events that are due. Returns how many."""
    ids = webhooks.dequeue_due(limit=DUE_AT_ONCE)
    for event_id in ids:
        dispatch.enqueue(handle_webhook, event_id)
    return len(ids)


@shared_task(name="orders.number")
def number() -> int:
    """Number the orders that an earlier release placed. Returns how many."""
    return order_rows.number_orders()


@worker_ready.connect
def number_soon(**_: object) -> None:
    """An upgrade starts workers: what the release before placed since is numbered within the hour."""
    dispatch.enqueue(number)


@shared_task(name="orders.sweep", is_due=staticmethod(cancellation.is_any_due))
def sweep() -> int:
    """Expire the unpaid orders whose time to pay is over. Returns how many."""
    return cancellation.expire_due()
