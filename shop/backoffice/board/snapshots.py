"""Composes the board's snapshot of a second, from what was read and what processes counted."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from shop.backoffice.board.history import History, Point
from shop.backoffice.board.percentiles import percentile
from shop.backoffice.board.readings import (
    CampaignState,
    GoodsState,
    LawState,
    ProductState,
    SaleState,
    ShopState,
)
from shop.management.laws import LAWS
from shop.observability.request_metrics import LATENCY_BOUNDS
from shop.operations import shared_counts
from shop.operations.shared_counts import SecondCounts

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
Figures = dict[str, Any]


class SnapshotComposer:
    """Composes a snapshot and its point of the history each second."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._counts: dict[int, SecondCounts] = {}
        self._locks: tuple[datetime, Mapping[str, float]] | None = None
        self._lock_rates: dict[str, float] = {}

    def compose(
        self,
        *,
        at: datetime,
        goods: GoodsState | None,
        shop: ShopState | None,
        counts: Sequence[SecondCounts] | None,
        ages: Mapping[str, float | None],
    ) -> tuple[Figures, Point]:
        """The snapshot of the second before `at`, and its point, which the history has got.

        What is None could not be read yet; `ages` says how old each reading is. Times are in seconds since
        the epoch, durations in seconds, rates per second.
        """
        second = int(at.timestamp()) - 1
        self._keep_counts(counts or (), second)
        if shop is not None:
            self._measure_locks(shop)
        requests = self._requests(second)
        point = Point(second, self._point_values(goods, shop, requests) | self._order_rates(second))
        self._history.add(point)
        figures = {
            "at": at.timestamp(),
            "second": second,
            "sources": {"counts": counts is not None, "ages": ages},
            "processes": max((one.processes for one in self._recent(second)), default=0),
            "campaigns": [self._campaign(one, shop, second) for one in (goods.campaigns if goods else ())],
            "sales": [self._sale(one, shop) for one in (goods.sales if goods else ())],
            "products": [self._product(one, second) for one in (goods.products if goods else ())],
            "requests": requests,
            "refusals": self._refused(second),
            "shop": _shop_figures(shop, self._lock_rates),
            "laws": _law_figures(shop.laws if shop else ()),
            "point": point.values,
        }
        return figures, point

    def _keep_counts(self, counts: Iterable[SecondCounts], second: int) -> None:
        self._counts |= {one.second: one for one in counts}
        for old in [known for known in self._counts if known <= second - COUNTED_SECONDS]:
            del self._counts[old]

    def _recent(self, second: int) -> list[SecondCounts]:
        return [one for one in self._counts.values() if one.processes and one.second <= second]

    def _latest(self, second: int) -> list[SecondCounts]:
        """Those of the seconds over which requests, refusals and orders a second are taken."""
        return [one for one in self._recent(second) if one.second > second - REQUEST_SECONDS]

    def _sum(self, second: int, name: str) -> Counter[tuple[str, ...]]:
        """What was counted under the name in the last seconds, by its labels."""
        total: Counter[tuple[str, ...]] = Counter()
        for one in self._recent(second):
            total.update({count[1:]: number for count, number in one.counts.items() if count[0] == name})
        return total

    def _requests(self, second: int) -> Figures:
        """Requests and refusals a second, and response times of the whole API and of two apps."""
        recent = self._recent(second)
        if not recent:
            return {"rate": None, "refused": None, "p50": None, "p95": None, "apps": {}}
        counted = self._sum(second, shared_counts.SECONDS)
        latest = self._latest(second)
        apps = {app: _times({le: n for (of, le), n in counted.items() if of == app}) for app in APPS}
        everything: Counter[str] = Counter()
        for (_, le), number in counted.items():
            everything[le] += number
        return {
            "rate": sum(map(_ended, latest)) / max(1, len(latest)),
            "refused": sum(map(_refused, latest)) / max(1, len(latest)),
            **_times(everything),
            "apps": apps,
        }

    def _refused(self, second: int) -> list[Figures]:
        """Refusals a second by code, the most frequent first."""
        return _rates(
            {code: number for (code,), number in self._sum(second, shared_counts.REFUSALS).items()},
            len(self._recent(second)),
        )

    def _campaign(self, campaign: CampaignState, shop: ShopState | None, second: int) -> Figures:
        key = str(campaign.id)
        outcomes = self._sum(second, shared_counts.CAMPAIGN_REQUESTS).items()
        refused = {code: n for (of, code), n in outcomes if of == key and code not in NOT_REFUSED}
        return {
            "id": campaign.id,
            "name": campaign.name,
            "status": campaign.status,
            "quantity": campaign.quantity,
            "issued": campaign.issued,
            "left": campaign.left,
            "with_partner": campaign.with_partner,
            "opens_at": campaign.opens_at.timestamp(),
            "waiting": shop.waiting.get(key, 0) if shop else None,
            "wait_seconds": shop.wait_seconds.get(key) if shop else None,
            "refusals": _rates(refused, len(self._recent(second))),
            **self._pace(f"campaign.{campaign.id}", campaign.left),
        }

    def _sale(self, sale: SaleState, shop: ShopState | None) -> Figures:
        """`entries` is None without a waiting room, and before they were counted."""
        counted = shop.sale_entries.get(sale.id) if shop and sale.is_queued else None
        entries = None if counted is None else {status: counted.get(status, 0) for status in SALE_ENTRIES}
        if entries is not None and sale.waiting is not None:
            # What the positions say, which are read more often than the entries are counted.
            entries["waiting"] = sale.waiting
        return {
            "id": sale.id,
            "name": sale.name,
            "status": sale.status,
            "left": sale.left,
            "rate_per_minute": sale.rate_per_minute if sale.is_queued else None,
            "entries": entries,
            "opens_at": sale.opens_at.timestamp(),
            **self._pace(f"sale.{sale.id}", sale.left),
        }

    def _product(self, product: ProductState, second: int) -> Figures:
        key = str(product.id)
        counted = self._sum(second, shared_counts.PRODUCT_REFUSALS).items()
        refused = {code: number for (of, code), number in counted if of == key}
        return {
            "id": product.id,
            "sku": product.sku,
            "name": product.name,
            "status": "paused" if product.is_paused else "open" if product.is_active else "inactive",
            "on_hand": product.on_hand,
            "reserved": product.reserved,
            "left": product.left,
            "refusals": _rates(refused, len(self._recent(second))),
            **self._pace(f"product.{product.id}", product.left),
        }

    def _pace(self, name: str, left: int) -> Figures:
        """How much goes a second, and in how many seconds nothing would be left at that rate."""
        rate = self._history.decrease_rate(name)
        return {"rate": rate, "ends_in_seconds": left / rate if rate and left > 0 else None}

    def _measure_locks(self, shop: ShopState) -> None:
        """Rates of lock waits and deadlocks between two readings of the server's counters."""
        if self._locks is not None and shop.read_at > self._locks[0]:
            before_at, before = self._locks
            seconds = (shop.read_at - before_at).total_seconds()
            self._lock_rates = {
                LOCKS[name]: max(0.0, value - before[name]) / seconds
                for name, value in shop.locks.items()
                if name in before
            }
        # Also an earlier one: the clock was set back.
        if self._locks is None or shop.read_at != self._locks[0]:
            self._locks = shop.read_at, shop.locks

    def _order_rates(self, second: int) -> dict[str, float]:
        """Orders a second by what happened to them, over the last seconds."""
        latest = self._latest(second)
        return {
            f"orders_a_second.{event}": round(
                sum(one.counts.get((shared_counts.ORDERS, event), 0) for one in latest) / len(latest), 4
            )
            for event in ORDER_EVENTS
            if latest
        }

    def _point_values(
        self,
        goods: GoodsState | None,
        shop: ShopState | None,
        requests: Figures,
    ) -> dict[str, float]:
        values: dict[str, float | None] = {
            "requests": requests["rate"],
            "refusals": requests["refused"],
            "p50": requests["p50"],
            "p95": requests["p95"],
            **{f"p95.{app}": times["p95"] for app, times in requests["apps"].items()},
            **self._lock_rates,
        }
        if goods:
            values |= {f"campaign.{one.id}": one.left for one in goods.campaigns}
            values |= {f"sale.{one.id}": one.left for one in goods.sales}
            values |= {f"product.{one.id}": one.left for one in goods.products}
        if shop:
            values |= {f"orders.{status}": number for status, number in shop.orders.items()}
            values |= {"in_doubt": shop.in_doubt, "stuck": shop.stuck}
            values["waiting"] = sum(shop.waiting.values())
        return {name: round(value, 4) for name, value in values.items() if value is not None}


def _refused(one: SecondCounts) -> int:
    """How many calls were refused in the second, with any code."""
    return sum(number for count, number in one.counts.items() if count[0] == shared_counts.REFUSALS)


def _ended(one: SecondCounts) -> int:
    """How many calls ended in the second: those in the bucket without a bound."""
    return sum(
        number
        for (name, *labels), number in one.counts.items()
        if name == shared_counts.SECONDS and labels[1] == "+Inf"
    )


def _times(buckets: Mapping[str, int]) -> Figures:
    # A bucket in which nothing new was counted is not shared.
    by_bound = dict.fromkeys(LATENCY_BOUNDS, 0) | {float(bound): number for bound, number in buckets.items()}
    return {"p50": percentile(by_bound, 0.5), "p95": percentile(by_bound, 0.95)}


def _rates(numbers: Mapping[str, int], seconds: int) -> list[Figures]:
    ordered = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    shown = [{"code": code, "rate": number / max(1, seconds)} for code, number in ordered[:CODES_SHOWN]]
    rest = sum(number for _, number in ordered[CODES_SHOWN:])
    return [*shown, {"code": "other", "rate": rest / max(1, seconds)}] if rest else shown


def _shop_figures(shop: ShopState | None, lock_rates: Mapping[str, float]) -> Figures | None:
    if shop is None:
        return None
    return {
        "orders": shop.orders,
        "in_doubt": shop.in_doubt,
        "in_doubt_oldest_seconds": shop.in_doubt_oldest_seconds,
        "disputes": shop.disputes,
        "stuck": shop.stuck,
        "unfinished": shop.unfinished,
        "waiting": sum(shop.waiting.values()),
        "wait_seconds": max(shop.wait_seconds.values(), default=0.0),
        "lock_waits": lock_rates.get("lock_waits"),
        "deadlocks": lock_rates.get("deadlocks"),
    }


def _law_figures(known: Sequence[LawState]) -> list[Figures]:
    """Every law in order, also those that no audit has checked."""
    states = {state.law: state for state in known}
    return [
        {
            "law": law,
            "holds": states[law].holds if law in states else None,
            "offenders": states[law].offenders if law in states else 0,
            "checked_at": checked.timestamp()
            if law in states and (checked := states[law].checked_at)
            else None,
        }
        for law in LAWS
    ]
