"""Coupons a second without HTTP: many requests wait at once on the event loops of several processes.

    python -m scripts.bench.issuing_alone --seconds 5 --campaign 7 --users 1:60000

It runs in the environment of a stack (`DATABASE_URL` and the rest), asks for one account after another, and
prints JSON: how many a second, what came of them, the CPU time that each took in Python and in the
database's server, and the pages that this read from disk for each. Asked again for the same accounts it
measures who comes back; asked for a campaign that has nothing left, refusals.
"""

import argparse
import asyncio
import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

WAITING, PROCESSES = 64, 2
# A process imports Django and opens its connections before the clock starts.
START_SECONDS = 60.0
TICKS_A_SECOND = 100
COUNTERS = """
SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_commit', 'Questions', 'Innodb_buffer_pool_reads')
"""


@dataclass(frozen=True, slots=True)
class Share:
    """What one process is to do: ask for every account of `users`, until the time is over."""

    campaign: int
    users: range
    waiting: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Done:
    """What it did, in how many seconds of the clock and of the CPU."""

    outcomes: dict[str, int]
    seconds: float
    cpu_seconds: float


def main() -> None:
    print(json.dumps(measure(_arguments())))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run all processes at once, and say what they did together."""
    import django

    django.setup()
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(arguments.processes + 1)
    results = context.SimpleQueue()
    shares = [
        Share(
            campaign=arguments.campaign,
            users=arguments.users[index :: arguments.processes],
            waiting=arguments.waiting,
            seconds=arguments.seconds,
        )
        for index in range(arguments.processes)
    ]
    processes = [context.Process(target=_work, args=(share, start, results)) for share in shares]
    for process in processes:
        process.start()
    start.wait(START_SECONDS)
    before = server_counters()
    done: list[Done] = [results.get() for _ in processes]
    after = server_counters()
    for process in processes:
        process.join()
    return _summary(done, {name: after[name] - before[name] for name in after})


def _summary(done: list[Done], server: dict[str, float]) -> dict[str, Any]:
    outcomes = sum((Counter(one.outcomes) for one in done), Counter[str]())
    calls, seconds = sum(outcomes.values()), max(one.seconds for one in done)
    each = 1e6 / max(1, calls)
    return {
        "per_second": round(calls / seconds),
        "outcomes": dict(outcomes),
        "python_microseconds": round(sum(one.cpu_seconds for one in done) * each, 1),
        "database_microseconds": round(server["cpu_seconds"] * each, 1),
        "pages_read": round(server["pages_read"] / max(1, calls), 2),
        "commits": round(server["commits"]),
        "statements": round(server["statements"]),
        "processes": [asdict(one) for one in done],
    }


def _work(share: Share, start: Any, results: Any) -> None:
    """One process: open the leader's connection, wait for the others, and ask."""
    import django
    import uvloop

    django.setup()
    uvloop.run(_ask_all(share, start, results))


async def _ask_all(share: Share, start: Any, results: Any) -> None:
    users = iter(share.users)
    outcomes: Counter[str] = Counter()
    # The first request opens the connection of the thread that leads.
    await _ask(share.campaign, iter([next(users)]), time.monotonic(), outcomes)
    start.wait(START_SECONDS)
    began_at, cpu_began_at = time.monotonic(), time.process_time()
    ends_at = began_at + share.seconds
    await asyncio.gather(*(_ask(share.campaign, users, ends_at, outcomes) for _ in range(share.waiting)))
    results.put(
        Done(
            outcomes=dict(outcomes),
            seconds=time.monotonic() - began_at,
            cpu_seconds=time.process_time() - cpu_began_at,
        )
    )


async def _ask(campaign_id: int, users: Iterator[int], ends_at: float, outcomes: Counter[str]) -> None:
    """Ask for one account after another, as a web process does: by the batcher where that is enough."""
    from coupons.issuing import issuing
    from shop.concurrency import event_loop
    from shop.errors import FirstcomeError

    for user_id in users:
        try:
            batched, outcome = issuing.batch_route(campaign_id), None
            if batched:
                decided = await event_loop.submit_to_batcher(batched.batcher(), batched.request(user_id))
                outcome = batched.result(user_id, decided)
            if outcome is None:
                issue = partial(issuing.issue, campaign_id=campaign_id, user_id=user_id)
                outcome = await event_loop.run_in_thread(issue)
            outcomes["issued" if getattr(outcome, "is_new", False) else "again"] += 1
        except FirstcomeError as error:
            outcomes[error.code] += 1
        if time.monotonic() > ends_at:
            break


def server_counters() -> dict[str, float]:
    """The database server's own counters, and the CPU time of its process if that is on this machine."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(COUNTERS)
        counted = {name: float(value) for name, value in cursor.fetchall()}
        cursor.execute("SHOW VARIABLES LIKE 'pid_file'")
        pid_file = Path(cursor.fetchone()[1])
    return {
        "commits": counted["Com_commit"],
        "statements": counted["Questions"],
        "pages_read": counted["Innodb_buffer_pool_reads"],
        "cpu_seconds": _cpu_seconds(pid_file),
    }


def _cpu_seconds(pid_file: Path) -> float:
    if not pid_file.is_file():
        return 0.0
    fields = Path(f"/proc/{pid_file.read_text().strip()}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure coupons a second without HTTP.")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--campaign", type=int, required=True)
    parser.add_argument("--users", type=users_range, required=True, metavar="FIRST:LAST")
    parser.add_argument("--waiting", type=int, default=WAITING, help="requests of a process at once")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    return parser.parse_args()


def users_range(text: str) -> range:
    """The ids from `FIRST:LAST`."""
    first, last = map(int, text.split(":"))
    return range(first, last + 1)


if __name__ == "__main__":
    main()
