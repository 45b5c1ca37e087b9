"""The faults of the scenario `crash`, and how long after each the next coupon is issued."""

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import cycle

from redis import Redis

from lab.stage import Stage, processes, web_workers
from scripts.stack import children, supervision
from scripts.stack.instance import Instance

PAUSE_SECONDS = 0.8  # of plain load before each fault
POLL_SECONDS = 0.02
ANSWERS_IN_A_ROW = 10  # after which all processes of web serve
COUPONS = "SELECT COUNT(*) FROM coupons_coupon WHERE campaign_id = %s"
ISSUER_KILLED = "issuer killed"


def strike(stage: Stage, campaign: int, ended: threading.Event, *, has_issuer: bool) -> str:
    """Fault after fault until all is sent, each once all processes of web serve: its cost isn't that of the
    one before. The longest wait for a coupon after each kind."""
    whole = len(web_workers(stage.instance))
    waits: dict[str, list[float]] = {}
    # Only the tickets of `queue` need the issuer.
    for name in cycle([name for name in FAULTS if name != ISSUER_KILLED or has_issuer]):
        ended.wait(PAUSE_SECONDS)
        wait_until_all_serve(stage.instance, whole, ended)
        if ended.is_set():
            break
        began_at = time.monotonic()
        FAULTS[name](stage.instance)
        seconds = waits.setdefault(name, [])
        wait_for_coupon(stage, campaign, ended)
        if not ended.is_set():
            seconds.append(time.monotonic() - began_at)
    supervision.wait_for_shop(stage.instance)
    return ", ".join(f"{name} ({len(seconds)} ×) {_longest(seconds)}" for name, seconds in waits.items())


def _longest(seconds: list[float]) -> str:
    """Never broken between number and unit."""
    if seconds:
        return f"{max(seconds):.2f}\u00a0s"
    return "–"


def wait_until_all_serve(instance: Instance, whole: int, ended: threading.Event) -> None:
    """Until many answers in a row come: the kernel deals connections out among all processes of web, also to
    one that is only starting."""
    answers = 0
    while answers < ANSWERS_IN_A_ROW and not ended.wait(POLL_SECONDS):
        answers += 1
        if len(web_workers(instance)) != whole or supervision.readiness_problem(instance.port):
            answers = 0


def wait_for_coupon(stage: Stage, campaign: int, ended: threading.Event) -> None:
    before = stage.number(COUPONS, campaign)
    is_over = False
    while stage.number(COUPONS, campaign) == before and not is_over:
        is_over = ended.wait(POLL_SECONDS)


def kill_web(instance: Instance) -> None:
    children.kill({max(web_workers(instance))})


def empty_redis(instance: Instance) -> None:
    Redis(unix_socket_path=str(instance.redis_socket)).flushall()


def kill(name: str, instance: Instance) -> None:
    children.kill(processes(instance, name))


FAULTS: Mapping[str, Callable[[Instance], None]] = {
    "web killed": kill_web,
    "redis killed": partial(kill, "redis"),
    "redis emptied": empty_redis,
    ISSUER_KILLED: partial(kill, "issuer"),
}
