"""Products, sale and campaigns of every simulated run, and what its clients choose. The order counts: see
`world`."""

from collections.abc import Mapping
from typing import NamedTuple

from scripts.stack import Json

PRICES = {1: 300, 2: 500, 3: 700, 4: 900}  # of products, in won
STOCK = 60  # of each product
POINTS = 2_000  # of each account
COUPONS = 5  # of each campaign
# Each is drawn as often, so one that is here three times three times as often.
CARDS = ("tok_ok", "tok_ok", "tok_ok", "tok_declined", "tok_3ds")
SALE_PRODUCT = 4
SALE: Json = {
    "product_ids": [SALE_PRODUCT],
    "admission": "queue",
    "rate_per_minute": 2,
    "admitted_for_seconds": 604_800,  # those who are admitted stay so for the run
}
USUAL_DISCOUNT = {"discount_type": "amount", "discount_value": 150}
# Those without a word about their discount have the usual one.
CAMPAIGNS: dict[int, Json] = {
    1: {"strategy": "pessimistic"},
    2: {"strategy": "queue"},
    3: {"strategy": "redis_gate"},
    4: {"strategy": "code_pool", "code_source": "pool"},
    5: {"strategy": "queue", "partner": "convenience_store"},
    6: {"strategy": "redis_gate", "partner": "convenience_store"},
    7: {"strategy": "code_pool", "code_source": "pool", "partner": "convenience_store"},
    8: {"strategy": "group_commit", "code_source": "shared", "shared_code": "TO-ALL"},
    9: {
        "strategy": "pessimistic",
        "code_source": "shared",
        "shared_code": "TO-FIRST-ORDERS",
        "first_order_only": True,
    },
    10: {
        "strategy": "conditional_update",
        "code_source": "shared",
        "shared_code": "TO-LISTED",
        "eligible": "listed",
    },
    11: {
        "strategy": "optimistic",
        "code_source": "shared",
        "shared_code": "TO-PRODUCT",
        "products": [1],
        "discount_type": "percent",
        "discount_value": 33,
    },
    12: {"strategy": "redis_gate", "eligible": "listed"},
    13: {"strategy": "queue", "products": [1], "discount_type": "percent", "discount_value": 33},
}


class Habits(NamedTuple):
    """How often a client chooses each of its actions, and its pauses, from and to so many seconds."""

    actions: Mapping[str, int]
    pauses: tuple[float, float]


CUSTOMER = Habits(
    actions={"order": 8, "pay": 4, "cancel": 1, "refund": 2, "top_up": 1, "coupon": 1, "sale": 2},
    pauses=(0.05, 3.0),
)
# Wants nothing but coupons, soon again.
COLLECTOR = Habits(actions={"coupon": 1}, pauses=(0.01, 0.8))
OPERATOR = Habits(actions={"grant": 3, "force": 4, "decide": 3}, pauses=(0.05, 3.0))
