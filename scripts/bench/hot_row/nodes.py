"""Web processes without HTTP at one hot row, in the environment of a stack: a line of JSON for each load.

    python -m scripts.bench.hot_row.nodes --users 1:40000 --loads loads.json

Each process has an event loop, batchers and connections of its own, as a web process of another machine has.
All of them are started once; a load uses the first of them. The requests that wait at once are as many for
any number of processes: more machines don't make more buyers.
"""

import argparse
import asyncio
import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import django
import uvloop
from django.conf import settings

settings.DATABASES["default"]["ENGINE"] = "scripts.bench.hot_row.slow_commits"
django.setup()  # before the shop's modules, in this process and in those that it spawns


from coupons.issuing import issuing  # noqa: E402
from orders.placement import checkout  # noqa: E402
from scripts.bench.hot_row.slow_commits import base as slow_commits  # noqa: E402
from scripts.bench.workloads.without_http import (  # noqa: E402
    issue_one,
    server_counters,
    unpaid_order,
    users_range,
)
from shop.concurrency import event_loop  # noqa: E402
from shop.errors import FirstcomeError  # noqa: E402
from shop.idempotency import claims  # noqa: E402
from shop.redis import redis_client  # noqa: E402

START_SECONDS = 120.0
"""For all processes to import Django, on two cores."""
Call = Callable[[int], Coroutine[Any, Any, None]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a hot row without HTTP.")
    parser.add_argument("--users", type=users_range, required=True, metavar="FIRST:LAST")
    parser.add_argument("--loads", type=Path, required=True, help="a JSON file with a list of loads")
    asked = parser.parse_args()
    loads = json.loads(asked.loads.read_text())
    context = multiprocessing.get_context("spawn")
    ends = []
    for _ in range(max(load["processes"] for load in loads)):
        here, there = context.Pipe()
        context.Process(target=_serve_loads, args=(there,), daemon=True).start()
        ends.append(here)
    for end in ends:
        if not end.poll(START_SECONDS):
            raise SystemExit(f"a process isn't ready after {START_SECONDS:.0f} s")
        end.recv()
    for load in loads:
        print(json.dumps(load | _measure(load, asked.users, ends[: load["processes"]])), flush=True)


def _measure(load: dict[str, Any], users: range, ends: list[Connection]) -> dict[str, Any]:
    """Have these processes make the load, and sum up what they and the servers say."""
    for index, end in enumerate(ends):
        end.send((load, index, users[index :: len(ends)]))
    for end in ends:
        end.recv()  # warm
    before = _counters()
    for end in ends:
        end.send("go")
    done: list[dict[str, Any]] = [end.recv() for end in ends]
    after = _counters()
    outcomes = sum((Counter(one["outcomes"]) for one in done), Counter[str]())
    waits = sorted(wait for one in done for wait in one["waits"])
    calls, seconds = sum(outcomes.values()), max(one["seconds"] for one in done)
    server = {name: after[name] - before[name] for name in after}
    each = 1e6 / max(1, calls)
    return {
        "per_second": round(calls / seconds),
        "outcomes": dict(outcomes),
        "p50_ms": round(1000 * waits[len(waits) // 2], 1),
        "p95_ms": round(1000 * waits[int(len(waits) * 0.95)], 1),
        "commits": round(server["commits"]),
        "lock_waits": round(server["lock_waits"]),
        "lock_wait_ms": round(server["lock_wait_ms"] / max(1, server["lock_waits"]), 1),
        "lock_waiting_share": round(server["lock_wait_ms"] / 1000 / seconds, 2),
        "python_microseconds": round(sum(one["cpu_seconds"] for one in done) * each),
        "busiest_process": round(max(one["cpu_seconds"] for one in done) / seconds, 2),
        "database_microseconds": round(server["cpu_seconds"] * each),
        "redis_microseconds": round(server["redis_seconds"] * each),
    }


def _counters() -> dict[str, float]:
    used = redis_client.client().info("cpu")
    return {**server_counters(), "redis_seconds": used["used_cpu_user"] + used["used_cpu_sys"]}


def _serve_loads(end: Connection) -> None:
    """One process: make load after load, as the pipe says, until it is closed."""
    end.send("ready")
    while True:
        try:
            load, index, users = end.recv()
        except EOFError:
            return
        slow_commits.latency_ms = load["latency_ms"]
        settings.HAND_OVER_BATCHES = load["is_handed_over"]
        end.send(uvloop.run(_make(load, index, iter(users), end)))


async def _make(load: dict[str, Any], index: int, users: Iterator[int], end: Connection) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    waits: list[float] = []
    row = load["rows"][index % len(load["rows"])]
    call = partial(_issue if load["what"] == "coupons" else _order, row)
    # The first requests open the connections of the threads that lead, and read what is remembered.
    await _call_again(call, users, time.monotonic(), Counter(), [])
    await asyncio.get_running_loop().run_in_executor(None, _wait_for_the_others, end)
    began_at, cpu_began_at = time.monotonic(), time.process_time()
    ends_at = began_at + load["seconds"]
    mine = load["waiting"] // load["processes"]
    await asyncio.gather(*(_call_again(call, users, ends_at, outcomes, waits) for _ in range(mine)))
    seconds, cpu_seconds = time.monotonic() - began_at, time.process_time() - cpu_began_at
    return {"outcomes": dict(outcomes), "waits": waits, "seconds": seconds, "cpu_seconds": cpu_seconds}


def _wait_for_the_others(end: Connection) -> None:
    end.send("warm")
    end.recv()


async def _call_again(
    call: Call, users: Iterator[int], ends_at: float, outcomes: Counter[str], waits: list[float]
) -> None:
    """Make one request after another, each of another account, until the time is over."""
    for user_id in users:
        began_at = time.monotonic()
        try:
            await call(user_id)
            outcomes["done"] += 1
        except FirstcomeError as error:
            outcomes[error.code] += 1
        waits.append(time.monotonic() - began_at)
        if time.monotonic() > ends_at:
            break


async def _issue(campaign_id: int, user_id: int) -> None:
    if issuing.is_renewal_due(campaign_id):
        event_loop.run_in_background(partial(issuing.renew, campaign_id))
    await issue_one(campaign_id, user_id)


async def _order(product_id: int, user_id: int) -> None:
    batcher, asked = checkout.batcher(), unpaid_order(product_id, user_id)
    assert batcher
    assert asked.keyed.claim
    await event_loop.submit_to_batcher(batcher, asked)
    claims.release_later(asked.keyed.claim)


if __name__ == "__main__":
    main()
