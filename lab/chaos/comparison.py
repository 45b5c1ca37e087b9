"""The comparison of all answers that clients got with what the shop shows now."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lab.chaos.calls import Answer, Connection
from lab.chaos.memory import Account, RecordedCall, Setup
from lab.chaos.shop import BOUGHT, PATIENCE_SECONDS, Shop

UNPAID = {"cancelled", "expired"}
"""What an order is in the end that was kept on each decline, and not paid."""
PARTS = ("amount", "points_amount", "card_amount")


def findings(setup: Setup, shop: Shop) -> Iterator[str]:
    """Each thing that is not as an answer said."""
    orders = {account.id: shop.orders(account) for account in setup.buyers}
    for account in setup.buyers:
        yield from repeats(account.calls, shop.connection)
        yield from _orders(account, orders[account.id])
        yield from _coupons(account, setup, orders[account.id], shop)
        yield from _entries(account, setup, orders[account.id], shop)
        yield from _wallet(account, setup, orders[account.id], shop)
    yield from repeats(setup.staff.calls, shop.connection)
    yield from _campaigns(setup, shop)
    everything = [order for found in orders.values() for order in found.values()]
    yield from _refunds(setup, everything, shop)
    yield from _stock(setup, everything, shop)


def repeats(calls: Iterable[RecordedCall], connection: Connection) -> Iterator[str]:
    """One key, one final answer: the repeat gets it to the letter."""
    for made in calls:
        if not (made.call.key and made.was_done):
            continue
        again = connection.call_until_final(made.call, until=time.monotonic() + PATIENCE_SECONDS)
        if not (_is_same(again, made) and again.is_replay):
            yield f"key {made.call.key} of {made.sort}: first {made.answer}, now {again}"


def _is_same(again: Answer, made: RecordedCall) -> bool:
    return (again.status, again.body) == (made.answer.status, made.answer.body)


def _orders(account: Account, orders: dict[str, Any]) -> Iterator[str]:
    answered = account.orders()
    for order_id in answered.keys() ^ orders.keys():
        where = "answered, but not there" if order_id in answered else "there, but never answered"
        yield f"order {order_id} of account {account.id}: {where}"
    for order_id in answered.keys() & orders.keys():
        yield from _order(answered[order_id], orders[order_id])
    for order_id, payments in account.payments().items():
        yield from _must_be(orders, order_id, _ends(payments))
        if (count := sum(made.answer.status == 201 for made in payments)) > 1:
            yield f"order {order_id}: {count} payments were answered to have succeeded"
    for made in account.done("cancel"):
        yield from _must_be(orders, made.answer.body["id"], {"cancelled"})


def _order(made: RecordedCall, order: dict[str, Any]) -> Iterator[str]:
    """The order against the answer that has it."""
    asked = [(item["product"], item["quantity"]) for item in made.call.body["items"]]
    if asked != [(item["product"], item["quantity"]) for item in order["items"]]:
        yield f"order {order['id']}: asked for {asked}, holds {order['items']}"


def _ends(payments: Sequence[RecordedCall]) -> set[str]:
    """What an order may be in the end, by the answers of the calls that paid it."""
    if any(made.answer.status == 201 for made in payments):
        return BOUGHT
    return UNPAID if all(made.keeps_order for made in payments) else {"payment_failed"}


def _must_be(orders: dict[str, Any], order_id: str, ends: set[str]) -> Iterator[str]:
    status = orders.get(order_id, {"status": "missing"})["status"]
    if status not in ends:
        yield f"order {order_id}: answered {' or '.join(sorted(ends))}, is {status}"


def _coupons(account: Account, setup: Setup, orders: dict[str, Any], shop: Shop) -> Iterator[str]:
    """Those in the answers, unchanged; redeemed by one order that is not fully refunded, or free."""
    answered, there = account.coupons(), shop.coupons(account)
    redeemed = Counter(order["coupon"] for order in orders.values() if order["status"] == "paid")
    for code in answered.keys() ^ there.keys():
        where = "answered, but not there" if code in answered else "there, but never answered"
        yield f"coupon {code} of account {account.id}: {where}"
    for code in answered.keys() & there.keys():
        for name in answered[code].keys() & {"campaign", "position"}:
            if answered[code][name] != there[code][name]:
                yield f"coupon {code}: {name} answered {answered[code][name]}, is {there[code][name]}"
        wanted = "redeemed" if redeemed[code] else "issued"
        if there[code]["status"] != wanted or redeemed[code] > 1:
            yield f"coupon {code}: {redeemed[code]} paid orders have it, and it is {there[code]['status']}"
    for made in account.calls:
        listed = setup.listed.get(made.call.body["campaign"]) if made.sort == "coupon" else None
        is_refused = made.answer.code == "not_eligible"
        if listed and (is_refused or made.was_done) and is_refused == (account.id in listed):
            yield f"account {account.id}, listed: {is_refused}, was answered {made.answer.word}"


def _entries(account: Account, setup: Setup, orders: dict[str, Any], shop: Shop) -> Iterator[str]:
    """Each entry in the answers is there, and as many are used as there are orders of the sale."""
    if setup.drop is None:
        return
    ids = {made.answer.body["id"] for made in account.done("entry")}
    entries = [shop.get(f"/sale-entries/{id}", account.token) for id in ids]
    for entry in entries:
        if entry["sale"] != setup.drop.id or entry["status"] not in ("waiting", "admitted", "used"):
            yield f"entry {entry['id']} of account {account.id}: {entry}"
    used = sum(entry["status"] == "used" for entry in entries)
    bought = sum(
        item["product"] == setup.drop.product.id for order in orders.values() for item in order["items"]
    )
    if used != bought:
        yield f"account {account.id}: {used} entries are used, and {bought} orders are of the sale"


def _wallet(account: Account, setup: Setup, orders: dict[str, Any], shop: Shop) -> Iterator[str]:
    """What it began with, and all that was granted, bought and spent by the answers."""
    granted = [made for made in setup.staff.done("grant") if made.call.body["user"] == account.id]
    bought = [made for made in account.done("top_up") if made.answer.status == 201]
    due = account.opening_amount + sum(made.call.body["amount"] for made in [*granted, *bought])
    due -= sum(order["points_amount"] for order in orders.values() if order["status"] in BOUGHT)
    due += sum(refund["points_amount"] for refund in setup.refunds() if refund["order"] in orders)
    due += setup.operator_grants[account.id]
    balance, entries = shop.wallet(account)
    if not balance == due == sum(entry["amount"] for entry in entries):
        entered = sum(entry["amount"] for entry in entries)
        yield f"wallet of {account.id}: {due} by its answers, holds {balance}, entries sum to {entered}"
    top_ups = {made.answer.body.get("payment") or made.answer.body["id"] for made in account.done("top_up")}
    for payment_id in top_ups ^ shop.top_ups(account):
        yield f"top-up {payment_id} of account {account.id} is not as it was answered"


def _campaigns(setup: Setup, shop: Shop) -> Iterator[str]:
    answered = [coupon for account in setup.buyers for coupon in account.coupons().values()]
    positions = Counter((one["campaign"], one["position"]) for one in answered if "position" in one)
    for (campaign_id, position), count in positions.items():
        if count > 1:
            yield f"campaign {campaign_id}: position {position} was issued {count} times"
    for campaign_id in setup.campaigns:
        issued = shop.get(f"/campaigns/{campaign_id}")["issued"]
        number = sum(coupon["campaign"] == campaign_id for coupon in answered)
        if issued != number:
            yield f"campaign {campaign_id}: shows {issued} issued, {number} were answered"


def _refunds(setup: Setup, orders: list[dict[str, Any]], shop: Shop) -> Iterator[str]:
    """Each refund in an answer has succeeded, there is no other, and none refunds more than was paid."""
    answered = setup.refunds()
    for order in orders:
        mine = {refund["id"] for refund in answered if refund["order"] == order["id"]}
        if mine or order["refunded_amount"] or order["status"] == "refunded":
            yield from _refunds_of(order, mine, shop.refunds(order["id"]))


def _refunds_of(order: dict[str, Any], answered: set[str], refunds: list[dict[str, Any]]) -> Iterator[str]:
    name = f"refunds of order {order['id']}"
    if answered != {refund["id"] for refund in refunds}:
        yield f"{name}: answered {sorted(answered)}, are {refunds}"
    if any(refund["status"] != "succeeded" for refund in refunds):
        yield f"{name}: not all have succeeded: {refunds}"
    amount, points, card = (sum(refund[part] for refund in refunds) for part in PARTS)
    if not amount == points + card == order["refunded_amount"]:
        yield f"{name}: {points} points and {card} by card are not the {order['refunded_amount']} it says"
    left = (order["points_amount"] - points, order["card_amount"] - card)
    quantities = Counter({item["product"]: item["quantity"] for item in order["items"]})
    for refund in refunds:
        quantities.subtract({item["product"]: item["quantity"] for item in refund["items"]})
    # What a clerk gives back at the gateway has no units, which may outlast the amount then.
    is_over = left == (0, 0) and not any(quantities.values())
    if min(left) < 0 or (order["status"] == "refunded") != is_over:
        yield f"{name}: of points and card {left} are left, and it is {order['status']}"
    if any(quantity < 0 for quantity in quantities.values()):
        yield f"{name}: more was refunded than was bought: {quantities}"


def _stock(setup: Setup, orders: list[dict[str, Any]], shop: Shop) -> Iterator[str]:
    """Once all is settled nothing is reserved, and what is gone is sold."""
    adjusted, sold = Counter[int](), Counter[int]()
    for made in setup.staff.done("adjustment"):
        adjusted[int(made.call.path.split("/")[2])] += made.call.body["delta"]
    for order in orders:
        for item in order["items"]:
            sold[item["product"]] += item["quantity"] * (order["status"] in BOUGHT)
    for refund in setup.refunds():
        for item in refund["items"]:
            sold[item["product"]] -= item["quantity"] * refund["restock"]
    for product in setup.stocked:
        stock = shop.get(f"/products/{product.id}/stock")
        due = product.on_hand + adjusted[product.id] - sold[product.id]
        if (stock["on_hand"], stock["reserved"]) != (due, 0):
            yield f"product {product.id}: {due} on hand and none reserved by the answers, is {stock}"
