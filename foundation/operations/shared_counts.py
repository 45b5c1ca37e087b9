"""What all processes have counted in each of the last seconds, brought together over Redis while it is read.

A reader calls `read` every second, which sets a key in Redis that expires soon; while it is set, every
process adds what it has counted in each second to a hash of that second.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from prometheus_client import REGISTRY
from redis import Redis

from foundation import clock
from foundation.observability import process_metrics
from foundation.redis import redis_client
from foundation.repeated_work import RepeatedWork

READ_KEY = "firstcome:counts:read"
READ_SECONDS = 5
"""How long processes go on sharing after the last `read`."""
UNREAD_SECONDS = 3
"""Between two looks of a process whether its counts are read."""
KEPT_SECONDS = 30
SHARE_DELAY_SECONDS = 0.02
"""After the end of a second: what is counted just before it belongs to it."""
PROCESSES = "processes"
"""Stands in each second that was shared, also where nothing was counted."""
SEPARATOR = "|"
REFUSALS = "refusals"
CAMPAIGN_REQUESTS = "campaign"
PRODUCT_REFUSALS = "product"
ORDERS = "orders"
SECONDS = "seconds"
SHARED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "firstcome_http_refusals_total": (REFUSALS, ("code",)),
    "firstcome_campaign_requests_total": (CAMPAIGN_REQUESTS, ("campaign", "outcome")),
    "firstcome_product_refusals_total": (PRODUCT_REFUSALS, ("product", "code")),
    "firstcome_orders_total": (ORDERS, ("event",)),
    "django_http_requests_latency_seconds_by_view_method_bucket": (SECONDS, ("view", "le")),
}
"""The samples that are shared, by their names: a short name, and the labels by which they are added up.

In place of the view of an API call stands its app, and pages are left out.
"""
NAMED_VIEWS = {"queue-ticket": "coupons"}
"""The apps of API views that have a name in their app's addresses; others are named by their modules."""
Count = tuple[str, ...]


def start() -> None:
    """From now on sample this process's metrics, and share what it counts in each second while it is read."""
    process_metrics.sample()
    _work.start()


def read(seconds: Sequence[int]) -> dict[int, Mapping[Count, int]] | None:
    """What was counted in these seconds since the epoch, of those that a process has shared, by short name
    and labels; None while Redis is unavailable.

    A second is complete some hundredths of a second after its end.
    """

    def call(client: Redis) -> dict[int, Mapping[Count, int]]:
        with client.pipeline(transaction=False) as pipeline:
            pipeline.set(READ_KEY, 1, ex=READ_SECONDS)
            for second in seconds:
                pipeline.hgetall(_key(second))
            _, *hashes = pipeline.execute()
        return {
            second: {tuple(name.decode().split(SEPARATOR)): int(number) for name, number in found.items()}
            for second, found in zip(seconds, hashes, strict=True)
            if found
        }

    return redis_client.attempt(call, otherwise=None)


class Sharing:
    """Shares the differences between two passes, of a second each.

    The first pass after a pause shares nothing, nor does one that comes late, because the one before it took
    longer than a second: what was counted in several seconds is not that of one.
    """

    def __init__(self) -> None:
        self._last: Counter[Count] | None = None
        self._last_second = 0
        self._seconds = 1

    def pause(self) -> float:
        """Until shortly after the end of a second, the same one in all processes."""
        return self._seconds - clock.seconds() % self._seconds + SHARE_DELAY_SECONDS

    def run_once(self, *, second: int) -> bool:
        """Share what was counted since the last pass as that of `second`, if it is read. Returns whether."""
        is_read = redis_client.attempt(lambda client: client.exists(READ_KEY), otherwise=None)
        self._seconds = UNREAD_SECONDS if is_read == 0 else 1
        last = self._last
        self._last = totals_of_process() if is_read else None
        is_next = second == self._last_second + 1
        self._last_second = second
        if last is None or self._last is None or not is_next:
            return False
        counted = self._last - last

        def call(client: Redis) -> None:
            with client.pipeline(transaction=False) as pipeline:
                pipeline.hincrby(_key(second), PROCESSES, 1)
                for name, number in counted.items():
                    pipeline.hincrby(_key(second), SEPARATOR.join(name), number)
                pipeline.expire(_key(second), KEPT_SECONDS)
                pipeline.execute()

        redis_client.attempt(call, otherwise=None)
        return True


def totals_of_process() -> Counter[Count]:
    totals: Counter[Count] = Counter()
    for family in REGISTRY.restricted_registry(SHARED).collect():
        for sample in family.samples:
            name, labels = SHARED[sample.name]
            values = [sample.labels[label] for label in labels]
            if name == SECONDS:
                app, *modules = values[0].split(".")
                values[0] = app if "api" in modules else NAMED_VIEWS.get(values[0], "")
            if all(values):
                totals[(name, *values)] += int(sample.value)
    return totals


def _key(second: int) -> str:
    return f"firstcome:counts:{second}"


def _sample_and_share() -> None:
    process_metrics.sample()
    _sharing.run_once(second=int(clock.seconds()) - 1)


_sharing = Sharing()
_work = RepeatedWork(_sample_and_share, name="metrics", pause=_sharing.pause)
