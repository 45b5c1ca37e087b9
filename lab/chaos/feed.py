"""A program that follows the event feed through all faults, and what its events have to be in the end."""

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

from lab.chaos.calls import Call, Connection, NoFinalAnswer, Observations
from lab.chaos.memory import Account, Setup
from lab.chaos.shop import BOUGHT, Shop

PAGE = 200
WAITS = (0, 3, 10)
"""Seconds of `Prefer: wait`."""
END_WAIT_SECONDS = 3
"""A page that is still empty after so long is the last one: positions are given within a second."""
PATIENCE_SECONDS = 60
IMPATIENT_SHARE = 0.1
RETRY_SECONDS = (0.1, 1.0)
MOST_NAMED = 5
ENDS = dict.fromkeys(BOUGHT, "order.paid") | {
    status: f"order.{status}" for status in ("payment_failed", "cancelled", "expired")
}
"""The event of an order's end, by its status."""
REQUESTED, REFUNDED = "refund.requested", "order.refunded"
OF_ORDERS = {"order.placed", *ENDS.values(), REQUESTED, REFUNDED}
COUPON_MOVES = {
    ("", "coupon.issued"): "issued",
    ("issued", "coupon.held"): "held",
    ("held", "coupon.redeemed"): "redeemed",
    ("held", "coupon.released"): "issued",
    ("redeemed", "coupon.released"): "issued",
}
"""What each event of a coupon makes of it."""
OF_COUPONS = {kind for _, kind in COUPON_MOVES}
ADJUSTED = "stock.adjusted"


class FeedReader:
    """Follows the feed with one cursor; a thread's own until the load has ended."""

    def __init__(self, *, port: int, token: str, seed: str, seen: Observations) -> None:
        self.connection = Connection(port, seen, seed=f"{seed} feed")
        self.random = random.Random(f"{seed} feed")
        self.token = token
        self.seen = seen
        self.events: list[Any] = []
        self.cursor = ""
        self.is_refused = False

    def run(self, stop: threading.Event) -> None:
        """Read page by page, until the load ends or the cursor is refused."""
        while not (stop.is_set() or self.is_refused):
            self.read(wait=self.random.choice(WAITS))

    def read_to_end(self) -> None:
        """Read what is left, once all is settled. Raises NoFinalAnswer."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not self.is_refused and self.read(wait=END_WAIT_SECONDS) != 0:
            if time.monotonic() > until:
                raise NoFinalAnswer(f"the event feed goes on after {len(self.events)} events")

    def read(self, *, wait: int = 0) -> int | None:
        """How many events the next page has; None for no page, which is then read again."""
        query = urlencode({"limit": PAGE} | ({"after": self.cursor} if self.cursor else {}))
        call = Call("GET", f"/events?{query}", self.token, wait=wait)
        answer = self.connection.call_once(call, is_impatient=self.random.random() < IMPATIENT_SHARE)
        if answer is None or answer.is_retryable:
            time.sleep(self.random.uniform(*RETRY_SECONDS))
            return None
        if answer.status != 200:
            self.is_refused = True
            self.seen.record_finding(f"the feed after {len(self.events)} events is answered {answer}")
            return None
        self.events += answer.body["results"]
        self.cursor = answer.body["next"]
        return len(answer.body["results"])


def findings(setup: Setup, shop: Shop, reader: FeedReader) -> Iterator[str]:
    """Read to the end and once more from the beginning; each event that is wrong. Raises NoFinalAnswer."""
    reader.read_to_end()
    again = FeedReader(port=shop.instance.port, token=reader.token, seed="again", seen=reader.seen)
    again.read_to_end()
    print(f"the feed has {len(again.events)} events, each once", flush=True)
    orders = {order["id"]: order for account in setup.buyers for order in shop.orders(account).values()}
    coupons = {code: one for account in setup.buyers for code, one in shop.coupons(account).items()}
    yield from compare_readings(reader.events, again.events)
    yield from of_orders(setup, orders, reader.events)
    yield from of_coupons(setup, coupons, reader.events)
    yield from of_stock(setup, reader.events)


def compare_readings(followed: Sequence[Any], again: Sequence[Any]) -> Iterator[str]:
    """The events as they were followed beside those of a later reading: the same, in the same order."""
    first, second = ([event["id"] for event in events] for events in (followed, again))
    for when, ids in (("followed", first), ("read again", second)):
        for event_id, count in _named({one: count for one, count in Counter(ids).items() if count > 1}):
            yield f"event {event_id} came {count} times when the feed was {when}"
    types = {event["id"]: event["type"] for event in (*again, *followed)}
    for event_id, _ in _named(dict.fromkeys(one for one in second if one not in set(first))):
        yield f"event {event_id}, {types[event_id]}, was skipped by a reader of the feed"
    for event_id, _ in _named(dict.fromkeys(one for one in first if one not in set(second))):
        yield f"event {event_id}, {types[event_id]}, is not in the feed any more"
    both = set(first) & set(second)
    for before, after in zip(
        (one for one in dict.fromkeys(first) if one in both),
        (one for one in dict.fromkeys(second) if one in both),
        strict=True,
    ):
        if before != after:
            yield f"the feed has another order: {after}, {types[after]}, was followed later than {before}"
            return


def of_orders(setup: Setup, orders: dict[str, Any], events: Iterable[Any]) -> Iterator[str]:
    """Each order's events, each once and in sequence; and no order of a buyer that is not there."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    owners: dict[str, int] = {}
    for event in events:
        if event["type"] in OF_ORDERS:
            order_id = event["data"]["order"]
            found[order_id].append(event["type"])
            owners[order_id] = event["data"].get("account") or owners.get(order_id, 0)
    refunds = Counter(refund["order"] for refund in setup.refunds())
    at_gateway = Counter(one["order"] for one in setup.refunds() if one.get("source") == "gateway")
    for order_id, order in orders.items():
        due = ["order.placed", ENDS.get(order["status"], order["status"])]
        first, rest = found[order_id][:2], found[order_id][2:]
        if first != due or not _are_refunds(rest, refunds[order_id], at_gateway[order_id]):
            due += [f"{refunds[order_id]} refunds"]
            yield f"order {order_id}: the feed has {found[order_id]} instead of {due}"
    buyers = {account.id for account in setup.buyers}
    for order_id in found.keys() - orders.keys():
        if owners[order_id] in buyers:
            yield f"order {order_id}: the feed has {found[order_id]}, and it is not there"


def _are_refunds(kinds: Sequence[str], count: int, at_gateway: int) -> bool:
    """Whether these are events of so many refunds, some of them made at the gateway and requested by
    nobody."""
    requested = done = 0
    for kind in kinds:
        requested, done = requested + (kind == REQUESTED), done + (kind == REFUNDED)
        if done > requested + at_gateway:
            return False
    return requested + at_gateway == done == count and len(kinds) == requested + done


def of_coupons(setup: Setup, coupons: dict[str, Any], events: Iterable[Any]) -> Iterator[str]:
    """Each coupon is issued once, and its events lead to what it is; and none that was in no answer."""
    buyers, answered = {account.id for account in setup.buyers}, _answered_coupons(setup.buyers)
    found: defaultdict[str, list[str]] = defaultdict(list)
    for event in events:
        if event["type"] in OF_COUPONS:
            found[event["data"]["coupon"]].append(event["type"])
            if event["type"] == "coupon.issued" and event["data"].get("account") in buyers:
                answered.setdefault(event["data"]["coupon"], None)
    for code in answered:
        status = _status_after(found[code])
        shown = coupons.get(code, {"status": "missing"})["status"]
        if status != shown:
            yield f"coupon {code} is {shown}, and the feed has {found[code]}"


def _answered_coupons(buyers: Iterable[Account]) -> dict[str, None]:
    return dict.fromkeys(code for account in buyers for code in account.coupons())


def _status_after(kinds: Iterable[str]) -> str:
    """What a coupon is after these events; `impossible` after some that can't follow one another."""
    status = ""
    for kind in kinds:
        status = COUPON_MOVES.get((status, kind), "impossible")
    return status or "not in the feed"


def of_stock(setup: Setup, events: Iterable[Any]) -> Iterator[str]:
    """As many corrections of each product as were acknowledged, beside its delivery before the load."""
    found = Counter(event["data"]["product"] for event in events if event["type"] == ADJUSTED)
    adjusted = Counter(int(made.call.path.split("/")[2]) for made in setup.staff.done("adjustment"))
    for product in setup.stocked:
        if found[product.id] != adjusted[product.id] + 1:
            yield (
                f"product {product.id}: the feed has {found[product.id]} corrections, "
                f"{adjusted[product.id] + 1} were acknowledged"
            )


def _named(found: dict[str, Any]) -> list[tuple[str, Any]]:
    """The first few."""
    return list(found.items())[:MOST_NAMED]
