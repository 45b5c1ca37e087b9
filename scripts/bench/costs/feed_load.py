"""The loads of `make feed-cost`, in the environment of a stack, as JSON.

python -m scripts.bench.costs.feed_load --users 1:30000 --product 7 --rounds 6 --seconds 5 --rate 10000
"""

import argparse
import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from typing import Any
from unittest import mock
from uuid import UUID

import django
import uvloop

django.setup()  # before the shop's modules

from django.db import connection  # noqa: E402

from orders.placement import checkout  # noqa: E402
from scripts.bench.workloads.without_http import (  # noqa: E402
    server_counters,
    unpaid_order,
    users_range,
)
from shop import clock  # noqa: E402
from shop.concurrency import event_loop  # noqa: E402
from shop.db import transactions  # noqa: E402
from shop.event_feed import reading, recording  # noqa: E402
from shop.events import journal  # noqa: E402
from shop.idempotency import claims  # noqa: E402

WAITING = 64
WRITERS, EVENTS_PER_TRANSACTION = 4, 100
CATCH_UP_SECONDS = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure orders with events, and events.")
    parser.add_argument("--users", type=users_range, required=True, metavar="FIRST:LAST")
    parser.add_argument("--product", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=int, required=True)
    asked = parser.parse_args()
    users, rounds = cycle(asked.users), []
    _place(users, asked.product, 1.0)
    for number in range(asked.rounds):
        ways = ["with events", "without"] if number % 2 else ["without", "with events"]
        rounds.append({way: _measured(way, users, asked.product, asked.seconds) for way in ways})
    print(json.dumps({"orders": rounds, "events": _write_and_follow(asked.rate, asked.seconds)}))


def _measured(way: str, users: Iterator[int], product: int, seconds: float) -> dict[str, float]:
    with ExitStack() as opened:
        if way == "without":
            opened.enter_context(_no_events())
        before, cpu = server_counters(), time.process_time()
        count, took = _place(users, product, seconds)
        used = time.process_time() - cpu
        after = server_counters()
    database = after["cpu_seconds"] - before["cpu_seconds"]
    return {
        "per_second": count / took,
        "python": used / count * 1e6,
        "database": database / count * 1e6,
        "lock_waits": after["lock_waits"] - before["lock_waits"],
    }


@contextmanager
def _no_events() -> Iterator[None]:
    """The same orders, whose events are neither made nor written."""
    with (
        mock.patch.object(journal.recording, "from_journal", lambda lines: []),
        mock.patch.object(recording, "record_all", lambda events: None),
    ):
        yield


def _place(users: Iterator[int], product: int, seconds: float) -> tuple[int, float]:
    """Place orders with `WAITING` buyers at once; how many, and the seconds that they took."""
    return uvloop.run(_place_all(users, product, seconds))


async def _place_all(users: Iterator[int], product: int, seconds: float) -> tuple[int, float]:
    began_at, count = time.monotonic(), 0
    batcher = checkout.batcher()
    assert batcher

    async def buy() -> None:
        nonlocal count
        for user_id in users:
            asked = unpaid_order(product, user_id)
            assert asked.keyed.claim
            await event_loop.submit_to_batcher(batcher, asked)
            claims.release_later(asked.keyed.claim)
            count += 1
            if time.monotonic() > began_at + seconds:
                return

    await asyncio.gather(*(buy() for _ in range(WAITING)))
    return count, time.monotonic() - began_at


def _write_and_follow(rate: int, seconds: float) -> dict[str, Any]:
    """Write events at the rate, while a reader follows; what it found, and how late."""
    began_position = reading.last_position()
    is_over, seen, lags = threading.Event(), list[UUID](), list[float]()
    follower = threading.Thread(target=_follow, args=(began_position, is_over, seen, lags))
    follower.start()
    began_at = time.monotonic()
    written = [0] * WRITERS
    writers = [
        threading.Thread(target=_write, args=(index, rate / WRITERS, began_at + seconds, written))
        for index in range(WRITERS)
    ]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    took, total = time.monotonic() - began_at, sum(written)
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while reading.last_position() - began_position < total and time.monotonic() < deadline:
        time.sleep(0.1)
    is_over.set()
    follower.join()
    lags.sort()
    return {
        "written": total,
        "seconds": took,
        "per_second": total / took,
        "lag_p50_ms": 1000 * lags[len(lags) // 2],
        "lag_max_ms": 1000 * lags[-1],
        "read": len(seen),
        "missing": total - len(set(seen)),
        "each_once": len(set(seen)) == len(seen),
    }


def _write(index: int, rate: float, ends_at: float, written: list[int]) -> None:
    """Write transactions of events at the rate, or as fast as the database takes them."""
    due_at = time.monotonic()
    while due_at < ends_at and time.monotonic() < ends_at:
        time.sleep(max(0.0, due_at - time.monotonic()))
        transactions.run(_record, transactions.KEYED)
        written[index] += EVENTS_PER_TRANSACTION
        due_at += EVENTS_PER_TRANSACTION / rate
    connection.close()


def _record() -> None:
    data = {"order": "0190a5b0-0000-7000-8000-000000000000", "account": 1, "total_amount": 1000}
    recording.record_all(recording.event(type="order.paid", data=data) for _ in range(EVENTS_PER_TRANSACTION))


def _follow(position: int, is_over: threading.Event, seen: list[UUID], lags: list[float]) -> None:
    """Follow the feed by pages; an event's lag is from its instant, just before the commit, to the page."""
    while True:
        was_over = is_over.is_set()
        page = reading.read_page(after=position, patterns=[], limit=2_000)
        position, now = page.position, clock.now()
        seen += [event.event_id for event in page.events]
        lags += [(now - event.at).total_seconds() for event in page.events]
        if not page.events:
            if was_over:
                connection.close()
                return
            time.sleep(0.01)


if __name__ == "__main__":
    main()
