"""What the limits cost a call, without HTTP: microseconds of processor of a coupon and of an order.

    python -m scripts.bench.limits_alone --users 1:40000

It runs in the environment of a stack and does what the limits add to a call, and nothing else: counting it,
the exchange with Redis for as many calls as a busy process gathers, and for an order the look at declines and
at what its account holds, in batches. It prints JSON: the microseconds of a call in Python, in Redis and in
the database's server.
"""

import argparse
import gc
import json
import random
import time
from collections.abc import Callable
from functools import partial

from scripts.bench.issuing_alone import server_counters, users_range

CALLS, ORDERS = 20_000, 5_000
GATHERED = 500
"""What a process that takes 2,500 calls a second brings together at once."""
BATCH, LINES = 25, 3
Prepare = Callable[[range, int], Callable[[], None]]
"""Makes everything ready for so many calls, and gives what makes them."""


def main() -> None:
    import django

    django.setup()
    parser = argparse.ArgumentParser(description="Measure what the limits cost a call.")
    parser.add_argument("--users", type=users_range, required=True, metavar="FIRST:LAST")
    users = parser.parse_args().users
    measured = {"coupon": _of_each(_coupons, users, CALLS), "order": _of_each(_orders, users, ORDERS)}
    print(json.dumps(measured))


def _of_each(prepare: Prepare, users: range, calls: int) -> dict[str, float]:
    """The processor time of so many calls, each as another account. Once before, to be warm."""
    warm_up, work = prepare(users, GATHERED), prepare(users, calls)
    warm_up()
    # As a server does with what it keeps: collecting it again and again is no cost of a call.
    gc.collect()
    gc.freeze()
    before = _spent()
    work()
    after = _spent()
    return {name: round(1e6 * (after[name] - before[name]) / calls, 2) for name in after}


def _spent() -> dict[str, float]:
    from shop.redis import redis_client

    used = redis_client.client().info("cpu")
    return {
        "python": time.process_time(),
        "redis": used["used_cpu_user"] + used["used_cpu_sys"],
        "database": server_counters()["cpu_seconds"],
    }


def _coupons(users: range, calls: int) -> Callable[[], None]:
    from shop.rates import rate_limits

    def count() -> None:
        for number in range(calls):
            with rate_limits.COUPONS.counting(users[number % len(users)]):
                pass
            if number % GATHERED == GATHERED - 1:
                rate_limits.synchronize()

    return count


def _orders(users: range, orders: int) -> Callable[[], None]:
    from inventory import reservations
    from inventory.models import Product
    from inventory.reservations import Line
    from orders.payment import card_limits
    from orders.placement import limits
    from shop.concurrency import event_loop
    from shop.rates import rate_limits

    product_ids = list(Product.objects.values_list("id", flat=True))
    stock = reservations.read(product_ids)
    wanted = [
        (users[number % len(users)], [Line(id, 1) for id in random.sample(product_ids, LINES)])
        for number in range(orders)
    ]

    async def count(account_id: int) -> None:
        with rate_limits.ORDERS.counting(account_id):
            pass

    def check() -> None:
        for start in range(0, orders, BATCH):
            batch = wanted[start : start + BATCH]
            for account_id, _ in batch:
                event_loop.run(card_limits.run_limited(account_id, partial(count, account_id)))
            holdings = limits.read_holdings(batch, stock)
            for account_id, lines in batch:
                limits.check(holdings[account_id], lines, stock)
                limits.add(holdings[account_id], lines)
            if (start + BATCH) % GATHERED == 0:
                rate_limits.synchronize()

    return check


if __name__ == "__main__":
    main()
