"""What every run begins with, in tables that were empty, and a model of what its campaigns are to give."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from coupons.campaigns import campaigns
from coupons.codes import eligible_accounts, pool
from inventory import adjustments, products
from inventory.reservations import Line
from payments import ledger
from sales import terms
from shop import clock

ACCOUNTS, OPERATORS, LISTED = range(1, 11), (11, 12), range(1, 11, 2)
PRICES = {1: 300, 2: 500, 3: 700, 4: 900}
SALE, SALE_PRODUCT, STOCK, POINTS, COUPONS, AMOUNT, PERCENT = 1, 4, 60, 2_000, 5, 150, 33
PARTNER, POOL = {"partner": "convenience_store"}, {"strategy": "code_pool", "code_source": "pool"}
CAMPAIGNS: dict[int, dict[str, Any]] = {
    1: {"strategy": "pessimistic"},
    2: {"strategy": "queue"},
    3: {"strategy": "redis_gate"},
    4: POOL,
    5: {"strategy": "queue"} | PARTNER,
    6: {"strategy": "redis_gate"} | PARTNER,
    7: POOL | PARTNER,
    8: {"strategy": "group_commit", "shared_code": "TO-ALL"},
    9: {"strategy": "pessimistic", "shared_code": "TO-FIRST-ORDERS", "first_order_only": True},
    10: {"strategy": "conditional_update", "shared_code": "TO-LISTED", "eligible": "listed"},
    11: {"strategy": "optimistic", "shared_code": "TO-PRODUCT", "products": [1]},
    12: {"strategy": "redis_gate", "eligible": "listed"},
    13: {"strategy": "queue", "products": [1]},
}
"""Their terms: coupons for products take a percentage of them, the others an amount."""


def lets_in(campaign_id: int, account_id: int) -> bool:
    return "eligible" not in CAMPAIGNS[campaign_id] or account_id in LISTED


def discount(campaign_id: int, lines: Collection[Line]) -> int:
    """What is due to an order of these lines; 0 if none of them counts."""
    counting = CAMPAIGNS[campaign_id].get("products", PRICES)
    amount = sum(PRICES[line.product_id] * line.quantity for line in lines if line.product_id in counting)
    return min(amount, AMOUNT) if counting is PRICES else amount * PERCENT // 100


def open_shop() -> None:
    """Accounts with points, products, a sale that opens soon and admits few in a minute, and campaigns."""
    for id in ACCOUNTS:
        User.objects.create(username=f"account-{id}")
    with transaction.atomic():
        ledger.bulk_open_wallets(list(ACCOUNTS), POINTS)
    for id, price in PRICES.items():
        products.create(sku=f"sku-{id}", name=f"Product {id}", price=price)
        adjustments.adjust(product_id=id, delta=STOCK, reason="received")
    now = clock.now()
    times: Any = {"opens_at": now + timedelta(seconds=5), "closes_at": now + timedelta(days=30)}
    # Who is admitted stays so for the run.
    times |= {"rate_per_minute": 2, "admitted_for_seconds": 7 * 24 * 3_600}
    terms.create(name="Simulated", product_ids=[SALE_PRODUCT], admission="queue", **times)
    for id, given in CAMPAIGNS.items():
        by = ("percent", PERCENT) if "products" in given else ("amount", AMOUNT)
        source = {"code_source": "shared"} if "shared_code" in given else {}
        of: Any = {"discount_type": by[0], "discount_value": by[1], "quantity": COUPONS} | source | given
        campaigns.create(name="Simulated", **of)
        if given["strategy"] == "code_pool":
            pool.add(campaign_id=id, codes=[f"POOL-{id}-{number}" for number in range(COUPONS)])
        if "eligible" in given:
            eligible_accounts.add(campaign_id=id, account_ids=list(LISTED))
