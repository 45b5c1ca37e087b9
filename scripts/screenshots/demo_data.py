"""What the pictures show: a drop, orders, a refund, low stock, and payments whose outcome is unknown.

All of it happens through the API of a running shop.
"""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from scripts.bench.stage import Staff, seed, wait_until
from scripts.stack import SetupError, readiness, welcome
from scripts.stack.instance import Instance

USERS, PRODUCTS, STOCK = 2_000, 20, 2_000
DROP_QUANTITY = 4_000
HOT_PRODUCTS, SCARCE_STOCK = 5, 60
"""How many products the buyers order, and the stock of one of them, which is sold out before the pictures."""
BUYERS_AT_ONCE = 3
PAUSE_SECONDS = 0.15
"""Between two purchases of one thread: a machine with two cores has time left for the browser."""
SETTINGS = {
    # Longer than the pictures take: a payment whose outcome is unknown stays in doubt on them.
    "PAYMENT_GIVE_UP_SECONDS": "3600",
    "PARTNER_FAILURE_RATE": "0",
    # Both were done by the time that the pictures are taken.
    "AUDIT_SECONDS": "20",
    "RECONCILE_SECONDS": "15",
}
CARDS = ("tok_ok",) * 17 + ("tok_declined", "tok_insufficient_funds", "tok_flaky")
"""The cards of the buyers, in turn: most of them are charged."""
WAITING_ACCOUNTS = 160
UNKNOWN_SECONDS = 8
"""How long the gateway leaves a charge without an answer until its payment is in doubt."""


@dataclass(frozen=True)
class ShownRows:
    """What the pages are opened for: keys of rows."""

    campaign: int
    pool_campaign: int
    product: int
    account: int
    order: str


class Shop:
    """The running shop's API, as accounts and staff call it."""

    def __init__(self, staff: Staff) -> None:
        self.staff, self._port = staff, staff.instance.port

    def call(self, token: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The status and the JSON of the answer; each call has a key of its own."""
        own = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid4())}
        content = None if body is None else json.dumps(body)
        status, text = readiness.ask(
            self._port, method, f"/api/v1{path}", content, dict(welcome.JSON) | own | headers
        )
        return status, json.loads(text)

    def buy(self, token: str, product: int, *, units: int = 1, card: str = "tok_ok", **more: Any) -> Any:
        """The order as it is placed, while its payment goes on."""
        asked = {"items": [{"product": product, "quantity": units}], "payment": {"token": card}} | more
        return self.call(token, "POST", "/orders", asked)[1]

    def as_staff(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of the answer. Raises SetupError unless it is a success."""
        status, answer = self.call(self.staff.token, method, path, body)
        if status >= 300:
            raise SetupError(f"{method} {path} answered {status}: {answer}")
        return answer


def prepare(instance: Instance) -> tuple[Shop, ShownRows]:
    """Everything but the load: a campaign, a product, an order with a history, and what went wrong."""
    shop = Shop(seed(instance, users=USERS, products=PRODUCTS, stock=STOCK))
    campaigns = shop.as_staff("GET", "/campaigns")["results"]
    discount = {"type": "amount", "value": 4_000, "min_order_amount": 10_000}
    drop = {
        "name": "Autumn drop",
        "quantity": DROP_QUANTITY,
        "strategy": "group_commit",
        "discount": discount,
    }
    campaign = shop.as_staff("POST", "/campaigns", drop)["id"]
    lamp = {"sku": "LAMP-01", "name": "Desk lamp, limited", "price": 48_000, "limit_per_account": 2}
    product = shop.as_staff("POST", "/products", lamp)["id"]
    shop.as_staff("PATCH", f"/products/{product}", {"low_stock_threshold": 30})
    delivered = {"delta": 30, "reason": "Delivery of the first batch"}
    shop.as_staff("POST", f"/products/{product}/stock-adjustments", delivered)
    order, account = _refunded_order(shop, campaign, product)
    _leave_payments_in_doubt(shop, product)
    _fill_waiting_rooms(shop)
    pools = [one["id"] for one in campaigns if one["name"] == "Golden tickets"]
    return shop, ShownRows(campaign, pools[0], product, account, order)


def _refunded_order(shop: Shop, campaign: int, product: int) -> tuple[str, int]:
    """An order paid by coupon, points and card, of which one unit is refunded; and its account."""
    buyer = shop.staff.users[0]
    coupon = shop.call(buyer["access"], "POST", "/coupons", {"campaign": campaign})[1]["code"]
    order = shop.buy(buyer["access"], product, units=2, coupon=coupon, points_amount=2_500)
    wait_until(lambda: shop.as_staff("GET", f"/orders/{order['id']}")["status"] == "paid", within_seconds=20)
    items = {"items": [{"product": product, "quantity": 1}], "reason": "One lamp arrived with a scratch."}
    shop.as_staff("POST", f"/orders/{order['id']}/refunds", items)
    shop.buy(buyer["access"], product, card="tok_declined")
    return str(order["id"]), int(buyer["id"])


def _fill_waiting_rooms(shop: Shop) -> None:
    """Places of many accounts in every sale, so that a later one has some ahead."""
    for sale in shop.as_staff("GET", "/sales")["results"]:
        for buyer in shop.staff.users[-WAITING_ACCOUNTS:]:
            shop.call(buyer["access"], "POST", f"/sales/{sale['id']}/entries")


def _leave_payments_in_doubt(shop: Shop, product: int) -> None:
    """Orders whose charges the gateway never answers."""
    with ThreadPoolExecutor(2) as threads:
        for buyer in shop.staff.users[4:6]:
            threads.submit(shop.buy, buyer["access"], product, card="tok_timeout_lost")
    time.sleep(UNKNOWN_SECONDS)


def _hot_products(shop: Shop, rows: ShownRows) -> list[int]:
    """The products that buyers order; the first has little stock."""
    listed = shop.as_staff("GET", "/products")["results"]
    found = [one["id"] for one in listed if one["id"] != rows.product][:HOT_PRODUCTS]
    stock = shop.as_staff("GET", f"/products/{found[0]}/stock")
    lost = {"delta": SCARCE_STOCK - stock["available"], "reason": "Moved to another warehouse"}
    shop.as_staff("POST", f"/products/{found[0]}/stock-adjustments", lost)
    return found


@contextmanager
def buyers(shop: Shop, rows: ShownRows) -> Iterator[None]:
    """Accounts take a coupon of the drop and one of another campaign, and buy, until the block ends."""
    running = shop.as_staff("GET", "/campaigns")["results"]
    others = [one["id"] for one in running if one["status"] == "open" and one["id"] != rows.campaign]
    # Again and again, so that the buyers last for all pictures, however slow the machine is.
    waiting = zip(*map(itertools.cycle, (shop.staff.users[10:], CARDS, others)), strict=False)
    products = _hot_products(shop, rows)
    next_one, is_over = threading.Lock(), threading.Event()

    def buy() -> None:
        while not is_over.wait(PAUSE_SECONDS):
            with next_one:
                buyer, card, other = next(waiting)
            taken = shop.call(buyer["access"], "POST", "/coupons", {"campaign": rows.campaign})[1]
            shop.call(buyer["access"], "POST", "/coupons", {"campaign": other})
            product = products[buyer["id"] * 7 % len(products)]
            coupon = taken.get("code") if taken.get("status") == "issued" else None
            shop.buy(buyer["access"], product, card=card, units=1 + buyer["id"] % 3, coupon=coupon)

    threads = [threading.Thread(target=buy) for _ in range(BUYERS_AT_ONCE)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
