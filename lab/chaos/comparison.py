"""The book of all answers compared with the truth: the shop, its tables, the gateway's book, the data
platform's events, and the event feed. Each finding is a difference.

A client repeats a call until its answer is final. So in the end each row of the load's accounts has been in
an answer: one that has not was made a second time. The amounts and units of one order are for the laws.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lab.calls import Account, Connection, Findings, RecordedCall, Setup
from lab.chaos.clients import FeedReader
from lab.shop import BOUGHT, ENDS, PATIENCE_SECONDS, Shop
from lab.stack.database import Table
from scripts.stack import Json, Lines

Rows = Mapping[str, Any]  # By their ids, or codes
Amounts = Counter[str | None]  # By the order; None for top-ups
UNPAID = {"cancelled", "expired"}  # What an order is in the end that was kept on each decline, and not paid
REFUNDED = "order.refunded"
# The data platform's events whose number and order is known; the others are not checked.
DELIVERED = {"order.paid", REFUNDED, "order.cancelled"}
COUPON_STATES = {0: "issued", 1: "redeemed"}  # By how many paid orders have redeemed it
MOST_NAMED = 5


def findings(setup: Setup, shop: Shop, reader: FeedReader | None = None) -> Findings:
    """Each thing that is not as an answer said. The feed is read once more. Raises NoFinalAnswer."""
    orders: Json = {}
    for account in setup.buyers:
        own = shop.orders(account)
        orders |= own
        yield from of_orders(account, own)
        yield from of_belongings(account, setup, own, shop)
    yield from repeats(setup.calls, shop.connection)
    yield from of_stock(setup, orders, shop)
    yield from of_outside(setup, shop, orders)
    if reader:
        again = FeedReader(reader.work, "again")
        reader.read_to_end()
        again.read_to_end()
        yield from of_readings(reader.events, again.events)


def unlike(due: Rows, found: Rows) -> Findings:
    """Each thing that is not as it is due, or is there without being due; of a set one is due."""
    for what in sorted(due.keys() | found.keys()):
        wanted = due.get(what)
        is_now = found.get(what)
        is_due = is_now == wanted
        if isinstance(wanted, set):
            is_due = is_now in wanted
        if not is_due:
            yield f"{what}: {wanted} by the answers, is {is_now}"


def repeats(calls: Iterable[RecordedCall], connection: Connection) -> Findings:
    """One key, one final answer: the repeat gets it to the letter."""
    for made in calls:
        if made.call.key and made.was_done:
            again = connection.call_until_final(made.call, until=time.monotonic() + PATIENCE_SECONDS)
            is_same = (again.status, again.body) == (made.answer.status, made.answer.body)
            if not (is_same and again.is_replay):
                yield f"key {made.call.key} of {made.sort}: first {made.answer}, now {again}"


def of_orders(account: Account, orders: Rows) -> Findings:
    """Those in the answers, with the items that were asked for, and as their payments were answered."""
    due: Json = {}
    for id, made in account.orders().items():
        due[f"order {id}: items"] = _items(made.call.body)
        due[f"order {id}: status"] = {*ENDS}
    for made in account.done("cancel"):
        due[f"order {made.answer.body['id']}: status"] = {"cancelled"}
    for id, payments in account.payments().items():
        paid = sum(payment.answer.status == 201 for payment in payments)
        possible = {"payment_failed"}
        if paid:
            possible = BOUGHT
        elif all(payment.keeps_order for payment in payments):
            possible = UNPAID
        status = f"order {id}: status"
        due[status] = due.get(status, {*ENDS}) & possible
        if paid > 1:
            yield f"order {id}: {paid} payments were answered to have succeeded"
    found: Json = {}
    for id, order in orders.items():
        found[f"order {id}: items"] = _items(order)
        found[f"order {id}: status"] = order["status"]
    yield from unlike(due, found)


def of_belongings(account: Account, setup: Setup, orders: Rows, shop: Shop) -> Findings:
    """Its coupons, free or redeemed by one order that is not fully refunded; and its wallet, with all that
    was granted, bought and spent by the answers."""
    redeemed = Counter(order["coupon"] for order in orders.values() if order["status"] == "paid")
    due: Json = {}
    found: Json = {}
    for code, coupon in account.coupons().items():
        due[f"coupon {code}"] = (coupon["campaign"], coupon["position"], COUPON_STATES.get(redeemed[code]))
    for code, coupon in shop.coupons(account).items():
        found[f"coupon {code}"] = (coupon["campaign"], coupon["position"], coupon["status"])
    wallet = f"wallet of {account.id}"
    due[wallet] = points_due(account, setup, orders)
    found[wallet] = shop.balance(account)
    for made in account.done("top_up"):
        id = made.answer.body.get("payment") or made.answer.body["id"]
        due[f"top-up of {account.id}: {id}"] = True
    for id in shop.top_ups(account):
        found[f"top-up of {account.id}: {id}"] = True
    yield from unlike(due, found)


def points_due(account: Account, setup: Setup, orders: Rows) -> int:
    """All that was granted, bought and spent by the answers."""
    points = account.opening_amount
    for made in setup.staff.done("grant"):
        if made.call.body["user"] == account.id:
            points += made.call.body["amount"]
    for made in account.done("top_up"):
        if made.answer.status == 201:
            points += made.call.body["amount"]
    for order in orders.values():
        if order["status"] in BOUGHT:
            points -= order["points_amount"]
    for refund in setup.refunds():
        if refund["order"] in orders:
            points += refund["points_amount"]
    return points


def of_stock(setup: Setup, orders: Rows, shop: Shop) -> Findings:
    """Once all is settled nothing is reserved, and what is gone is sold."""
    on_hand = Counter({product.id: product.on_hand for product in setup.stocked})
    for made in setup.staff.done("adjustment"):
        on_hand[int(made.call.path.split("/")[2])] += made.call.body["delta"]
    for order in orders.values():
        if order["status"] in BOUGHT:
            on_hand.subtract(dict(_items(order)))
    for refund in setup.refunds():
        if refund["restock"]:
            on_hand.update(dict(_items(refund)))
    for product in setup.stocked:
        stock = shop.get(f"/products/{product.id}/stock")
        what = f"product {product.id}: on hand and reserved"
        yield from unlike({what: (on_hand[product.id], 0)}, {what: (stock["on_hand"], stock["reserved"])})


def of_outside(setup: Setup, shop: Shop, orders: Rows) -> Findings:
    """Each amount at the gateway and event at the data platform that is not as orders and answers are."""
    yield from of_money(setup, orders, shop)
    yield from of_order_events(setup, orders, shop.events())


def of_money(setup: Setup, orders: Rows, shop: Shop) -> Findings:
    """What is charged and not refunded, by order, and of the top-ups together."""
    bought = {id: order["card_amount"] for id, order in orders.items() if order["status"] in BOUGHT}
    due: Amounts = Counter(bought)
    held: Amounts = Counter()
    number: Amounts = Counter()
    for refund in setup.refunds():
        due[refund["order"]] -= refund["card_amount"]
    for account in setup.buyers:
        for made in account.done("top_up"):
            if made.answer.status == 201:
                due[None] += made.call.body["amount"]
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
        possible = {0, 1}
        if id in bought:
            possible = {wanted}
        if number[id] not in possible:
            yield f"order {id}: charged {number[id]} times instead of {wanted}"


def of_order_events(setup: Setup, orders: Rows, events: Iterable[Any]) -> Findings:
    """At the data platform each order has its events once and in sequence, and no other has a buyer's."""
    found: defaultdict[str, Lines] = defaultdict(list)
    buyers = {None, *(account.id for account in setup.buyers)}
    for event in events:
        if event["type"] in DELIVERED and event["data"].get("account") in buyers:
            found[event["data"]["order"]].append(event["type"])
    refunds = Counter(refund["order"] for refund in setup.refunds())
    for id, order in orders.items():
        due = [REFUNDED] * refunds[id]
        end = ENDS.get(order["status"])
        if end in DELIVERED:
            due.insert(0, end)
        got = found.pop(id, [])
        if got != due:
            yield f"order {id}, {order['status']}: {refunds[id]} refunds are due, the data platform got {got}"
    for id, kinds in found.items():
        yield f"order {id}: the data platform got {kinds}, and it is not there"


def of_readings(followed: Sequence[Any], again: Sequence[Any]) -> Findings:
    """The feed as it was followed and as it is read later: the same events in the same order, each once."""
    types = {event["id"]: event["type"] for event in (*again, *followed)}
    # A counter has its keys in the order of their first appearance.
    first = Counter(event["id"] for event in followed)
    second = Counter(event["id"] for event in again)
    repeated = [id for id in first if first[id] > 1]
    repeated_again = [id for id in second if second[id] > 1]
    skipped = [id for id in second if id not in first]
    gone = [id for id in first if id not in second]
    wrong = {
        "came several times when the feed was followed": repeated,
        "came several times when the feed was read again": repeated_again,
        "was skipped by a reader of the feed": skipped,
        "is not in the feed any more": gone,
    }
    for what, ids in wrong.items():
        for id in ids[:MOST_NAMED]:
            yield f"event {id}, {types[id]}, {what}"
    before = [id for id in first if id in second]
    after = [id for id in second if id in first]
    for earlier, later in zip(before, after, strict=True):
        if earlier != later:
            yield f"the feed has another order: {later}, {types[later]}, was followed later than {earlier}"
            return


def _items(order_or_refund: Any) -> list[tuple[int, int]]:
    return [(item["product"], item["quantity"]) for item in order_or_refund["items"]]


# The rows of each kind of effect: of these accounts, or of these products.
TABLES = {
    "coupon": "SELECT code FROM firstcome.coupons_coupon WHERE account_id IN ({accounts})",
    "order": "SELECT id FROM firstcome.orders_order WHERE account_id IN ({accounts})",
    "payment": "SELECT id FROM firstcome.payments_payment WHERE account_id IN ({accounts})",
    # Nobody asks for the refund of a charge that came too late.
    "refund": """
SELECT refund.id FROM firstcome.orders_refund refund
JOIN firstcome.orders_order placed ON placed.id = refund.order_id
WHERE placed.account_id IN ({accounts}) AND refund.source <> 'late_charge'
""",
    "entry": "SELECT id FROM firstcome.sales_saleentry WHERE account_id IN ({accounts})",
    # A wallet has its owner's id.
    "grant": """
SELECT entry.id FROM firstcome.payments_entry entry
JOIN firstcome.payments_transfer transfer ON transfer.id = entry.transfer_id
WHERE transfer.kind = 'grant' AND entry.account_id IN ({accounts})
""",
    "adjustment": """
SELECT id FROM firstcome.inventory_stockmovement
WHERE kind = 'adjusted' AND product_id IN ({products})
""",
}
# Tables whose every value must be the same on each member: amounts and levels, not the rows alone.
TRUTH = (
    "firstcome.coupons_coupon, firstcome.inventory_product, firstcome.inventory_stockmovement, "
    "firstcome.orders_order, firstcome.orders_orderline, firstcome.orders_refund, firstcome.payments_entry, "
    "firstcome.payments_payment, firstcome.payments_transfer"
)
MAY_BE_UNNAMED = {"payment"}  # An order that is paid at once is answered without the id of its payment

Effects = Mapping[str, set[str]]


def acknowledged(setup: Setup) -> Effects:
    """The identities in all final answers, by the kind of effect."""
    known = {kind: set[str]() for kind in TABLES}
    for made in setup.calls:
        if made.was_done:
            kind, id = identity(made)
            if kind:
                known[kind].add(id)
    return known


def identity(made: RecordedCall) -> tuple[str, str]:
    """The kind of the call's effect, and the identity that its answer has; both empty for none."""
    body = made.answer.body
    match made.sort:
        case "coupon":
            return "coupon", _plain(body["code"])
        case "order":
            return "order", _plain(made.order_id)
        case "payment" | "top_up" if made.answer.status in (200, 201):
            return "payment", _plain(body.get("payment") or body["id"])
        case "refund" | "entry" | "grant" | "adjustment":
            return made.sort, _plain(body["id"])
    return "", ""


def _plain(known: object) -> str:
    """MySQL's and SQLite's columns lack the hyphens of ids that answers and MariaDB have."""
    return str(known).replace("-", "")


def compare(known: Effects, stored: Mapping[str, Effects], *, before: Effects) -> tuple[Lines, Lines]:
    """The acknowledged effects that a server lacks, and its new rows that were in no answer."""
    lost: Lines = []
    doubled: Lines = []
    for server, tables in stored.items():
        for kind, rows in tables.items():
            for id in sorted(known[kind] - rows):
                lost.append(f"{kind} {id} is not on {server}")
            if kind not in MAY_BE_UNNAMED:
                for id in sorted(rows - known[kind] - before[kind]):
                    doubled.append(f"{kind} {id} on {server} was in no answer")
    return lost, doubled


def stored(setup: Setup, ask: Callable[[str], Table]) -> Effects:
    """The rows that one server answers with; a shop without a sale may have no table of entries."""
    accounts = ", ".join(str(account.id) for account in setup.buyers)
    products = ", ".join(str(product.id) for product in setup.stocked)
    found = {"entry": set[str]()}
    for kind, statement in TABLES.items():
        if kind != "entry" or setup.sale:
            found[kind] = {
                _plain(row[0]) for row in ask(statement.format(accounts=accounts, products=products))
            }
    return found


def unequal(sums: Mapping[str, Mapping[str, int | None]]) -> Lines:
    """The tables whose checksums differ from the first member's; a table that is not there has none."""
    (first, expected), *others = sums.items()
    wrong = []
    for member, found in others:
        for table, checksum in found.items():
            if checksum is None or checksum != expected[table]:
                wrong.append(f"{table} is not the same on {member} and {first}")
    return wrong
