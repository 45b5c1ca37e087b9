"""What issuing, orders and the limits cost without HTTP, in the environment of a stack, as JSON.

python -m lab.bench.workloads.without_http issuing --seconds 5 --campaign 7 --users 1:60000
python -m lab.bench.workloads.without_http orders --seconds 5 --product 7 --users 1:60000
python -m lab.bench.workloads.without_http limits --users 1:40000
"""

import argparse
import asyncio
import gc
import json
import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import django
import uvloop

django.setup()  # before the shop's modules, in this process and in those that it spawns

from django.db import connection  # noqa: E402

from coupons.issuing import issuing  # noqa: E402
from inventory import reservations  # noqa: E402
from inventory.models import Product  # noqa: E402
from inventory.reservations import Line  # noqa: E402
from lab.bench.watching import processor_seconds  # noqa: E402
from orders.placement import checkout, limits  # noqa: E402
from orders.placement.decisions import OrderRequest  # noqa: E402
from orders.schemas import placed_order_answer  # noqa: E402
from shop.concurrency import event_loop  # noqa: E402
from shop.errors import FirstcomeError  # noqa: E402
from shop.idempotency import claims  # noqa: E402
from shop.idempotency.recorded_answers import KeyedCall, key_hash  # noqa: E402
from shop.journal import journal  # noqa: E402
from shop.rates import rate_limits  # noqa: E402
from shop.redis import redis_client  # noqa: E402

WAITING, PROCESSES = 64, 2
"""Requests of a process at once."""
START_SECONDS = 60.0
"""For a process to import Django and to open its connections."""
COUNTERS = """
SHOW GLOBAL STATUS WHERE Variable_name IN (
  'Com_commit', 'Questions', 'Innodb_buffer_pool_reads', 'Innodb_row_lock_waits'
)
"""
CALLS, ORDERS = 20_000, 5_000
GATHERED = 500
"""The calls that a process with 2,500 calls a second counts in Redis at once."""
BATCH, LINES = 25, 3
Call = Callable[[int], Coroutine[Any, Any, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the shop without HTTP.")
    parser.add_argument("what", choices=["issuing", "orders", "limits"])
    parser.add_argument("--users", type=users_range, required=True, metavar="FIRST:LAST")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--campaign", type=int, default=0)
    parser.add_argument("--product", type=int, default=0)
    asked = parser.parse_args()
    print(json.dumps(measure_limits(asked.users) if asked.what == "limits" else measure_batches(asked)))


def users_range(text: str) -> range:
    """The ids from `FIRST:LAST`."""
    first, last = map(int, text.split(":"))
    return range(first, last + 1)


def measure_batches(asked: argparse.Namespace) -> dict[str, Any]:
    """Run all processes at once, and sum up their outcomes."""
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(PROCESSES + 1), context.SimpleQueue()
    processes = [
        context.Process(target=_work, args=(asked, asked.users[index::PROCESSES], start, results))
        for index in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    start.wait(START_SECONDS)
    before = server_counters()
    done: list[dict[str, Any]] = [results.get() for _ in processes]
    after = server_counters()
    for process in processes:
        process.join()
    server = {name: after[name] - before[name] for name in after}
    outcomes = sum((Counter(one["outcomes"]) for one in done), Counter[str]())
    calls, seconds = sum(outcomes.values()), max(one["seconds"] for one in done)
    each = 1e6 / max(1, calls)
    return {
        "per_second": round(calls / seconds),
        "outcomes": dict(outcomes),
        "python_microseconds": round(sum(one["cpu_seconds"] for one in done) * each, 1),
        "database_microseconds": round(server["cpu_seconds"] * each, 1),
        "pages_read": round(server["pages_read"] / max(1, calls), 2),
        "commits": round(server["commits"]),
        "statements": round(server["statements"]),
        "lock_waits": round(server["lock_waits"]),
        "processes": done,
    }


def _work(asked: argparse.Namespace, users: range, start: Any, results: Any) -> None:
    """One process: open the leader's connection, wait for the others, and issue or order."""
    results.put(uvloop.run(_call_all(asked, iter(users), start)))


async def _call_all(asked: argparse.Namespace, users: Iterator[int], start: Any) -> dict[str, Any]:
    issue, order = partial(issue_one, asked.campaign), partial(order_one, asked.product)
    call: Call = issue if asked.what == "issuing" else order
    outcomes: Counter[str] = Counter()
    # The first request opens the connection of the thread that leads.
    await _call_again(call, iter([next(users)]), time.monotonic(), outcomes)
    start.wait(START_SECONDS)
    began_at, cpu_began_at = time.monotonic(), time.process_time()
    ends_at = began_at + asked.seconds
    await asyncio.gather(*(_call_again(call, users, ends_at, outcomes) for _ in range(WAITING)))
    seconds, cpu_seconds = time.monotonic() - began_at, time.process_time() - cpu_began_at
    return {"outcomes": dict(outcomes), "seconds": seconds, "cpu_seconds": cpu_seconds}


async def _call_again(call: Call, users: Iterator[int], ends_at: float, outcomes: Counter[str]) -> None:
    """Make one call after another, each for another account."""
    for user_id in users:
        try:
            outcomes[await call(user_id)] += 1
        except FirstcomeError as error:
            outcomes[error.code] += 1
        if time.monotonic() > ends_at:
            break


async def issue_one(campaign_id: int, user_id: int) -> str:
    """Issue to one account as a web process does: by the batcher where that is enough."""
    outcome = await issuing.issue_async(campaign_id=campaign_id, user_id=user_id)
    return "issued" if getattr(outcome, "is_new", False) else "again"


async def order_one(product_id: int, user_id: int) -> str:
    """Place an order by the batcher, as a web process does."""
    batcher, asked = checkout.batcher(), unpaid_order(product_id, user_id)
    assert batcher and asked.keyed.claim
    await event_loop.submit_to_batcher(batcher, asked)
    claims.release_later(asked.keyed.claim)
    return "placed"


def unpaid_order(product_id: int, user_id: int) -> OrderRequest:
    """A request for one unit, to be paid later, under a key of its own."""
    hashed = key_hash(uuid4().hex)
    claim = claims.new_claim(user_id, hashed)
    return OrderRequest(
        account_id=user_id,
        lines=(Line(product_id, 1),),
        coupon_code="",
        points_amount=0,
        token=None,
        keyed=KeyedCall(user_id, hashed, hashed, placed_order_answer, claim),
        by=journal.current_actor(),
    )


def server_counters() -> dict[str, float]:
    """The database server's own counters, and the CPU time of its process if that is on this machine."""
    with connection.cursor() as cursor:
        cursor.execute(COUNTERS)
        counted = {name: float(value) for name, value in cursor.fetchall()}
        cursor.execute("SHOW VARIABLES LIKE 'pid_file'")
        pid_file = Path(cursor.fetchone()[1])
    return {
        "commits": counted["Com_commit"],
        "statements": counted["Questions"],
        "pages_read": counted["Innodb_buffer_pool_reads"],
        "lock_waits": counted["Innodb_row_lock_waits"],
        "cpu_seconds": processor_seconds(int(pid_file.read_text())) if pid_file.is_file() else 0.0,
    }


def measure_limits(users: range) -> dict[str, dict[str, float]]:
    """The cost of the limits for a coupon and for an order, each as another account."""
    product_ids = list(Product.objects.values_list("id", flat=True))
    stock = reservations.read(product_ids)
    wanted = [
        (users[number % len(users)], [Line(id, 1) for id in random.sample(product_ids, LINES)])
        for number in range(ORDERS)
    ]
    return {
        "coupon": _of_each(lambda calls: _count_coupons(users, calls), CALLS),
        "order": _of_each(lambda orders: _check_orders(wanted[:orders], stock), ORDERS),
    }


def _of_each(work: Callable[[int], None], calls: int) -> dict[str, float]:
    """The processor time of a call, by that many. Fewer are made before, to be warm."""
    work(GATHERED)
    # As a server does with what it keeps: collecting it again and again is no cost of a call.
    gc.collect()
    gc.freeze()
    before = spent()
    work(calls)
    after = spent()
    return {name: round(1e6 * (after[name] - before[name]) / calls, 2) for name in after}


def spent() -> dict[str, float]:
    used = redis_client.client().info("cpu")
    return {
        "python": time.process_time(),
        "redis": used["used_cpu_user"] + used["used_cpu_sys"],
        "database": server_counters()["cpu_seconds"],
    }


def _count_coupons(users: range, calls: int) -> None:
    for number in range(calls):
        with rate_limits.COUPONS.counting(users[number % len(users)]):
            pass
        if number % GATHERED == GATHERED - 1:
            rate_limits.synchronize()


def _check_orders(wanted: Sequence[tuple[int, list[Line]]], stock: Mapping[int, Any]) -> None:
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        for account_id, _ in batch:
            rate_limits.ORDERS.count(account_id)
        holdings = limits.read_holdings(batch, stock)
        for account_id, lines in batch:
            limits.check(holdings[account_id], lines, stock)
            limits.add(holdings[account_id], lines)
        if (start + BATCH) % GATHERED == 0:
            rate_limits.synchronize()


if __name__ == "__main__":
    main()
