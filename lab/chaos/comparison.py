"""The book of all answers compared with the truth: the shop, its tables, the gateway's book, the data
platform's events, and the event feed. Each finding is a difference.

A client repeats a call until its answer is final. So in the end each row of the load's accounts has been in
an answer: one that has not was made a second time. The amounts and units of one order are for the laws.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from lab.calls import Account, Connection, RecordedCall, Setup
from lab.chaos.clients import FeedReader
from lab.shop import BOUGHT, ENDS, PATIENCE_SECONDS, Shop
from lab.tables import declared
from scripts.stack.children import say

Rows = Mapping[str, Any]
"""By their ids, or codes."""
UNPAID = {"cancelled", "expired"}
"""What an order is in the end that was kept on each decline, and not paid."""
REFUNDED = "order.refunded"
DELIVERED = {"order.paid", REFUNDED, "order.cancelled"}
"""The data platform's events whose number and order is known; the others are not checked."""
MOST_NAMED = 5


def findings(setup: Setup, shop: Shop, reader: FeedReader | None = None) -> Iterator[str]:
    """Each thing that is not as an answer said. The feed is read once more. Raises NoFinalAnswer."""
    orders = dict[str, Any]()
    for account in setup.buyers:
        own = shop.orders(account)
        orders |= own
        yield from of_orders(account, own)
        yield from of_belongings(account, setup, own, shop)
    yield from repeats(setup.calls, shop.connection)
    yield from of_stock(setup, orders, shop)
    yield from of_outside(setup, shop, orders)
    if reader:
        again = FeedReader(setup, port=shop.instance.port, seed="again", ends_at=0.0, seen=reader.seen)
        for one in (reader, again):
            one.read_to_end()
        say(f"the feed has {len(again.events)} events, each once")
        yield from of_readings(reader.events, again.events)


def unlike(due: Mapping[str, object], found: Mapping[str, object]) -> Iterator[str]:
    """Each thing that is not as it is due, or is there without being due; of a set one is due."""
    for what in sorted(due.keys() | found.keys()):
        wanted, is_now = due.get(what), found.get(what)
        if not (is_now in wanted if isinstance(wanted, set) else is_now == wanted):
            yield f"{what}: {wanted} by the answers, is {is_now}"


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
    made = account.orders()
    due: dict[str, object] = {f"order {id}: items": _items(one.call.body) for id, one in made.items()}
    ends = {id: {*ENDS} for id in made} | {
        one.answer.body["id"]: {"cancelled"} for one in account.done("cancel")
    }
    for id, payments in account.payments().items():
        paid = sum(made.answer.status == 201 for made in payments)
        unpaid = UNPAID if all(made.keeps_order for made in payments) else {"payment_failed"}
        ends[id] = ends.get(id, {*ENDS}) & (BOUGHT if paid else unpaid)
        if paid > 1:
            yield f"order {id}: {paid} payments were answered to have succeeded"
    found = {f"order {id}: items": _items(order) for id, order in orders.items()}
    statuses = {f"order {id}: status": order["status"] for id, order in orders.items()}
    yield from unlike(due | {f"order {id}: status": one for id, one in ends.items()}, found | statuses)


def of_belongings(account: Account, setup: Setup, orders: Rows, shop: Shop) -> Iterator[str]:
    """Its coupons, free or redeemed by one order that is not fully refunded; and its wallet, with all that
    was granted, bought and spent by the answers."""
    redeemed = Counter(order["coupon"] for order in orders.values() if order["status"] == "paid")
    states, due, found = {0: "issued", 1: "redeemed"}, dict[str, object](), dict[str, object]()
    for code, one in account.coupons().items():
        due[f"coupon {code}"] = (one["campaign"], one["position"], states.get(redeemed[code]))
    for code, one in shop.coupons(account).items():
        found[f"coupon {code}"] = (one["campaign"], one["position"], one["status"])
    granted = [made for made in setup.staff.done("grant") if made.call.body["user"] == account.id]
    top_ups = account.done("top_up")
    bought = [made for made in top_ups if made.answer.status == 201]
    points = account.opening_amount + sum(made.call.body["amount"] for made in [*granted, *bought])
    points -= sum(order["points_amount"] for order in orders.values() if order["status"] in BOUGHT)
    points += sum(refund["points_amount"] for refund in setup.refunds() if refund["order"] in orders)
    answered = {made.answer.body.get("payment") or made.answer.body["id"] for made in top_ups}
    name, top_up = f"wallet of {account.id}", f"top-up of {account.id}: "
    yield from unlike(
        due | {name: points} | {top_up + id: True for id in answered},
        found | {name: shop.balance(account)} | {top_up + id: True for id in shop.top_ups(account)},
    )


def of_stock(setup: Setup, orders: Rows, shop: Shop) -> Iterator[str]:
    """Once all is settled nothing is reserved, and what is gone is sold."""
    on_hand = Counter({product.id: product.on_hand for product in setup.stocked})
    for made in setup.staff.done("adjustment"):
        on_hand[int(made.call.path.split("/")[2])] += made.call.body["delta"]
    for order in orders.values():
        on_hand.subtract(dict(_items(order)) if order["status"] in BOUGHT else {})
    for refund in setup.refunds():
        on_hand.update(dict(_items(refund)) if refund["restock"] else {})
    for id in (product.id for product in setup.stocked):
        stock, what = shop.get(f"/products/{id}/stock"), f"product {id}: on hand and reserved"
        yield from unlike({what: (on_hand[id], 0)}, {what: (stock["on_hand"], stock["reserved"])})


def of_outside(setup: Setup, shop: Shop, orders: Rows | None = None) -> Iterator[str]:
    """Each amount at the gateway and event at the data platform that is not as orders and answers are."""
    there = orders or {id: one for account in setup.buyers for id, one in shop.orders(account).items()}
    yield from of_money(setup, there, shop)
    yield from of_order_events(setup, there, shop.events())


def of_money(setup: Setup, orders: Rows, shop: Shop) -> Iterator[str]:
    """What is charged and not refunded, by order, and of the top-ups together."""
    bought = {id: one["card_amount"] for id, one in orders.items() if one["status"] in BOUGHT}
    due, held, number = Counter[str | None](bought), Counter[str | None](), Counter[str | None]()
    for refund in setup.refunds():
        due[refund["order"]] -= refund["card_amount"]
    for made in (one for account in setup.buyers for one in account.done("top_up")):
        due[None] += made.call.body["amount"] if made.answer.status == 201 else 0
    for charge in shop.gateway(shop.charges)["results"]:
        if charge["status"] == "succeeded":
            held[charge["order"]] += charge["amount"] - charge["refunded_amount"]
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


def of_order_events(setup: Setup, orders: Rows, events: Iterable[Any]) -> Iterator[str]:
    """At the data platform each order has its events once and in sequence, and no other has a buyer's."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    buyers = {None, *(account.id for account in setup.buyers)}
    for event in (one for one in events if one["type"] in DELIVERED):
        if event["data"].get("account") in buyers:
            found[event["data"]["order"]].append(event["type"])
    refunds = Counter(refund["order"] for refund in setup.refunds())
    for id, order in orders.items():
        due = [kind for kind in (ENDS.get(order["status"]),) if kind in DELIVERED]
        if (got := found.pop(id, [])) != due + [REFUNDED] * refunds[id]:
            yield f"order {id}, {order['status']}: {refunds[id]} refunds are due, the data platform got {got}"
    for id, kinds in found.items():
        yield f"order {id}: the data platform got {kinds}, and it is not there"


def of_readings(followed: Sequence[Any], again: Sequence[Any]) -> Iterator[str]:
    """The feed as it was followed and as it is read later: the same events in the same order, each once."""
    types = {event["id"]: event["type"] for event in (*again, *followed)}
    # A counter has its keys in the order of their first appearance.
    first, second = (Counter(event["id"] for event in events) for events in (followed, again))
    wrong = {
        "came several times when the feed was followed": [one for one in first if first[one] > 1],
        "came several times when the feed was read again": [one for one in second if second[one] > 1],
        "was skipped by a reader of the feed": [one for one in second if one not in first],
        "is not in the feed any more": [one for one in first if one not in second],
    }
    for what, ids in wrong.items():
        yield from (f"event {one}, {types[one]}, {what}" for one in ids[:MOST_NAMED])
    both = zip((one for one in first if one in second), (one for one in second if one in first), strict=True)
    for before, after in [pair for pair in both if pair[0] != pair[1]][:1]:
        yield f"the feed has another order: {after}, {types[after]}, was followed later than {before}"


def _items(order_or_refund: Any) -> list[tuple[int, int]]:
    return [(item["product"], item["quantity"]) for item in order_or_refund["items"]]


DECLARED = declared("lab/chaos/effects.toml")
TABLES, TRUTH = DECLARED["rows"], ", ".join(DECLARED["same_on_each_member"])
"""The rows of each kind of effect; and tables that must be the same on each member."""
MAY_BE_UNNAMED = {"payment"}
"""An order that is paid at once is answered without the id of its payment."""

Effects = Mapping[str, set[str]]


def acknowledged(setup: Setup) -> Effects:
    """The identities in all final answers, by the kind of effect."""
    effects = [identity(made) for made in setup.calls if made.was_done]
    return {kind: {known for sort, known in effects if sort == kind} for kind in TABLES}


def identity(made: RecordedCall) -> tuple[str, str]:
    """The kind of the call's effect, and the identity that its answer has; both empty for none."""
    body, status = made.answer.body, made.answer.status
    match made.sort:
        case "coupon":
            return "coupon", _plain(body["code"])
        case "order":
            return "order", _plain(made.order_id)
        case "payment" | "top_up" if status in (200, 201):
            return "payment", _plain(body.get("payment") or body["id"])
        case "refund" | "entry" | "grant" | "adjustment":
            return made.sort, _plain(body["id"])
    return "", ""


def _plain(known: object) -> str:
    """MySQL's and SQLite's columns lack the hyphens of ids that answers and MariaDB have."""
    return str(known).replace("-", "")


def compare(known: Effects, stored: Mapping[str, Effects], *, before: Effects) -> tuple[list[str], ...]:
    """The acknowledged effects that a server lacks, and its new rows that were in no answer."""
    lost, doubled = list[str](), list[str]()
    for server, tables in stored.items():
        for kind, rows in tables.items():
            new = set[str]() if kind in MAY_BE_UNNAMED else rows - known[kind] - before[kind]
            lost += (f"{kind} {one} is not on {server}" for one in sorted(known[kind] - rows))
            doubled += (f"{kind} {one} on {server} was in no answer" for one in sorted(new))
    return lost, doubled


def stored(setup: Setup, ask: Callable[[str], Sequence[tuple[Any, ...]]]) -> Effects:
    """The rows that one server answers with; a shop without a sale may have no table of entries."""
    accounts = ", ".join(str(account.id) for account in setup.buyers)
    products = ", ".join(str(product.id) for product in setup.stocked)
    found: dict[str, set[str]] = {"entry": set()}
    for kind, statement in TABLES.items():
        if kind != "entry" or setup.sale:
            rows = ask(statement.format(accounts=accounts, products=products))
            found[kind] = {_plain(row[0]) for row in rows}
    return found


def unequal(sums: Mapping[str, Mapping[str, int | None]]) -> list[str]:
    """The tables whose checksums differ from the first member's; a table that is not there has none."""
    (first, expected), *others = sums.items()
    return [
        f"{table} is not the same on {member} and {first}"
        for member, found in others
        for table, checksum in found.items()
        if checksum is None or checksum != expected[table]
    ]
