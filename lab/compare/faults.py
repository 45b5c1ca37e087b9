"""The faults of `crash`: one after the other, and the longest wait for a coupon after each kind."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from typing import Any

from redis import Redis

from lab.compare.scenarios import Case
from lab.stage import Stage, processes, web_workers
from scripts.stack import process_identity, readiness
from scripts.stack.instance import Instance

PAUSE_SECONDS, POLL_SECONDS, ANSWERS_IN_A_ROW = 0.8, 0.02, 10
"""The first is of plain load before each fault."""
COUPONS = "SELECT COUNT(*) FROM coupons_coupon WHERE campaign_id = %s"


@contextmanager
def struck(stage: Stage, case: Case, settings: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """In `crash` one fault after the other beside the block; then each kind, how often it was and the longest
    wait."""
    found: list[dict[str, Any]] = []
    if case.scenario != "crash":
        yield found
        return
    waits, ended = dict[str, list[float]](), threading.Event()
    with ThreadPoolExecutor(1) as threads:
        striking = threads.submit(_strike_again, stage, case, settings["CAMPAIGN"], ended, waits)
        try:
            yield found
        finally:
            ended.set()
    striking.result()
    readiness.wait_for_shop(stage.instance)
    for name, each in waits.items():
        found.append({"fault": name, "times": len(each), "seconds": max(each, default=None)})


def _strike_again(
    stage: Stage, case: Case, campaign: int, ended: threading.Event, waits: dict[str, list[float]]
) -> None:
    """Fault after fault, each once all processes of web serve: its cost isn't that of the one before."""
    instance, whole = stage.instance, len(web_workers(stage.instance))
    # Only the tickets of `queue` need the issuer.
    for name in cycle(name for name in FAULTS if name != "issuer killed" or case.strategy == "queue"):
        ended.wait(PAUSE_SECONDS)
        while not (ended.is_set() or _serves(instance, whole)):
            pass
        if ended.is_set():
            return
        began_at = time.monotonic()
        FAULTS[name](instance)
        before, each = stage.number(COUPONS, campaign), waits.setdefault(name, [])
        while stage.number(COUPONS, campaign) == before:
            if ended.wait(POLL_SECONDS):
                return
        each.append(round(time.monotonic() - began_at, 2))


def _serves(instance: Instance, whole: int) -> bool:
    """Many answers in a row: the kernel deals connections out among all processes of web, also to one that is
    only starting."""
    for _ in range(ANSWERS_IN_A_ROW):
        time.sleep(POLL_SECONDS)
        if len(web_workers(instance)) < whole or readiness.readiness_problem(instance.port):
            return False
    return True


def _empty_redis(instance: Instance) -> None:
    with Redis(unix_socket_path=str(instance.redis_socket)) as redis:
        redis.flushall()


FAULTS: Mapping[str, Callable[[Instance], None]] = {
    "web killed": lambda instance: process_identity.kill({max(web_workers(instance))}),
    "redis killed": lambda instance: process_identity.kill(processes(instance, "redis")),
    "redis emptied": _empty_redis,
    "issuer killed": lambda instance: process_identity.kill(processes(instance, "issuer")),
}
