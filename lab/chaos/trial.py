"""What a load on a stack begins and ends with: goods and campaigns, then a wait until all is settled, and the
laws."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from lab.chaos import clients
from lab.chaos.calls import Observations
from lab.chaos.memory import Drop, Setup
from lab.chaos.shop import Shop
from scripts.stack import SetupError, own_stack
from scripts.stack.children import say
from scripts.stack.instance import Instance

SETTINGS = {
    "PAYMENT_GIVE_UP_SECONDS": "15",
    "PAYMENT_ACTION_SECONDS": "10",
    "ORDER_HOLD_SECONDS": "20",
    "IDEMPOTENCY_LEASE_SECONDS": "5",
    "OPEN_ORDERS_PER_ACCOUNT": "10000",
    # One clerk grants for hours.
    "GRANT_DAY_AMOUNT": "1000000000",
    "RECONCILE_SECONDS": "20",
    "AUDIT_SECONDS": "5",
    "PARTNER_FAILURE_RATE": "0",
    **own_stack.NO_RATES,
}
"""Short times, so that what is left undone ends within the trial; no limits on how often an account calls and
what it holds unpaid, for a few accounts buy here as much as many would; and a partner that fails only when a
fault makes it."""
BUYERS, ACCOUNTS_EACH = 7, 6
PRODUCTS, STOCK, PLENTY, COUPONS, FEW_COUPONS = 6, 150, 100_000, 30, 4
"""What clients compete for in a minute; of a few coupons the requests for dashboards sell out at once."""
STRATEGIES: tuple[dict[str, Any], ...] = (
    *({"strategy": one} for one in ("queue", "fair_lock", "spin_lock", "optimistic", "conditional_update")),
    {"strategy": "code_pool", "code_source": "pool"},
    {"strategy": "redis_gate", "quantity": FEW_COUPONS},
    {"partner": "convenience_store", "quantity": FEW_COUPONS},
)
"""Campaigns that need Redis, an issuer or a partner."""
SALE = {"in_seconds": 8, "rate_per_minute": 12, "admitted_for_seconds": 7 * 24 * 3_600}
"""It opens in some seconds, so that its first entries are drawn; fewer are admitted in a minute than there
are accounts. Admitted entries don't expire before the trial ends: then an account that joins once more,
because it got no answer, gets the same entry, and each entry has been in an answer."""
SETTLE_SECONDS, UNAIDED_SECONDS, OPERATE_SECONDS = 330, 10, 20
"""A saga that has failed many times is retried after 300 s, whatever ended meanwhile."""


def create_campaigns(shop: Shop, minutes: int) -> list[int]:
    """The ids of new campaigns of each strategy, as many as sell for so long."""
    usual = [{"strategy": strategy} for strategy in ("group_commit", "pessimistic") * minutes]
    return [shop.create_campaign("Trial", **{"quantity": COUPONS, **own}) for own in (*usual, *STRATEGIES)]


def create_restricted_campaigns(setup: Setup, shop: Shop) -> None:
    """Two with shared codes, one for first orders; one for every other buyer; one for a product."""
    create = partial(shop.create_campaign, "Trial", quantity=COUPONS)
    for code, is_first in (("TO-ALL", False), ("TO-FIRST-ORDERS", True)):
        terms: dict[str, Any] = {"code_source": "shared", "shared_code": code, "first_order_only": is_first}
        setup.shared_codes[code] = create(**terms)
    listing = create(strategy="pessimistic", eligible="listed")
    setup.listed[listing] = {account.id for account in setup.buyers[::2]}
    shop.call("POST", f"/campaigns/{listing}/eligible-accounts", {"users": sorted(setup.listed[listing])})
    limited = create(products=[setup.products[0].id])
    setup.campaigns += [*setup.shared_codes.values(), listing, limited]
    for account in setup.buyers:
        account.shared_codes = setup.shared_codes


def create_drop(shop: Shop) -> Drop:
    """A sale of plenty with a waiting room."""
    product = shop.create_product("Trial", PRODUCTS + 1, PLENTY)
    return Drop(shop.create_sale(product.id, **SALE), product)


def settle(
    setup: Setup,
    shop: Shop,
    seen: Observations,
    *,
    within_seconds: float = SETTLE_SECONDS,
    operate: Callable[[], None] = lambda: None,
    awaits_answers: bool = True,
) -> float:
    """Wait until everything is settled, and every client has the final answer of its payments.

    `operate` is called every `OPERATE_SECONDS` after the first `UNAIDED_SECONDS`. Returns how many seconds
    the former took. With a planted defect there may never be a final answer: then `awaits_answers` is False.
    """
    started = time.monotonic()
    operate_at = started + UNAIDED_SECONDS
    while left := shop.unsettled(setup):
        if time.monotonic() >= operate_at:
            operate()
            operate_at = time.monotonic() + OPERATE_SECONDS
        if time.monotonic() - started > within_seconds:
            what = "; ".join(left[:10])
            seen.record_finding(f"not settled {within_seconds:.0f} s after the last fault: {what}")
            break
        time.sleep(1)
    seconds = time.monotonic() - started
    say(f"settled {seconds:.1f} s after the last answer")
    if awaits_answers:
        await_final_answers(setup, shop, seen)
    return seconds


def await_final_answers(setup: Setup, shop: Shop, seen: Observations) -> None:
    """Repeat calls of buyers that are open until they are answered for good; else that is a finding."""
    for made in (made for account in setup.buyers for made in account.calls):
        for finding in clients.await_final_answer(made, shop.connection):
            seen.record_finding(finding)


def audit(instance: Instance, seen: Observations) -> None:
    """Check every law; one that is broken is a finding, and so is an audit that can't run."""
    try:
        laws = own_stack.audit(instance)
    except SetupError as error:
        seen.record_finding(str(error))
        return
    for finding in own_stack.broken(laws):
        seen.record_finding(finding)
    say(f"audit: {sum(law['holds'] for law in laws)} of {len(laws)} laws hold")
