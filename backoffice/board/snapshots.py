"""The board's snapshot of a second: one reading for all viewers of a process, at most once a second.

The database has rows that an index finds, however full the tables are: `read_goods` has what changes every
second, and reads campaigns and products by their keys; `read_shop` has the counts, which take longer the more
is open, and so are read by turns with rests. Redis has the figures of the last 15 minutes: a point for each
second in which the board was watched.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import orjson

from coupons.metrics import state as coupons_state
from coupons.models import Campaign
from coupons.queue import tickets
from foundation import clock
from foundation.concurrency.shared_read import SharedRead
from foundation.db import server_state
from foundation.db.rows import present
from foundation.models import LawStatus
from foundation.observability.request_metrics import LATENCY_BOUNDS
from foundation.operations import shared_counts
from foundation.operations.audits.laws import LAWS
from foundation.operations.shared_counts import Count
from foundation.redis import redis_client
from inventory import products
from inventory.models import Product
from orders.metrics import state as orders_state
from payments import disputes
from sales import metrics as sales_metrics
from sales.models import Sale

CAMPAIGNS_SHOWN = PRODUCTS_SHOWN = 12
SALES_SHOWN = 6
SOLD_OUT_SHOWN = 4
PAUSED_PRODUCTS_SHOWN = 4
"""Those that were paused last, beside the products being sold: soon no new line is theirs."""
NEWEST_LINES = 1_000
"""Of orders, by which the products being sold are found: those of some seconds in a drop."""
OPENING_SOON = timedelta(hours=1)
OPENING_SHOWN = 5
Figures = dict[str, Any]
Counted = Mapping[Count, int]


def read_goods(product_ids: Sequence[int]) -> dict[str, list[Figures]]:
    """The running campaigns and sales, those that open within the hour, these products, and paused ones.

    Of each, `left` is what may still be issued, None for everybody, or what new orders may reserve.
    `with_partner` are slots that its partner is confirming; `rate_per_minute` is None without a waiting room,
    and `waiting` until its entries have positions.
    """
    now = clock.now()
    # Each with the latest opening first.
    running = coupons_state.running()
    # Those without codes wait for operators.
    issuing = [campaign for campaign in running if campaign.has_left(1) or not campaign.capacity]
    sold_out = [campaign for campaign in running if campaign not in issuing]
    soon = Campaign.objects.filter(opens_at__gt=now, opens_at__lte=now + OPENING_SOON).order_by("opens_at")
    shown = [*soon[:OPENING_SHOWN], *issuing, *sold_out[:SOLD_OUT_SHOWN]][:CAMPAIGNS_SHOWN]
    paused = Product.objects.select_related("sale").filter(paused_at__isnull=False).order_by("-paused_at")
    goods = {one.pk: one for one in paused[:PAUSED_PRODUCTS_SHOWN]}
    goods |= Product.objects.select_related("sale").in_bulk([pk for pk in product_ids if pk not in goods])
    campaigns = [
        _row(
            one,
            one.status_at(now),
            one.remaining,
            quantity=one.quantity,
            capacity=one.capacity,
            issued=one.issued,
            with_partner=one.confirming,
            opens_at=one.opens_at.timestamp(),
        )
        for one in shown
    ]
    sales = []
    for sale in _shown_sales(now):
        rate = sale.rate_per_minute if sale.is_queued else None
        waiting = sale.last_position - sale.passed_position if sale.is_queued and sale.is_ordered else None
        left = sales_metrics.available(sale)
        opens_at = sale.opens_at.timestamp()
        row = _row(sale, sale.status_at(now), left, rate_per_minute=rate, waiting=waiting, opens_at=opens_at)
        sales.append(row)
    product_rows = []
    for product in sorted(goods.values(), key=lambda product: (product.name, product.pk)):
        state = products.state(product)
        status = "open" if state in set(products.Availability) else state
        levels = {"on_hand": product.on_hand, "reserved": product.reserved}
        sale_at = product.sale and product.sale.opens_at.timestamp()
        product_rows.append(_row(product, status, product.available, opens_at=sale_at, **levels))
    return {"campaigns": campaigns, "sales": sales, "products": product_rows}


def read_shop() -> Figures:
    """The counts of orders, payments, sagas and tickets, the database's locks, the laws, and which products
    are being sold.
    """
    in_doubt = orders_state.read_in_doubt()
    selling = orders_state.read_selling(products=PRODUCTS_SHOWN, lines=NEWEST_LINES)
    sale_ids = [sale.pk for sale in _shown_sales(clock.now())]
    return {
        "product_ids": [pk for pk, _, _ in selling],
        "waiting": tickets.count_waiting(),
        "wait_seconds": tickets.longest_wait_seconds(),
        "orders": orders_state.open_orders(),
        "in_doubt": int(in_doubt[orders_state.IN_DOUBT]),
        "in_doubt_oldest_seconds": in_doubt[orders_state.IN_DOUBT_OLDEST],
        "disputes": disputes.open_disputes().count(),
        "stuck": sum(orders_state.count_stuck().values()),
        "unfinished": sum(orders_state.count_unfinished().values()),
        "locks": server_state.read_locks(),
        "laws": read_laws(),
        "sale_entries": sales_metrics.entries_by_status(sale_ids),
    }


def read_laws() -> list[LawStatus]:
    """Every law in order; `holds` is None of those that no audit has checked yet."""
    known = {status.law: status for status in LawStatus.objects.defer("suspects")}
    laws = [known.get(law) or LawStatus(law=law, holds=True) for law in LAWS]
    for law in laws:
        if law.holds and not law.checked_at:
            law.holds = None  # type: ignore[assignment]
    return laws


def _shown_sales(now: datetime) -> list[Sale]:
    """The sales that open within the hour, and then those that run, the latest opening first."""
    soon = Sale.objects.filter(opens_at__gt=now, opens_at__lte=now + OPENING_SOON).order_by("opens_at")
    return [*soon[:OPENING_SHOWN], *sales_metrics.running()[:SALES_SHOWN]][:SALES_SHOWN]


def _row(one: Campaign | Sale | Product, status: str, left: int | None, **more: object) -> Figures:
    paused_at = one.paused_at and one.paused_at.timestamp()
    return {
        "id": one.pk,
        "name": one.name,
        "status": str(status),
        "left": left,
        "paused_at": paused_at,
        **more,
    }


MINUTES = 15
RATE_SECONDS = 10
KEPT_SECONDS = (MINUTES + 1) * 60
Values = Mapping[str, float]
"""The figures of a second by the names of their series."""


def save(second: int, values: Values) -> None:
    """Keep the values of a second since the epoch, unless another process has kept some of that second."""
    text = orjson.dumps(values)
    redis_client.attempt(
        lambda client: client.set(_key(second), text, nx=True, ex=KEPT_SECONDS), otherwise=None
    )


def load(*, after: int, until: int) -> dict[int, Values]:
    """The values by second, in order, of `MINUTES` before `until` at most; none while Redis is away."""
    seconds = range(max(after, until - MINUTES * 60) + 1, until + 1)
    keys = [_key(second) for second in seconds]
    nothing: list[Any] = []
    texts = redis_client.attempt(lambda client: client.mget(keys), otherwise=nothing) if keys else nothing
    return {second: orjson.loads(text) for second, text in zip(seconds, texts, strict=False) if text}


def change_rate(points: Mapping[int, Values], name: str, *, is_falling: bool = False) -> float | None:
    """By how much a second the series rose, or fell, over the last `RATE_SECONDS`; None with less than two
    points.

    Changes in the other direction, such as a delivery, are not subtracted.
    """
    oldest = max(points, default=0) - RATE_SECONDS
    recent = [(second, one[name]) for second, one in points.items() if second >= oldest and name in one]
    if len(recent) < 2:
        return None
    rises = [after - before for (_, before), (_, after) in pairwise(recent)]
    changed = sum(max(0.0, -rise if is_falling else rise) for rise in rises)
    return changed / (recent[-1][0] - recent[0][0])


def _key(second: int) -> str:
    return f"firstcome:board:{second}"


LEAST_SECONDS = 0.8
"""Between two snapshots: pages ask for one a second, some a little early."""
MAX_AGE_SECONDS = 10.0
"""A snapshot that takes long to read is replaced by one of this age at most, which says of when it is."""
SHOP_SHARE = 0.05
"""Of the time, the most in which the shop's state is read, which takes longer the more is open."""
SHARED_AFTER = timedelta(seconds=0.3)
"""After the end of a second all processes have shared what they counted in it."""
COUNTED_SECONDS = 10
"""Over which refusals by code and response times are taken."""
REQUEST_SECONDS = 3
"""Over which the rates of requests and of all refusals are taken, which are compared with each other."""
APPS = ("coupons", "orders")
"""Of whose calls the response times are shown by themselves."""
# Answers to requests for a coupon that are no refusals.
NOT_REFUSED = {"issued", "repeated", "pending"}
CODES_SHOWN = 6
ORDER_EVENTS = ("placed", "paid", "payment_failed")
LOCKS = {"row_lock_waits_total": "lock_waits", "deadlocks_total": "deadlocks"}
SHOP_MEMBERS = ("in_doubt", "in_doubt_oldest_seconds", "disputes", "stuck", "unfinished")

_points: dict[int, Values] = {}
"""The last seconds' points, from which rates go on while Redis is unavailable."""


def _read_snapshot() -> tuple[int, bytes]:
    """The second and the snapshot as JSON; its point is kept for other processes and pages."""
    shop = last_shop.get()
    at = clock.now() - SHARED_AFTER
    second = int(at.timestamp()) - 1
    oldest = second - RATE_SECONDS
    known = _points | load(after=oldest - 1, until=second - 1)
    points = {one: known[one] for one in sorted(known) if oldest <= one < second}
    figures = compose(
        at=at,
        goods=read_goods(shop["product_ids"]),
        shop=shop,
        counts=shared_counts.read(range(second - COUNTED_SECONDS + 1, second + 1)),
        points=points,
    )
    _points.clear()
    _points.update(points | {second: figures["point"]})
    save(second, figures["point"])
    return second, orjson.dumps(figures)


last_shop = SharedRead(
    read_shop,
    name="the board's counts",
    seconds=LEAST_SECONDS,
    max_age_seconds=MAX_AGE_SECONDS,
    share=SHOP_SHARE,
)
latest = SharedRead(_read_snapshot, name="the board", seconds=LEAST_SECONDS, max_age_seconds=MAX_AGE_SECONDS)


def compose(
    *,
    at: datetime,
    goods: Mapping[str, Sequence[Figures]],
    shop: Figures,
    counts: Mapping[int, Counted] | None,
    points: Mapping[int, Values],
) -> Figures:
    """The snapshot of the second before `at`; `points` are those of the seconds before it.

    `counts` are those of the last `COUNTED_SECONDS`, None while they are not known. Times are in seconds
    since the epoch, durations in seconds, rates per second.
    """
    second = int(at.timestamp()) - 1
    counted = counts or {}
    recent = [*counted.values()]
    latest = [one for at_second, one in counted.items() if at_second > second - REQUEST_SECONDS]
    times = _sum(recent, shared_counts.SECONDS)
    ended = _sum(latest, shared_counts.SECONDS)
    requests = {
        # Those in the bucket without a bound are all that ended.
        "rate": _mean(latest, sum(number for (_, le), number in ended.items() if le == "+Inf")),
        "refused": _mean(latest, _sum(latest, shared_counts.REFUSALS).total()),
        "p50": percentile(times, 0.5),
        "p95": percentile(times, 0.95),
    }
    orders = _sum(latest, shared_counts.ORDERS)
    waiting = sum(shop["waiting"].values())
    values = {
        "requests": requests["rate"],
        "refusals": requests["refused"],
        "p50": requests["p50"],
        "p95": requests["p95"],
        **{f"p95.{app}": percentile(times, 0.95, app) for app in APPS},
        **{f"{kind[:-1]}.{one['id']}": one["left"] for kind, rows in goods.items() for one in rows},
        **{f"issued.{one['id']}": one["issued"] for one in goods["campaigns"] if one["left"] is None},
        **{f"orders.{status}": number for status, number in shop["orders"].items()},
        **{f"orders_a_second.{event}": _mean(latest, orders[event,]) for event in ORDER_EVENTS},
        "in_doubt": shop["in_doubt"],
        "stuck": shop["stuck"],
        "waiting": waiting,
        **shop["locks"],
    }
    points = {**points, second: present(**values)}
    values |= {shown: change_rate(points, name) for name, shown in LOCKS.items()}

    def card(kind: str, one: Figures, **more: Any) -> Figures:
        """With how much goes a second, and in how many seconds nothing would be left at that rate."""
        is_endless = one["left"] is None
        series = f"{'issued' if is_endless else kind}.{one['id']}"
        rate = change_rate(points, series, is_falling=not is_endless)
        ends = one["left"] / rate if rate and not is_endless and one["left"] > 0 else None
        return one | more | {"rate": rate, "ends_in_seconds": ends}

    return {
        "at": at.timestamp(),
        "second": second,
        "counts": counts is not None,
        "campaigns": [
            card(
                "campaign",
                one,
                waiting=shop["waiting"].get(str(one["id"]), 0),
                wait_seconds=shop["wait_seconds"].get(str(one["id"])),
                refusals=_refusals(recent, shared_counts.CAMPAIGN_REQUESTS, str(one["id"])),
            )
            for one in goods["campaigns"]
        ],
        "sales": [card("sale", one, waiting=None, entries=_entries(one, shop)) for one in goods["sales"]],
        "products": [
            card("product", one, refusals=_refusals(recent, shared_counts.PRODUCT_REFUSALS, str(one["id"])))
            for one in goods["products"]
        ],
        "requests": requests,
        "refusals": _refusals(recent, shared_counts.REFUSALS),
        "shop": {name: shop[name] for name in SHOP_MEMBERS}
        | {"waiting": waiting, "wait_seconds": max(shop["wait_seconds"].values(), default=0.0)},
        "laws": [
            {
                "law": law.law,
                "holds": law.holds,
                "offenders": len(law.offenders),
                "checked_at": law.checked_at.timestamp() if law.checked_at else None,
            }
            for law in shop["laws"]
        ],
        "point": {name: round(value, 4) for name, value in values.items() if value is not None},
    }


def percentile(times: Counted, share: float, app: str = "") -> float | None:
    """The response time that this share of the app's calls, or of all, doesn't exceed; None without calls.

    `times` has the calls by app and bound, those of shorter times included. As Prometheus'
    `histogram_quantile` does, it takes them to be spread evenly inside a bucket, and returns the last finite
    bound past it.
    """
    # A bucket in which nothing new was counted is not shared.
    buckets = dict.fromkeys(LATENCY_BOUNDS, 0)
    for (of, le), number in times.items():
        if app in ("", of):
            buckets[float(le)] += number
    bounds = sorted(buckets)
    wanted = share * buckets[bounds[-1]]
    lower = 0.0
    below = 0
    for bound in bounds if wanted else ():
        if buckets[bound] >= wanted:
            inside = (wanted - below) / (buckets[bound] - below)
            return lower if bound == float("inf") else lower + (bound - lower) * inside
        lower = bound
        below = buckets[bound]
    return None


def _mean(seconds: Sequence[object], number: int) -> float | None:
    """The number a second; None without seconds."""
    return number / len(seconds) if seconds else None


def _sum(seconds: Iterable[Counted], name: str) -> Counter[Count]:
    """What was counted under the name in these seconds, by its labels."""
    total: Counter[Count] = Counter()
    for counts in seconds:
        total.update({count[1:]: number for count, number in counts.items() if count[0] == name})
    return total


def _refusals(recent: Sequence[Counted], name: str, *of: str) -> list[Figures]:
    """Refusals a second by code, the most frequent first: of the campaign or product, or all."""
    counted = _sum(recent, name).items()
    refused = [(code, n) for (*owner, code), n in counted if owner == [*of] and code not in NOT_REFUSED]
    refused.sort(key=lambda item: (-item[1], item[0]))
    if len(refused) > CODES_SHOWN:
        refused[CODES_SHOWN:] = [("other", sum(number for _, number in refused[CODES_SHOWN:]))]
    return [{"code": code, "rate": number / len(recent)} for code, number in refused]


def _entries(sale: Figures, shop: Figures) -> Figures | None:
    """The sale's entries by status; None without a waiting room, and before they were counted."""
    counted = shop["sale_entries"].get(sale["id"])
    if sale["rate_per_minute"] is None or counted is None:
        return None
    entries = {status: counted[status] for status in ("waiting", "admitted", "used", "expired")}
    # What the positions say, which are read more often than the entries are counted.
    return entries if sale["waiting"] is None else entries | {"waiting": sale["waiting"]}
