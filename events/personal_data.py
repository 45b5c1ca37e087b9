"""Personal data of events: how its rows belong to accounts, and what an erasure does to them."""

from django.db.models import Q

from accounts.personal_data.registry import REGISTRY, Erasure, PersonalData, order_ids
from events.models import FeedEvent

REGISTRY.update(
    {
        "events.FeedEvent": PersonalData(
            "the account in its data, or its order",
            Erasure.KEPT,
            "`EVENT_RETENTION_SECONDS`, eight days",
            # Read without an index: an event is kept for some days alone, and exports are rare.
            rows=lambda id: FeedEvent.objects.filter(Q(data__account=id) | Q(order_id__in=order_ids(id))),
        ),
        "events.FeedState": "how many events there were",
        "events.WebhookEndpoint": (
            "addresses of other systems, the secrets that sign what they get, and the numbers of staff and "
            "keys that made them"
        ),
        "events.WebhookDelivery": "numbers of events, and how they were received",
    }
)
