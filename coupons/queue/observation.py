"""What log lines and traces show of queue tickets that an issuer settles: ids, and a span for each batch.

The span is linked to the traces of the tickets' requests, where those are recorded. An issuer that is faster
than the request that writes the ticket finds no trace: then the ids of the requests connect the two.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from django.db import Error

from coupons.models import QueueTicket
from coupons.queue.stream import QueuePosition
from shop.observability import logs, tracing


@contextmanager
def of_tickets(campaign_id: int, positions: Sequence[QueuePosition]) -> Iterator[None]:
    """Wrap the settlement of these tickets."""
    read_ids = partial(_ids_of, campaign_id, positions)
    if not tracing.is_on:
        with logs.bound_to(read_ids):
            yield
        return
    links: list[str] = []
    with suppress(Error):
        tickets = QueueTicket.objects.filter(id__in=[position.ticket_id for position in positions])
        links += tickets.exclude(traceparent="").values_list("traceparent", flat=True)
    attributes = {
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": "queue tickets",
        "messaging.system": "redis",
        **tracing.attributes(read_ids()),
    }
    with (
        logs.bound_to(read_ids),
        tracing.continued("process queue tickets", "", attributes, kind="consumer", links=links),
    ):
        yield


def _ids_of(campaign_id: int, positions: Sequence[QueuePosition]) -> dict[str, Any]:
    each = [
        {"ticket": str(one.ticket_id), "account": one.user_id}
        | ({"request_id": one.by.request_id} if one.by.request_id else {})
        for one in positions
    ]
    return {"campaign": campaign_id} | logs.merge_ids(each)
