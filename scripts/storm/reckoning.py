"""The reckoning: what clients were told against what the shop, the gateway and the data platform say now.

Everything goes over HTTP, and nothing is believed that can be added up. `manage.py audit` checks the laws
in the database; this checks that the shop kept its word.
"""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from scripts.storm.calls import Line
from scripts.storm.memory import Account, Deed, Stage
from scripts.storm.shop import PATIENCE_SECONDS, Shop


def findings(stage: Stage, shop: Shop) -> Iterator[str]:
    """Each thing that is not as somebody was told."""
    orders = {account.id: shop.orders(account) for account in stage.buyers}
    for account in stage.buyers:
        yield from _repeats(account, shop.line)
        yield from _orders(account, orders[account.id])
        yield from _coupons(account, shop)
        yield from _wallet(account, stage, orders[account.id], shop)
    yield from _repeats(stage.staff, shop.line)
    yield from _campaigns(stage, shop)
    everything = [order for found in orders.values() for order in found.values()]
    yield from _stock(stage, everything, shop)
    yield from _outside(stage, everything, shop)


def _repeats(account: Account, line: Line) -> Iterator[str]:
    """One key, one lasting answer: told again, to the letter."""
    for deed in account.deeds:
        if not (deed.call.key and deed.was_done):
            continue
        again = line.insist(deed.call, until=time.monotonic() + PATIENCE_SECONDS)
        same = (again.status, again.body) == (deed.answer.status, deed.answer.body)
        if not (same and again.is_replay):
            yield f"key {deed.call.key} of {deed.sort}: first {deed.answer}, now {again}"


def _orders(account: Account, orders: dict[str, Any]) -> Iterator[str]:
    told = account.orders()
    for order_id in told.keys() ^ orders.keys():
        where = "told, but not there" if order_id in told else "there, but nobody was told"
        yield f"order {order_id} of account {account.id}: {where}"
    for order_id in told.keys() & orders.keys():
        yield from _order(told[order_id], orders[order_id])
    for deed in account.done("payment"):
        wanted = "paid" if deed.answer.status == 201 else "payment_failed"
        yield from _must_be(orders, deed.answer.body["order"], wanted)
    for deed in account.done("cancel"):
        yield from _must_be(orders, deed.answer.body["id"], "cancelled")


def _order(deed: Deed, order: dict[str, Any]) -> Iterator[str]:
    """The order against the answer that told of it."""
    wanted = {201: "paid", 402: "payment_failed"}[deed.answer.status]
    if "payment" in deed.call.body and order["status"] != wanted:
        yield f"order {order['id']}: told {wanted}, is {order['status']}"
    asked = [(item["product"], item["quantity"]) for item in deed.call.body["items"]]
    if asked != [(item["product"], item["quantity"]) for item in order["items"]]:
        yield f"order {order['id']}: asked for {asked}, holds {order['items']}"


def _must_be(orders: dict[str, Any], order_id: str, wanted: str) -> Iterator[str]:
    status = orders.get(order_id, {"status": "missing"})["status"]
    if status != wanted:
        yield f"order {order_id}: told {wanted}, is {status}"


def _coupons(account: Account, shop: Shop) -> Iterator[str]:
    told, there = account.coupons(), shop.coupons(account)
    for code in told.keys() ^ there.keys():
        where = "told, but not there" if code in told else "there, but nobody was told"
        yield f"coupon {code} of account {account.id}: {where}"
    for code in told.keys() & there.keys():
        for name in ("campaign", "position"):
            if told[code][name] != there[code][name]:
                yield f"coupon {code}: {name} told {told[code][name]}, is {there[code][name]}"


def _wallet(account: Account, stage: Stage, orders: dict[str, Any], shop: Shop) -> Iterator[str]:
    """What it began with, and all that was granted, bought and spent as far as anybody was told."""
    granted = [deed for deed in stage.staff.done("grant") if deed.call.body["user"] == account.id]
    bought = [deed for deed in account.done("top_up") if deed.answer.status == 201]
    due = account.opening_amount + sum(deed.call.body["amount"] for deed in [*granted, *bought])
    due -= sum(order["points_amount"] for order in orders.values() if order["status"] == "paid")
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


def _stock(stage: Stage, orders: list[dict[str, Any]], shop: Shop) -> Iterator[str]:
    """Once all is settled nothing is reserved, and what is gone is sold."""
    adjusted, sold = Counter[int](), Counter[int]()
    for deed in stage.staff.done("adjustment"):
        adjusted[int(deed.call.path.split("/")[2])] += deed.call.body["delta"]
    for order in orders:
        for item in order["items"]:
            sold[item["product"]] += item["quantity"] * (order["status"] == "paid")
    for shelf in [*stage.shelves, stage.plenty]:
        stock = shop.get(f"/products/{shelf.id}/stock")
        due = shelf.on_hand + adjusted[shelf.id] - sold[shelf.id]
        if (stock["on_hand"], stock["reserved"]) != (due, 0):
            yield f"product {shelf.id}: {due} on hand and none reserved by the answers, is {stock}"


def _outside(stage: Stage, orders: list[dict[str, Any]], shop: Shop) -> Iterator[str]:
    """The gateway's money and the data platform's events against the orders and top-ups."""
    paid = [order for order in orders if order["status"] == "paid"]
    top_ups = [deed for account in stage.buyers for deed in account.done("top_up")]
    due = sum(order["card_amount"] for order in paid)
    due += sum(deed.call.body["amount"] for deed in top_ups if deed.answer.status == 201)
    summary = shop.gateway("/summary")
    if summary["charged_amount"] - summary["refunded_amount"] != due:
        yield f"the gateway holds {summary}, the answers come to {due}"
    told = shop.paid_orders_told()
    if told != Counter(order["id"] for order in paid):
        yield f"the data platform knows of {len(told)} paid orders, there are {len(paid)}"
