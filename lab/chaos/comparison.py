"""The book of all answers compared with the truth: the shop, the gateway's book, the data platform's events,
and the event feed. Each finding is a difference."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice
from typing import Any

from lab.chaos.calls import Connection
from lab.chaos.clients import FeedReader
from lab.chaos.memory import Account, RecordedCall, Setup
from lab.chaos.shop import BOUGHT, PATIENCE_SECONDS, Shop

Rows = Mapping[str, Any]
"""By their ids, or codes."""
UNPAID = {"cancelled", "expired"}
"""What an order is in the end that was kept on each decline, and not paid."""
PARTS = ("amount", "points_amount", "card_amount")
ENDS = dict.fromkeys(BOUGHT, "order.paid") | {
    status: f"order.{status}" for status in ("payment_failed", "cancelled", "expired")
}
"""The event of an order's end, by its status."""
REQUESTED, REFUNDED = "refund.requested", "order.refunded"
DELIVERED = {"order.paid", REFUNDED, "order.cancelled"}
"""The data platform's events whose number and order is known; the others are not checked."""
IN_FEED = {"order.placed", *ENDS.values(), REQUESTED, REFUNDED, None}
"""None is the end of an order that has not ended: the feed can't have it."""
COUPON_MOVES = {
    ("", "coupon.issued"): "issued",
    ("issued", "coupon.held"): "held",
    ("held", "coupon.redeemed"): "redeemed",
    ("held", "coupon.released"): "issued",
    ("redeemed", "coupon.released"): "issued",
}
"""What each event of a coupon makes of it."""
OF_COUPONS = {kind for _, kind in COUPON_MOVES}
MOST_NAMED = 5


def findings(setup: Setup, shop: Shop) -> Iterator[str]:
    """Each thing in the shop and in the outside systems that is not as an answer said."""
    orders = {account.id: shop.orders(account) for account in setup.buyers}
    for account in setup.buyers:
        own = orders[account.id]
        yield from repeats(account.calls, shop.connection)
        yield from of_orders(account, own)
        yield from of_coupons(account, setup, own, shop.coupons(account))
        yield from of_entries(account, setup, own, shop)
        yield from of_wallet(account, setup, own, shop)
    yield from repeats(setup.staff.calls, shop.connection)
    yield from of_campaigns(setup, shop)
    everything = [order for own in orders.values() for order in own.values()]
    yield from of_refunds(setup, everything, shop)
    yield from of_stock(setup, everything, shop)
    yield from of_outside(setup, shop)


def of_outside(setup: Setup, shop: Shop) -> Iterator[str]:
    """Each amount at the gateway and event at the data platform that is not as orders and answers are."""
    orders = {id: order for account in setup.buyers for id, order in shop.orders(account).items()}
    yield from of_money(setup, orders, shop)
    yield from of_order_events("the data platform got", DELIVERED, setup, orders, shop.events())


def of_feed(setup: Setup, shop: Shop, reader: FeedReader) -> Iterator[str]:
    """Read to the end and once more from the beginning; each event that is wrong. Raises NoFinalAnswer."""
    reader.read_to_end()
    again = FeedReader(port=shop.instance.port, token=reader.token, seed="again", seen=reader.seen)
    again.read_to_end()
    print(f"the feed has {len(again.events)} events, each once", flush=True)
    orders = {id: order for account in setup.buyers for id, order in shop.orders(account).items()}
    coupons = {code: one for account in setup.buyers for code, one in shop.coupons(account).items()}
    yield from of_readings(reader.events, again.events)
    yield from of_order_events("the feed has", IN_FEED, setup, orders, reader.events)
    yield from of_coupon_events(setup, coupons, reader.events)
    yield from of_corrections(setup, reader.events)


def repeats(calls: Iterable[RecordedCall], connection: Connection) -> Iterator[str]:
    """One key, one final answer: the repeat gets it to the letter."""
    for made in calls:
        if made.call.key and made.was_done:
            again = connection.call_until_final(made.call, until=time.monotonic() + PATIENCE_SECONDS)
            is_same = (again.status, again.body) == (made.answer.status, made.answer.body)
            if not (is_same and again.is_replay):
                yield f"key {made.call.key} of {made.sort}: first {made.answer}, now {again}"


def of_orders(account: Account, orders: Rows) -> Iterator[str]:
    """Those in the answers, with the items that were asked for, and as their payments were answered."""
    answered = account.orders()
    yield from _missing("order", account, answered.keys(), orders.keys())
    for id in answered.keys() & orders.keys():
        asked, holds = _items(answered[id].call.body), _items(orders[id])
        yield from _unlike(f"order {id}: items asked for", asked, holds)
    due = [(made.answer.body["id"], {"cancelled"}) for made in account.done("cancel")]
    for id, payments in account.payments().items():
        paid = sum(made.answer.status == 201 for made in payments)
        unpaid = UNPAID if all(made.keeps_order for made in payments) else {"payment_failed"}
        due.append((id, BOUGHT if paid else unpaid))
        if paid > 1:
            yield f"order {id}: {paid} payments were answered to have succeeded"
    for id, ends in due:
        if (status := orders.get(id, {"status": "missing"})["status"]) not in ends:
            yield f"order {id}: answered {' or '.join(sorted(ends))}, is {status}"


def of_coupons(account: Account, setup: Setup, orders: Rows, there: Rows) -> Iterator[str]:
    """Those in the answers, unchanged; redeemed by one order that is not fully refunded, or free."""
    answered = account.coupons()
    redeemed = Counter(order["coupon"] for order in orders.values() if order["status"] == "paid")
    yield from _missing("coupon", account, answered.keys(), there.keys())
    for code in answered.keys() & there.keys():
        for name in answered[code].keys() & {"campaign", "position"}:
            yield from _unlike(f"coupon {code}: {name}", answered[code][name], there[code][name])
        state = "redeemed" if redeemed[code] else "issued"
        if there[code]["status"] != state or redeemed[code] > 1:
            yield f"coupon {code}: {redeemed[code]} paid orders have it, and it is {there[code]['status']}"
    for made in account.calls:
        listed = setup.listed.get(made.call.body["campaign"]) if made.sort == "coupon" else None
        is_refused = made.answer.code == "not_eligible"
        if listed and (is_refused or made.was_done) and is_refused == (account.id in listed):
            yield f"account {account.id}, listed: {is_refused}, was answered {made.answer.word}"


def of_entries(account: Account, setup: Setup, orders: Rows, shop: Shop) -> Iterator[str]:
    """Each entry in the answers is there, and as many are used as there are orders of the sale."""
    if setup.drop is None:
        return
    ids = {made.answer.body["id"] for made in account.done("entry")}
    entries = [shop.get(f"/sale-entries/{id}", account.token) for id in ids]
    for entry in entries:
        if entry["sale"] != setup.drop.id or entry["status"] not in ("waiting", "admitted", "used"):
            yield f"entry {entry['id']} of account {account.id}: {entry}"
    bought = sum(setup.drop.product.id in dict(_items(order)) for order in orders.values())
    used = sum(entry["status"] == "used" for entry in entries)
    yield from _unlike(f"account {account.id}: orders of the sale and used entries", bought, used)


def of_wallet(account: Account, setup: Setup, orders: Rows, shop: Shop) -> Iterator[str]:
    """What it began with, and all that was granted, bought and spent by the answers."""
    granted = [made for made in setup.staff.done("grant") if made.call.body["user"] == account.id]
    top_ups = account.done("top_up")
    bought = [made for made in top_ups if made.answer.status == 201]
    due = account.opening_amount + sum(made.call.body["amount"] for made in [*granted, *bought])
    due -= sum(order["points_amount"] for order in orders.values() if order["status"] in BOUGHT)
    due += sum(refund["points_amount"] for refund in setup.refunds() if refund["order"] in orders)
    due += setup.operator_grants[account.id]
    balance, entries = shop.wallet(account)
    found = (balance, sum(entry["amount"] for entry in entries))
    yield from _unlike(f"wallet of {account.id}: balance and sum of entries", (due, due), found)
    answered = {made.answer.body.get("payment") or made.answer.body["id"] for made in top_ups}
    yield from _missing("top-up", account, answered, shop.top_ups(account))


def of_campaigns(setup: Setup, shop: Shop) -> Iterator[str]:
    """Each position is issued once, and each campaign shows as many as were answered."""
    answered = [coupon for account in setup.buyers for coupon in account.coupons().values()]
    positions = Counter((one["campaign"], one["position"]) for one in answered if "position" in one)
    for (campaign, position), count in positions.items():
        yield from _unlike(f"campaign {campaign}: issues of position {position}", 1, count)
    numbers = Counter(coupon["campaign"] for coupon in answered)
    for id in setup.campaigns:
        yield from _unlike(f"campaign {id}: issued", numbers[id], shop.get(f"/campaigns/{id}")["issued"])


def of_refunds(setup: Setup, orders: Iterable[Any], shop: Shop) -> Iterator[str]:
    """Each refund in an answer has succeeded, there is no other, and none refunds more than was paid."""
    answered: defaultdict[str, set[str]] = defaultdict(set)
    for refund in setup.refunds():
        answered[refund["order"]].add(refund["id"])
    for order in orders:
        mine, name = answered[order["id"]], f"refunds of order {order['id']}"
        if not (mine or order["refunded_amount"] or order["status"] == "refunded"):
            continue
        refunds = shop.refunds(order["id"])
        yield from _unlike(name, sorted(mine), sorted(refund["id"] for refund in refunds))
        if any(refund["status"] != "succeeded" for refund in refunds):
            yield f"{name}: not all have succeeded: {refunds}"
        amount, points, card = (sum(refund[part] for refund in refunds) for part in PARTS)
        if not amount == points + card == order["refunded_amount"]:
            yield f"{name}: {points} points and {card} by card are not the {order['refunded_amount']} it says"
        left = (order["points_amount"] - points, order["card_amount"] - card)
        units = Counter(dict(_items(order)))
        for refund in refunds:
            units.subtract(dict(_items(refund)))
        # What a clerk gives back at the gateway has no units, which may outlast the amount then.
        is_over = left == (0, 0) and not any(units.values())
        if min(left) < 0 or (order["status"] == "refunded") != is_over:
            yield f"{name}: of points and card {left} are left, and it is {order['status']}"
        if any(quantity < 0 for quantity in units.values()):
            yield f"{name}: more was refunded than was bought: {units}"


def of_stock(setup: Setup, orders: Iterable[Any], shop: Shop) -> Iterator[str]:
    """Once all is settled nothing is reserved, and what is gone is sold."""
    on_hand = Counter({product.id: product.on_hand for product in setup.stocked})
    for made in setup.staff.done("adjustment"):
        on_hand[_adjusted(made)] += made.call.body["delta"]
    gone = [(order, 1) for order in orders if order["status"] in BOUGHT]
    for one, sign in [*gone, *((refund, -1) for refund in setup.refunds() if refund["restock"])]:
        for product_id, quantity in _items(one):
            on_hand[product_id] -= sign * quantity
    for id in (product.id for product in setup.stocked):
        stock = shop.get(f"/products/{id}/stock")
        due, found = (on_hand[id], 0), (stock["on_hand"], stock["reserved"])
        yield from _unlike(f"product {id}: on hand and reserved", due, found)


def of_money(setup: Setup, orders: Rows, shop: Shop) -> Iterator[str]:
    """What is charged and not refunded, by order, of the top-ups together, and in sum."""
    due = Counter[str | None]()
    due.update({id: one["card_amount"] for id, one in orders.items() if one["status"] in BOUGHT})
    bought = dict(due)
    for refund in setup.refunds():
        due[refund["order"]] -= refund["card_amount"]
    for order_id, made in setup.at_gateway.items():
        due[order_id] -= made.lost_amount
    top_ups = [made for account in setup.buyers for made in account.done("top_up")]
    due[None] = sum(made.call.body["amount"] for made in top_ups if made.answer.status == 201)
    held, number = Counter[str | None](), Counter[str | None]()
    for charge in shop.gateway("/charges")["results"]:
        if charge["status"] == "succeeded":
            lost = sum(one["amount"] for one in charge.get("disputes", ()) if one["status"] == "lost")
            held[charge["order"]] += charge["amount"] - charge["refunded_amount"] - lost
            number[charge["order"]] += 1
        elif charge["status"] == "pending":
            yield f"charge {charge['id']} of order {charge['order']} is pending: it may still succeed"
    for id in due.keys() | held.keys():
        if due[id] != held[id]:
            yield f"order {id}: the gateway holds {held[id]}, due are {due[id]}"
    for id in orders:
        wanted = int(bought.get(id, 0) > 0)
        # A charge of an order that ended unpaid was refunded, whole.
        if number[id] not in ({wanted} if id in bought else {0, 1}):
            yield f"order {id}: charged {number[id]} times instead of {wanted}"
    book, lost = shop.gateway("/summary"), sum(made.lost_amount for made in setup.at_gateway.values())
    if book["charged_amount"] - book["refunded_amount"] - lost != due.total():
        yield f"the gateway holds {book}, the answers come to {due.total()}"


def of_readings(followed: Sequence[Any], again: Sequence[Any]) -> Iterator[str]:
    """The feed as it was followed and as it is read later: the same events in the same order, each once."""
    types = {event["id"]: event["type"] for event in (*again, *followed)}
    # A counter has its keys in the order of their first appearance.
    first, second = (Counter(event["id"] for event in events) for events in (followed, again))
    for when, ids in (("followed", first), ("read again", second)):
        for one in islice((one for one in ids if ids[one] > 1), MOST_NAMED):
            yield f"event {one} came {ids[one]} times when the feed was {when}"
    for one in islice((one for one in second if one not in first), MOST_NAMED):
        yield f"event {one}, {types[one]}, was skipped by a reader of the feed"
    for one in islice((one for one in first if one not in second), MOST_NAMED):
        yield f"event {one}, {types[one]}, is not in the feed any more"
    both = zip((one for one in first if one in second), (one for one in second if one in first), strict=True)
    if differing := next((pair for pair in both if pair[0] != pair[1]), None):
        before, after = differing
        yield f"the feed has another order: {after}, {types[after]}, was followed later than {before}"


def of_order_events(
    where: str, kinds: Set[str | None], setup: Setup, orders: Rows, events: Iterable[Any]
) -> Iterator[str]:
    """Of these kinds each order has its events, each once and in sequence; and no other order has any."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    owners: dict[str, int | None] = {}
    for event in (one for one in events if one["type"] in kinds):
        id, account_id = event["data"]["order"], event["data"].get("account")
        found[id].append(event["type"])
        owners[id] = account_id or owners.get(id)
    refunds = Counter(refund["order"] for refund in setup.refunds())
    at_gateway = Counter(one["order"] for one in setup.refunds() if one.get("source") == "gateway")
    for id, order in orders.items():
        due = [kind for kind in ("order.placed", ENDS.get(order["status"])) if kind in kinds]
        begun, rest = found[id][: len(due)], found[id][len(due) :]
        unrequested = at_gateway[id] if REQUESTED in kinds else refunds[id]
        if begun != due or not _are_refunds(rest, refunds[id], unrequested):
            yield f"order {id} is {order['status']}: {where} {found[id]}, {refunds[id]} refunds are due"
    buyers = {None, *(account.id for account in setup.buyers)}
    for id in found.keys() - orders.keys():
        if owners[id] in buyers:
            yield f"order {id}: {where} {found[id]}, and it is not there"


def _are_refunds(kinds: Sequence[str], count: int, unrequested: int) -> bool:
    """Whether these are events of so many refunds, some of them, made at the gateway, requested by nobody."""
    requested = done = 0
    for kind in kinds:
        requested, done = requested + (kind == REQUESTED), done + (kind == REFUNDED)
        if done > requested + unrequested:
            return False
    return requested + unrequested == done == count and len(kinds) == requested + done


def of_coupon_events(setup: Setup, coupons: Rows, events: Sequence[Any]) -> Iterator[str]:
    """In the feed each coupon is issued once, and its events lead to what it is; none was in no answer."""
    buyers = {account.id for account in setup.buyers}
    status = {code: "" for account in setup.buyers for code in account.coupons()}
    for event in (one for one in events if one["type"] in OF_COUPONS):
        code, kind = event["data"]["coupon"], event["type"]
        if code in status or (kind == "coupon.issued" and event["data"].get("account") in buyers):
            status[code] = COUPON_MOVES.get((status.get(code, ""), kind), "impossible")
    for code, due in status.items():
        shown = coupons.get(code, {"status": "missing"})["status"]
        yield from _unlike(f"coupon {code}: status by the feed", due, shown)


def of_corrections(setup: Setup, events: Iterable[Any]) -> Iterator[str]:
    """In the feed as many corrections of each product as were answered, and its delivery before the load."""
    found = Counter(event["data"]["product"] for event in events if event["type"] == "stock.adjusted")
    adjusted = Counter(_adjusted(made) for made in setup.staff.done("adjustment"))
    for id in (product.id for product in setup.stocked):
        yield from _unlike(f"product {id}: corrections in the feed", adjusted[id] + 1, found[id])


def _unlike(what: str, due: object, found: object) -> Iterator[str]:
    if due != found:
        yield f"{what}: {due} by the answers, is {found}"


def _missing(what: str, account: Account, answered: Set[str], there: Set[str]) -> Iterator[str]:
    for one in answered ^ there:
        where = "answered, but not there" if one in answered else "there, but never answered"
        yield f"{what} {one} of account {account.id}: {where}"


def _items(order_or_refund: Any) -> list[tuple[int, int]]:
    return [(item["product"], item["quantity"]) for item in order_or_refund["items"]]


def _adjusted(made: RecordedCall) -> int:
    """The product whose stock the call corrects."""
    return int(made.call.path.split("/")[2])
