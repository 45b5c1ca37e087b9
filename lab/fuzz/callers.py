"""Those who send the requests, and what exists for these to name."""

import time
from dataclasses import dataclass
from typing import Any

from lab.chaos import trial
from lab.chaos.calls import Call, Observations
from lab.chaos.shop import PATIENCE_SECONDS, Shop
from scripts.stack import own_stack
from scripts.stack.instance import Instance

USERS = 3
STOCK = 1_000_000


@dataclass(frozen=True)
class Callers:
    """A token for each caller, empty for the anonymous one; `leaving` is of an account that signs out.

    `existing` has ids by the names of body fields and path parameters.
    """

    tokens: dict[str, str]
    leaving: str
    existing: dict[str, Any]


def set_up(instance: Instance) -> Callers:
    """Accounts, and an object of each kind. Raises SetupError."""
    known = own_stack.seed(instance, USERS)
    shop = Shop(instance, known["staff"], Observations())
    buyer, leaving = known["users"][0], known["users"][1]["access"]
    return Callers(
        tokens={"anonymous": "", "customer": buyer["access"], "staff": known["staff"]},
        leaving=leaving,
        existing=_existing(shop, buyer),
    )


def token_of(instance: Instance, username: str, password: str) -> str:
    """An access token of the account. Raises SetupError."""
    shop = Shop(instance, "", Observations())
    return str(shop.call("POST", "/auth/token", {"username": username, "password": password})["access"])


def _existing(shop: Shop, buyer: dict[str, Any]) -> dict[str, Any]:
    token = buyer["access"]
    product = shop.create_product("Fuzz", 1, STOCK).id
    campaign = shop.create_campaign("Fuzz", quantity=1_000)
    coupon = shop.call("POST", "/coupons", {"campaign": campaign}, token=token)["code"]
    basket = {"items": [{"product": product, "quantity": 1}]}
    order = shop.call("POST", "/orders", basket, token=token, key="fuzz-order")["id"]
    payment = shop.call(
        "POST", "/wallet/top-ups", {"amount": 500, "token": "tok_ok"}, token=token, key="fuzz-top-up"
    )
    drop = trial.create_drop(shop)
    entry = shop.connection.call_until_final(
        Call("POST", f"/sales/{drop.id}/entries", token), until=time.monotonic() + PATIENCE_SECONDS
    )
    return {
        "gateway": "simulator",
        "product_id": product,
        "product": product,
        "campaign_id": campaign,
        "campaign": campaign,
        "code": coupon,
        "coupon": coupon,
        "order_id": order,
        "order": order,
        "payment_id": payment["id"],
        "sale_id": drop.id,
        "entry_id": entry.body["id"],
        "user": buyer["id"],
        "token": "tok_ok",
    }
