"""Faults: processes of one stack killed, frozen and kept down, and Redis emptied, in a seeded order."""

import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from redis import Redis
from redis.exceptions import RedisError

from scripts import process_identity, readiness, supervision
from scripts.instance import Instance
from scripts.storm.calls import Observations

WEB_PROCESS = "a web process"
"""One of web's children, which answer the requests; supervisor does not know them."""
SHOP = ("web", WEB_PROCESS, WEB_PROCESS, WEB_PROCESS, "worker", "worker", "beat", "issuer")
OUTSIDE = ("gateway", "sink", "partner", "redis", "redis", "mariadb", "mariadb")
"""Who is struck, and how often. Each side has a striker of its own, so faults of both meet."""
SORTS = {"kill": 6, "freeze": 3, "down": 2, "flush": 1}
SHORT_SECONDS, LONG_SECONDS = (0.3, 5.0), (11.0, 13.0)
"""How long somebody is frozen or down; the long ones outlast the lease of a saga."""
SHARE_OF_LONG = 0.15
PATIENCE_SECONDS = 60
"""How long the shop may take to be ready again, whatever the other striker does meanwhile."""


@dataclass(frozen=True)
class Fault:
    """What strikes whom, and for how long."""

    sort: str
    name: str
    seconds: float

    def __str__(self) -> str:
        lasts = f" for {self.seconds:.1f} s" if self.sort in ("freeze", "down") else ""
        return f"{self.sort} {self.name}{lasts}"


def strike_until(
    ends_at: float,
    names: Sequence[str],
    *,
    instance: Instance,
    pauses: tuple[float, float],
    seed: str,
    seen: Observations,
) -> int:
    """One striker at work; returns how many faults it made. Tells each in a line."""
    chance, began = random.Random(seed), time.monotonic()
    mine = [name for name in names if name != "mariadb" or instance.database == "mariadb"]
    count = 0
    while (left := ends_at - time.monotonic()) > 0:
        fault = _choose(chance, mine)
        at = time.monotonic() - began
        strike(fault, instance)
        waited = seconds_until_ready(instance)
        if waited is None:
            seen.find(f"not ready {PATIENCE_SECONDS} s after: {fault}")
        else:
            print(f"{at:6.1f} s  {fault}; ready after {waited:.1f} s", flush=True)
        count += 1
        time.sleep(min(max(left, 0), chance.uniform(*pauses)))
    return count


def _choose(chance: random.Random, names: Sequence[str]) -> Fault:
    sort, name = chance.choices(list(SORTS), list(SORTS.values()))[0], chance.choice(names)
    seconds = chance.uniform(*(LONG_SECONDS if chance.random() < SHARE_OF_LONG else SHORT_SECONDS))
    if (sort == "flush" and name != "redis") or (sort == "down" and name == WEB_PROCESS):
        sort = "kill"
    return Fault(sort, name, seconds)


def strike(fault: Fault, instance: Instance) -> None:
    """Do it, and undo what does not undo itself."""
    if fault.sort == "kill":
        process_identity.kill(_pids(fault.name, instance))
    elif fault.sort == "flush":
        _flush(instance)
    else:
        with lasting(fault, instance):
            time.sleep(fault.seconds)


@contextmanager
def lasting(fault: Fault, instance: Instance) -> Iterator[None]:
    """Somebody frozen or down inside the block."""
    away = _frozen if fault.sort == "freeze" else _kept_down
    with away(fault.name, instance):
        yield


@contextmanager
def _frozen(name: str, instance: Instance) -> Iterator[None]:
    pids = _pids(name, instance)
    process_identity.kill(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        process_identity.kill(pids, signal.SIGCONT)


@contextmanager
def _kept_down(name: str, instance: Instance) -> Iterator[None]:
    supervision.stop(instance, name)
    try:
        yield
    finally:
        supervision.start(instance, [name])


def _flush(instance: Instance) -> None:
    with suppress(RedisError), Redis(unix_socket_path=str(instance.redis_socket)) as redis:
        redis.flushall()


def _pids(name: str, instance: Instance) -> set[int]:
    """The process of that name, or the youngest of web's own; nobody while it is starting."""
    leader = process_identity.leader_of(instance.run, "web" if name == WEB_PROCESS else name)
    if leader is None or name != WEB_PROCESS:
        return {leader} if leader else set()
    children = process_identity.group_of(instance.run, "web") - {leader}
    return {max(children)} if children else set()


def seconds_until_ready(instance: Instance) -> float | None:
    """How long the shop takes to say that it is ready again; None when it does not."""
    started = time.monotonic()
    while (waited := time.monotonic() - started) < PATIENCE_SECONDS:
        with suppress(OSError):
            if readiness.ask(instance.port, "GET", "/readyz")[0] == 200:
                return waited
        time.sleep(0.1)
    return None
