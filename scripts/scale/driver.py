"""Requests for one hot row from several processes, without HTTP, in the environment of a stack, as JSON.

    python -m scripts.scale.driver coupon --users 1:60000 --processes 2 7:64:0 8:64:5

Each step is `ROW:WAITING:MILLISECONDS`: a campaign or product, requests at once, and the added latency.

Each process has a batcher of its own, as a web process has, and that many requests under way at any time,
for one account after another. The latency is added before COMMIT is sent, while the rows are locked, as a
commit that waits for other members of a cluster holds them.
"""

import argparse
import asyncio
import json
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import django
import uvloop

django.setup()  # before the shop's modules, in this process and in those that it spawns

from prometheus_client import REGISTRY  # noqa: E402

from coupons.allocation.writes import IssueRequest  # noqa: E402
from coupons.issuing.strategies import group_commit as coupon_batches  # noqa: E402
from orders.placement.strategies import group_commit as order_batches  # noqa: E402
from scripts.bench.workloads.without_http import server_counters, unpaid_order, users_range  # noqa: E402
from shop.concurrency import event_loop  # noqa: E402
from shop.concurrency.group_commit import Batcher  # noqa: E402
from shop.db import transactions  # noqa: E402
from shop.db.mysql import base  # noqa: E402
from shop.errors import FirstcomeError  # noqa: E402

START_SECONDS = 240.0
"""For all processes to import Django and to open their connections, on a busy machine."""
BATCHERS = {"coupon": "coupons", "order": "orders"}
"""The names of the batchers in the metrics."""
TIMES = (
    "batch_seconds",
    "batch_python_seconds",
    "transaction_seconds",
    "transaction_python_seconds",
    "python_seconds",
)
"""What a run has for a batch: wall time and the leader's processor, of all of it and of its transaction, and
the processor of the whole process."""
Ask = Callable[[int], Awaitable[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Drive one hot row by several processes, without HTTP.")
    parser.add_argument("kind", choices=BATCHERS)
    parser.add_argument("steps", type=Step.parse, nargs="+", metavar="ROW:WAITING:MILLISECONDS")
    parser.add_argument("--users", type=users_range, required=True, metavar="FIRST:LAST")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--processes", type=int, default=1)
    print(json.dumps(measure(parser.parse_args())))


class Step(NamedTuple):
    """One load: the row's id, the requests at once of each process, and what is added to a commit."""

    row: int
    waiting: int
    latency: float

    @classmethod
    def parse(cls, text: str) -> "Step":
        row, waiting, milliseconds = text.split(":")
        return cls(int(row), int(waiting), float(milliseconds) / 1000)


def measure(asked: argparse.Namespace) -> list[dict[str, float]]:
    """Run all processes through the steps at once, and sum up what they did in each."""
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(asked.processes + 1), context.SimpleQueue()
    processes = [
        context.Process(target=_work, args=(asked, asked.users[place :: asked.processes], start, results))
        for place in range(asked.processes)
    ]
    for process in processes:
        process.start()
    found = [_measure_step(asked, start, results) for _ in asked.steps]
    for process in processes:
        process.join()
    return found


def _measure_step(asked: argparse.Namespace, start: Any, results: Any) -> dict[str, float]:
    start.wait(START_SECONDS)
    before = server_counters()
    done: list[dict[str, float]] = [results.get() for _ in range(asked.processes)]
    database = server_counters()["cpu_seconds"] - before["cpu_seconds"]
    total = {name: sum(one[name] for one in done) for name in done[0]}
    batches = max(1.0, total["batches"])
    return {
        "per_second": sum(one["requests"] / one["seconds"] for one in done),
        "per_batch": total["requests"] / batches,
        "database_seconds": database / batches,
        **{name: total[name] / batches for name in TIMES},
        "refused": total["refused"],
        "interval": coupon_batches.MIN_INTERVAL_SECONDS if asked.kind == "coupon" else 0.0,
    }


def _work(asked: argparse.Namespace, users: range, start: Any, results: Any) -> None:
    """One process: take each step together with the others."""
    spent, latency = _time_batches(), _delay_commits()
    for step in asked.steps:
        latency[0] = step.latency
        results.put(uvloop.run(_send_all(asked, step, iter(users), start, spent)))


async def _send_all(
    asked: argparse.Namespace, step: Step, users: Iterator[int], start: Any, spent: dict[str, float]
) -> dict[str, float]:
    ask = _coupon(step.row) if asked.kind == "coupon" else _order(step.row)
    refused = [0.0]
    # The first request opens the connection of the thread that leads.
    await ask(next(users))
    start.wait(START_SECONDS)
    before, spent_before = _batches(asked.kind), dict(spent)
    began_at, cpu_began_at = time.monotonic(), time.process_time()
    ends_at = began_at + asked.seconds
    await asyncio.gather(*(_repeat(ask, users, ends_at, refused) for _ in range(step.waiting)))
    after = _batches(asked.kind)
    counted = {name: after[name] - before[name] for name in after}
    return (
        counted
        | {name: spent[name] - spent_before[name] for name in spent}
        | {
            "python_seconds": time.process_time() - cpu_began_at,
            "seconds": time.monotonic() - began_at,
            "refused": refused[0],
        }
    )


async def _repeat(ask: Ask, users: Iterator[int], ends_at: float, refused: list[float]) -> None:
    for user_id in users:
        try:
            await ask(user_id)
        except FirstcomeError:
            refused[0] += 1
        if time.monotonic() > ends_at:
            break


def _coupon(campaign_id: int) -> Ask:
    batcher = coupon_batches.batcher(campaign_id)
    return lambda user_id: event_loop.submit_to_batcher(batcher, IssueRequest(user_id))


def _order(product_id: int) -> Ask:
    return lambda user_id: event_loop.submit_to_batcher(
        order_batches.BATCHER, unpaid_order(product_id, user_id)
    )


def _batches(kind: str) -> dict[str, float]:
    """The batches of this process so far, by its own metrics."""
    names = {"requests": "firstcome_batch_requests_sum", "batches": "firstcome_batch_requests_count"}
    labels = {"batcher": BATCHERS[kind]}
    return {name: REGISTRY.get_sample_value(metric, labels) or 0.0 for name, metric in names.items()}


def _time_batches() -> dict[str, float]:
    """The seconds of batches and of their transactions from now on, attempts and COMMIT included."""
    spent = dict.fromkeys(TIMES[:-1], 0.0)
    decide, attempt = Batcher._decide_batch, transactions._Attempts.first_success

    def timed_batch(self: Any, batch: Any, **named: Any) -> None:
        with _counted(spent, "batch"):
            decide(self, batch, **named)

    def timed_transaction(self: Any, attempts: int) -> Any:
        with _counted(spent, "transaction"):
            return attempt(self, attempts)

    Batcher._decide_batch = timed_batch  # type: ignore[method-assign]
    transactions._Attempts.first_success = timed_transaction  # type: ignore[method-assign]
    return spent


@contextmanager
def _counted(spent: dict[str, float], name: str) -> Iterator[None]:
    """Add the time of the block, and what this thread uses of the processor in it."""
    began_at, python_began_at = time.monotonic(), time.thread_time()
    try:
        yield
    finally:
        spent[f"{name}_seconds"] += time.monotonic() - began_at
        spent[f"{name}_python_seconds"] += time.thread_time() - python_began_at


def _delay_commits() -> list[float]:
    """Have each COMMIT of this process wait, with the rows locked, for as many seconds as this list says."""
    latency = [0.0]
    commit = base.DatabaseWrapper._commit

    def delayed(self: base.DatabaseWrapper) -> None:
        if latency[0]:
            time.sleep(latency[0])
        commit(self)

    base.DatabaseWrapper._commit = delayed  # type: ignore[method-assign]
    return latency


if __name__ == "__main__":
    main()
