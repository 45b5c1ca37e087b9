"""What Celery runs: each task calls one function, and may run twice or never."""

from uuid import UUID

from celery import shared_task

from orders import ending, giving_back, purchase, saga, top_ups
from shop import queueing

# The kinds of saga that a worker can drive: their modules register them.
KINDS = (purchase.NAME, top_ups.NAME, giving_back.NAME)
SAGAS_AT_ONCE = 500


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


@shared_task(name="orders.sweep")
def sweep() -> int:
    """End the orders whose time to be paid is over. Returns how many."""
    return ending.expire_due()
