"""The reckoning: what clients were told against what the shop says now.

Everything goes over HTTP, and nothing is believed that can be added up. `manage.py audit` checks the laws
in the database; this checks that the shop kept its word, and `chaos.outside` asks those outside.
"""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from scripts.chaos.calls import Answer, Line
from scripts.chaos.memory import Account, Deed, Stage
from scripts.chaos.shop import BOUGHT, PATIENCE_SECONDS, Shop

ENDS = {201: BOUGHT, 402: {"payment_failed"}}
"""What an order may be in the end, by the answer of the call that paid it."""
PARTS = ("amount", "points_amount", "card_amount")


def findings(stage: Stage, shop: Shop) -> Iterator[str]:
    """Each thing that is not as somebody was told."""
    orders = {account.id: shop.orders(account) for account in stage.buyers}
    for account in stage.buyers:
        yield from _repeats(account, shop.line)
        yield from _orders(account, orders[account.id])
        yield from _coupons(account, orders[account.id], shop)
        yield from _wallet(account, stage, orders[account.id], shop)
    yield from _repeats(stage.staff, shop.line)
    yield from _campaigns(stage, shop)
    everything = [order for found in orders.values() for order in found.values()]
    yield from _refunds(stage, everything, shop)
    yield from _stock(stage, everything, shop)


def _repeats(account: Account, line: Line) -> Iterator[str]:
    """One key, one lasting answer: told again, to the letter."""
    for deed in account.deeds:
        if not (deed.call.key and deed.was_done):
            continue
        again = line.insist(deed.call, until=time.monotonic() + PATIENCE_SECONDS)
        if not (_is_same(again, deed) and again.is_replay):
            yield f"key {deed.call.key} of {deed.sort}: first {deed.answer}, now {again}"


def _is_same(again: Answer, deed: Deed) -> bool:
    return (again.status, again.body) == (deed.answer.status, deed.answer.body)


def _orders(account: Account, orders: dict[str, Any]) -> Iterator[str]:
    told = account.orders()
    for order_id in told.keys() ^ orders.keys():
        where = "told, but not there" if order_id in told else "there, but nobody was told"
        yield f"order {order_id} of account {account.id}: {where}"
    for order_id in told.keys() & orders.keys():
        yield from _order(told[order_id], orders[order_id])
    for deed in account.done("payment"):
        yield from _must_be(orders, deed.answer.body["order"], ENDS[deed.answer.status])
    for deed in account.done("cancel"):
        yield from _must_be(orders, deed.answer.body["id"], {"cancelled"})


def _order(deed: Deed, order: dict[str, Any]) -> Iterator[str]:
    """The order against the answer that told of it."""
    if "payment" in deed.call.body:
        yield from _must_be({order["id"]: order}, order["id"], ENDS[deed.answer.status])
    asked = [(item["product"], item["quantity"]) for item in deed.call.body["items"]]
    if asked != [(item["product"], item["quantity"]) for item in order["items"]]:
        yield f"order {order['id']}: asked for {asked}, holds {order['items']}"


def _must_be(orders: dict[str, Any], order_id: str, ends: set[str]) -> Iterator[str]:
    status = orders.get(order_id, {"status": "missing"})["status"]
    if status not in ends:
        yield f"order {order_id}: told {' or '.join(sorted(ends))}, is {status}"


def _coupons(account: Account, orders: dict[str, Any], shop: Shop) -> Iterator[str]:
    """Those that were told, as they were told; redeemed by one order of which something is left, or free."""
    told, there = account.coupons(), shop.coupons(account)
    redeemed = Counter(order["coupon"] for order in orders.values() if order["status"] == "paid")
    for code in told.keys() ^ there.keys():
        where = "told, but not there" if code in told else "there, but nobody was told"
        yield f"coupon {code} of account {account.id}: {where}"
    for code in told.keys() & there.keys():
        for name in ("campaign", "position"):
            if told[code][name] != there[code][name]:
                yield f"coupon {code}: {name} told {told[code][name]}, is {there[code][name]}"
        wanted = "redeemed" if redeemed[code] else "issued"
        if there[code]["status"] != wanted or redeemed[code] > 1:
            yield f"coupon {code}: {redeemed[code]} paid orders have it, and it is {there[code]['status']}"


def _wallet(account: Account, stage: Stage, orders: dict[str, Any], shop: Shop) -> Iterator[str]:
    """What it began with, and all that was granted, bought and spent as far as anybody was told."""
    granted = [deed for deed in stage.staff.done("grant") if deed.call.body["user"] == account.id]
    bought = [deed for deed in account.done("top_up") if deed.answer.status == 201]
    due = account.opening_amount + sum(deed.call.body["amount"] for deed in [*granted, *bought])
    due -= sum(order["points_amount"] for order in orders.values() if order["status"] in BOUGHT)
    due += sum(refund["points_amount"] for refund in stage.refunds() if refund["order"] in orders)
    balance, entries = shop.wallet(account)
    if not balance == due == sum(entry["amount"] for entry in entries):
        entered = sum(entry["amount"] for entry in entries)
        yield f"wallet of {account.id}: {due} by its answers, holds {balance}, entries sum to {entered}"
    top_ups = {deed.answer.body.get("payment") or deed.answer.body["id"] for deed in account.done("top_up")}
    for payment_id in top_ups ^ shop.top_ups(account):
        yield f"top-up {payment_id} of account {account.id} is not as it was told"


def _campaigns(stage: Stage, shop: Shop) -> Iterator[str]:
    told = [coupon for account in stage.buyers for coupon in account.coupons().values()]
    positions = Counter((coupon["campaign"], coupon["position"]) for coupon in told)
    for (campaign_id, position), count in positions.items():
        if count > 1:
            yield f"campaign {campaign_id}: position {position} was given {count} times"
    for campaign_id in stage.campaigns:
        issued = shop.get(f"/campaigns/{campaign_id}")["issued"]
        given = sum(coupon["campaign"] == campaign_id for coupon in told)
        if issued != given:
            yield f"campaign {campaign_id}: says {issued} issued, {given} were told"


def _refunds(stage: Stage, orders: list[dict[str, Any]], shop: Shop) -> Iterator[str]:
    """Each refund that was told has succeeded, there is no other, and none gives back more than was paid."""
    told = stage.refunds()
    for order in orders:
        mine = {refund["id"] for refund in told if refund["order"] == order["id"]}
        if mine or order["refunded_amount"] or order["status"] == "refunded":
            yield from _refunds_of(order, mine, shop.refunds(order["id"]))


def _refunds_of(order: dict[str, Any], told: set[str], refunds: list[dict[str, Any]]) -> Iterator[str]:
    name = f"refunds of order {order['id']}"
    if told != {refund["id"] for refund in refunds}:
        yield f"{name}: told {sorted(told)}, are {refunds}"
    if any(refund["status"] != "succeeded" for refund in refunds):
        yield f"{name}: not all have succeeded: {refunds}"
    amount, points, card = (sum(refund[part] for refund in refunds) for part in PARTS)
    if not amount == points + card == order["refunded_amount"]:
        yield f"{name}: {points} points and {card} by card are not the {order['refunded_amount']} it says"
    left = (order["points_amount"] - points, order["card_amount"] - card)
    if min(left) < 0 or (order["status"] == "refunded") != (left == (0, 0)):
        yield f"{name}: of points and card {left} are left, and it is {order['status']}"
    quantities = Counter({item["product"]: item["quantity"] for item in order["items"]})
    for refund in refunds:
        quantities.subtract({item["product"]: item["quantity"] for item in refund["items"]})
    if any(quantity < 0 for quantity in quantities.values()):
        yield f"{name}: more was given back than was bought: {quantities}"


def _stock(stage: Stage, orders: list[dict[str, Any]], shop: Shop) -> Iterator[str]:
    """Once all is settled nothing is reserved, and what is gone is sold."""
    adjusted, sold = Counter[int](), Counter[int]()
    for deed in stage.staff.done("adjustment"):
        adjusted[int(deed.call.path.split("/")[2])] += deed.call.body["delta"]
    for order in orders:
        for item in order["items"]:
            sold[item["product"]] += item["quantity"] * (order["status"] in BOUGHT)
    for refund in stage.refunds():
        for item in refund["items"]:
            sold[item["product"]] -= item["quantity"] * refund["restock"]
    for shelf in [*stage.shelves, stage.plenty]:
        stock = shop.get(f"/products/{shelf.id}/stock")
        due = shelf.on_hand + adjusted[shelf.id] - sold[shelf.id]
        if (stock["on_hand"], stock["reserved"]) != (due, 0):
            yield f"product {shelf.id}: {due} on hand and none reserved by the answers, is {stock}"
