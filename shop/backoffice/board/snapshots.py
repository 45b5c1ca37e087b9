"""The board's snapshot of a second: one reading for all viewers of a process, at most once a second."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from shop import clock
from shop.backoffice.board import history, readings
from shop.backoffice.board.history import Values
from shop.backoffice.board.readings import Figures, LawState
from shop.concurrency.shared_read import SharedRead
from shop.management.laws import LAWS
from shop.observability.request_metrics import LATENCY_BOUNDS
from shop.operations import shared_counts
from shop.operations.shared_counts import SecondCounts

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
SALE_ENTRIES = ("waiting", "admitted", "used", "expired")
ORDER_EVENTS = ("placed", "paid", "payment_failed")
LOCKS = {"row_lock_waits_total": "lock_waits", "deadlocks_total": "deadlocks"}
SHOP_MEMBERS = ("orders", "in_doubt", "in_doubt_oldest_seconds", "disputes", "stuck", "unfinished")

_shops: deque[Figures] = deque(maxlen=2)
"""The last two readings of the shop's state: the database's counters of locks become rates between them."""
_points: dict[int, Values] = {}
"""The last seconds' points, from which rates go on while Redis is unavailable."""


def _read_shops() -> list[Figures]:
    _shops.append(readings.read_shop())
    return list(_shops)


def _read_snapshot() -> tuple[int, bytes]:
    """The second and the snapshot as JSON; its point is kept for other processes and pages."""
    shops = last_shops.get()
    at = clock.now() - SHARED_AFTER
    second = int(at.timestamp()) - 1
    oldest = second - history.RATE_SECONDS
    known = _points | history.load(after=oldest - 1, until=second - 1)
    figures = compose(
        at=at,
        goods=readings.read_goods(shops[-1]["product_ids"]),
        shops=shops,
        counts=shared_counts.read(range(second - COUNTED_SECONDS + 1, second + 1)),
        points={one: known[one] for one in sorted(known) if oldest <= one < second},
    )
    _points[second] = figures["point"]
    for one in [one for one in _points if not oldest < one <= second]:
        del _points[one]
    history.save(second, figures["point"])
    return second, orjson.dumps(figures)


last_shops = SharedRead(
    _read_shops,
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
    shops: Sequence[Figures],
    counts: Sequence[SecondCounts] | None,
    points: Mapping[int, Values],
) -> Figures:
    """The snapshot of the second before `at`; `points` are those of the seconds before it.

    `shops` are the last readings of the shop's state, and `counts` those of the last `COUNTED_SECONDS`, None
    while they are not known. Times are in seconds since the epoch, durations in seconds, rates per second.
    """
    second = int(at.timestamp()) - 1
    recent = [one for one in counts or () if one.processes and one.second <= second]
    latest = [one for one in recent if one.second > second - REQUEST_SECONDS]
    requests, locks = _requests(recent, latest), _lock_rates(shops)
    shop = shops[-1] if shops else None
    point = {
        name: round(value, 4)
        for name, value in _point_values(goods, shop, requests, locks, latest).items()
        if value is not None
    }
    points = {**points, second: point}
    return {
        "at": at.timestamp(),
        "second": second,
        "counts": counts is not None,
        "processes": max((one.processes for one in recent), default=0),
        "campaigns": [_campaign(one, shop, recent, points) for one in goods["campaigns"]],
        "sales": [_sale(one, shop, points) for one in goods["sales"]],
        "products": [
            one | _refused(recent, shared_counts.PRODUCT_REFUSALS, one["id"]) | _pace(one, "product", points)
            for one in goods["products"]
        ],
        "requests": requests,
        "refusals": _rates(
            {code: number for (code,), number in _sum(recent, shared_counts.REFUSALS).items()}, len(recent)
        ),
        "shop": _shop(shop, locks),
        "laws": _laws(shop["laws"] if shop else ()),
        "point": point,
    }


def percentile(buckets: Mapping[float, int], share: float) -> float | None:
    """The value that this share of the observations doesn't exceed; None without observations.

    `buckets` has the number of observations up to each bound, infinity among them. As Prometheus'
    `histogram_quantile` does, it takes them to be spread evenly inside a bucket, and returns the last finite
    bound past it.
    """
    bounds = sorted(buckets)
    wanted, lower, below = share * buckets[bounds[-1]], 0.0, 0
    for bound in bounds if wanted else ():
        if buckets[bound] >= wanted:
            if bound == float("inf"):
                return lower
            inside = buckets[bound] - below
            return lower + (bound - lower) * (wanted - below) / inside if inside else bound
        lower, below = bound, buckets[bound]
    return None


def _sum(seconds: Sequence[SecondCounts], name: str) -> Counter[tuple[str, ...]]:
    """What was counted under the name in these seconds, by its labels."""
    total: Counter[tuple[str, ...]] = Counter()
    for one in seconds:
        total.update({count[1:]: number for count, number in one.counts.items() if count[0] == name})
    return total


def _requests(recent: Sequence[SecondCounts], latest: Sequence[SecondCounts]) -> Figures:
    """Requests and refusals a second, and response times of the whole API and of two apps."""
    if not recent:
        return {"rate": None, "refused": None, "p50": None, "p95": None, "apps": {}}
    counted = _sum(recent, shared_counts.SECONDS)
    everything: Counter[str] = Counter()
    for (_, le), number in counted.items():
        everything[le] += number
    # Those in the bucket without a bound are all that ended.
    ended = sum(n for (_, le), n in _sum(latest, shared_counts.SECONDS).items() if le == "+Inf")
    refused = sum(_sum(latest, shared_counts.REFUSALS).values())
    return {
        "rate": ended / max(1, len(latest)),
        "refused": refused / max(1, len(latest)),
        **_times(everything),
        "apps": {app: _times({le: n for (of, le), n in counted.items() if of == app}) for app in APPS},
    }


def _times(buckets: Mapping[str, int]) -> Figures:
    # A bucket in which nothing new was counted is not shared.
    by_bound = dict.fromkeys(LATENCY_BOUNDS, 0) | {float(bound): number for bound, number in buckets.items()}
    return {"p50": percentile(by_bound, 0.5), "p95": percentile(by_bound, 0.95)}


def _refused(recent: Sequence[SecondCounts], name: str, id: int) -> Figures:
    """Refusals a second by code of the campaign or product with the id."""
    counted = _sum(recent, name).items()
    refused = {code: n for (of, code), n in counted if of == str(id) and code not in NOT_REFUSED}
    return {"refusals": _rates(refused, len(recent))}


def _rates(numbers: Mapping[str, int], seconds: int) -> list[Figures]:
    """By code, the most frequent first."""
    ordered = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    shown = [{"code": code, "rate": number / max(1, seconds)} for code, number in ordered[:CODES_SHOWN]]
    rest = sum(number for _, number in ordered[CODES_SHOWN:])
    return [*shown, {"code": "other", "rate": rest / max(1, seconds)}] if rest else shown


def _campaign(
    campaign: Figures, shop: Figures | None, recent: Sequence[SecondCounts], points: Mapping[int, Values]
) -> Figures:
    key = str(campaign["id"])
    queue = {
        "waiting": shop["waiting"].get(key, 0) if shop else None,
        "wait_seconds": shop["wait_seconds"].get(key) if shop else None,
    }
    refused = _refused(recent, shared_counts.CAMPAIGN_REQUESTS, campaign["id"])
    return campaign | queue | refused | _pace(campaign, "campaign", points)


def _sale(sale: Figures, shop: Figures | None, points: Mapping[int, Values]) -> Figures:
    """`entries` is None without a waiting room, and before they were counted."""
    is_queued = sale["rate_per_minute"] is not None
    counted = shop["sale_entries"].get(sale["id"]) if shop and is_queued else None
    entries = None if counted is None else {status: counted.get(status, 0) for status in SALE_ENTRIES}
    if entries is not None and sale["waiting"] is not None:
        # What the positions say, which are read more often than the entries are counted.
        entries["waiting"] = sale["waiting"]
    return sale | {"waiting": None, "entries": entries} | _pace(sale, "sale", points)


def _pace(row: Figures, kind: str, points: Mapping[int, Values]) -> Figures:
    """How much goes a second, and in how many seconds nothing would be left at that rate."""
    rate = history.decrease_rate(points, f"{kind}.{row['id']}")
    return {"rate": rate, "ends_in_seconds": row["left"] / rate if rate and row["left"] > 0 else None}


def _lock_rates(shops: Sequence[Figures]) -> dict[str, float]:
    """Rates of lock waits and deadlocks between two readings of the server's counters."""
    if len(shops) < 2:
        return {}
    before, after = shops[-2:]
    seconds = (after["read_at"] - before["read_at"]).total_seconds()
    # None after the clock was set back.
    known = before["locks"].keys() & after["locks"].keys() if seconds > 0 else ()
    return {LOCKS[name]: max(0.0, after["locks"][name] - before["locks"][name]) / seconds for name in known}


def _shop(shop: Figures | None, lock_rates: Mapping[str, float]) -> Figures | None:
    if shop is None:
        return None
    return {
        **{name: shop[name] for name in SHOP_MEMBERS},
        "waiting": sum(shop["waiting"].values()),
        "wait_seconds": max(shop["wait_seconds"].values(), default=0.0),
        **{name: lock_rates.get(name) for name in LOCKS.values()},
    }


def _laws(known: Sequence[LawState]) -> list[Figures]:
    """Every law in order, also those that no audit has checked."""
    states = {state.law: state for state in known}
    unknown = LawState("", None, 0, None)
    return [
        {
            "law": law,
            "holds": (state := states.get(law, unknown)).holds,
            "offenders": state.offenders,
            "checked_at": state.checked_at.timestamp() if state.checked_at else None,
        }
        for law in LAWS
    ]


def _point_values(
    goods: Mapping[str, Sequence[Figures]],
    shop: Figures | None,
    requests: Figures,
    lock_rates: Mapping[str, float],
    latest: Sequence[SecondCounts],
) -> dict[str, Any]:
    """The figures of the plots, by the names of their series."""
    values = {
        "requests": requests["rate"],
        "refusals": requests["refused"],
        "p50": requests["p50"],
        "p95": requests["p95"],
        **{f"p95.{app}": times["p95"] for app, times in requests["apps"].items()},
        **lock_rates,
        **{f"{kind[:-1]}.{one['id']}": one["left"] for kind, rows in goods.items() for one in rows},
    }
    if latest:
        orders = _sum(latest, shared_counts.ORDERS)
        values |= {f"orders_a_second.{event}": orders[event,] / len(latest) for event in ORDER_EVENTS}
    if shop:
        values |= {f"orders.{status}": number for status, number in shop["orders"].items()}
        values |= {"in_doubt": shop["in_doubt"], "stuck": shop["stuck"]}
        values["waiting"] = sum(shop["waiting"].values())
    return values
