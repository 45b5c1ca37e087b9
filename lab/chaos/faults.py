"""Faults: processes of one stack killed, frozen and kept down, Redis emptied, the gateway slow, and the clock
of a worker wrong, in a seeded order."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from lab.chaos.calls import Call, Connection, Observations
from lab.chaos.campaigns import kinds
from scripts.stack import SetupError, process_identity, readiness, supervision
from scripts.stack.instance import Instance
from scripts.stack.rabbitmq import RunningNode

WEB_PROCESS = "a web process"
"""One of web's children, which answer the requests; supervisor does not know them."""
BROKER = "rabbitmq"
"""A RabbitMQ beside the stack; supervisor does not know it. Nothing waits for it, so no request may fail."""
NEEDED_TO_ANSWER = {"web", WEB_PROCESS, "redis", "mariadb", "partner"}
"""Without these some requests can't be answered as they should; all others the shop makes up for."""
SLOW_MS = 2600
"""What each call to a slow gateway takes: the shop waits 3 s for it. A saga's step may make several."""
PATIENCE_SECONDS = 60
"""How long the shop may take to be ready again, while the other series goes on."""
BREAKER_SECONDS = 2.0
"""For so long a circuit breaker of the shop may refuse calls of what is back."""
SHORT_SECONDS, LONG_SECONDS, SHARE_OF_LONG = (0.3, 5.0), (11.0, 13.0), 0.15
"""How long a process is frozen or down; the long ones outlast the lease of a saga."""


@dataclass(frozen=True)
class Fault:
    """What happens to which process, and for how long."""

    sort: str
    name: str
    seconds: float

    def __str__(self) -> str:
        lasts = f" for {self.seconds:.1f} s" if self.sort in LASTING else ""
        return f"{self.sort} {self.name}{lasts}"


@dataclass(frozen=True)
class FaultSeries:
    """Draws one fault after the other, by the shares of sorts and processes, and pauses after each."""

    name: str
    names: Mapping[str, int]
    sorts: Mapping[str, int]
    pauses: tuple[float, float]
    seconds: tuple[float, float] | None = None
    """How long each lasts, where it is not short or long."""

    def draw(self, chance: random.Random) -> Fault:
        sort, name = (chance.choices([*of], [*of.values()])[0] for of in (self.sorts, self.names))
        usual = LONG_SECONDS if chance.random() < SHARE_OF_LONG else SHORT_SECONDS
        if (sort == "flush" and name != "redis") or (sort == "down" and name == WEB_PROCESS):
            sort = "kill"
        return Fault(sort, name, chance.uniform(*(self.seconds or usual)))


SORTS = {"kill": 6, "freeze": 3, "down": 2, "flush": 1}
"""What can't be done to a process kills it: flush is Redis' own, and web's children have no supervisor."""
OF_BROKER = {"kill": 1, "freeze": 1, "down": 1}
SHOP = {"web": 1, WEB_PROCESS: 3, "worker": 2, "beat": 1, "issuer": 1}
OUTSIDE = {"gateway": 1, "sink": 1, "partner": 1, "redis": 2}
CLOCK = "the clock of a second worker"
LONG = [
    FaultSeries("slow gateway", {"gateway": 1}, {"slow": 1}, (10.0, 40.0), (10.0, 25.0)),
    FaultSeries("clock jump", {CLOCK: 1}, {"jump": 1}, (5.0, 30.0), (15.0, 40.0)),
]
"""SQLite has no clock of its own, so no worker's clock jumps there."""


def all_series(
    database: str, pauses: tuple[float, float], *, has_long_faults: bool, has_broker: bool
) -> list[FaultSeries]:
    """The series that run at once, so that faults of the shop and of what is outside overlap."""
    outside = OUTSIDE | ({"mariadb": 2} if database == "mariadb" else {})
    found = [FaultSeries("web", SHOP, SORTS, pauses), FaultSeries("gateway", outside, SORTS, pauses)]
    found += LONG[: 2 if database == "mariadb" else 1] if has_long_faults else []
    return found + ([FaultSeries(BROKER, {BROKER: 1}, OF_BROKER, pauses)] if has_broker else [])


def inject_until(
    ends_at: float,
    series: FaultSeries,
    *,
    instance: Instance,
    seed: str,
    seen: Observations,
    broker: RunningNode | None = None,
) -> int:
    """Run one series; returns how many faults it made. Prints a line for each."""
    chance, began, count = random.Random(f"{seed} {series.name}"), time.monotonic(), 0
    while (left := ends_at - time.monotonic()) > 0:
        fault = series.draw(chance)
        fault = replace(fault, seconds=min(fault.seconds, left))
        fault_began = time.monotonic()
        leader = process_identity.leader_of(instance.run, fault.name)
        victims = {fault.name: leader} if leader and fault.sort in ("kill", "down") else {}
        try:
            make_to_broker(broker, fault) if broker and fault.name == BROKER else inject(fault, instance)
        except SetupError as error:
            seen.record_finding(f"{fault}: {error}")
        waited = seconds_until_ready(instance, without=victims)
        if fault.name in NEEDED_TO_ANSWER:
            seen.record_outage(fault_began, time.monotonic() + BREAKER_SECONDS)
        if waited is None:
            seen.record_finding(f"not ready {PATIENCE_SECONDS} s after: {fault}")
        else:
            print(f"{fault_began - began:6.1f} s  {fault}; ready after {waited:.1f} s", flush=True)
        count += 1
        time.sleep(min(max(ends_at - time.monotonic(), 0), chance.uniform(*series.pauses)))
    return count


def make_to_broker(broker: RunningNode, fault: Fault) -> None:
    """Make the fault to a RabbitMQ beside the stack, and undo it."""
    broker.freeze() if fault.sort == "freeze" else broker.kill()
    if fault.sort in LASTING:
        time.sleep(fault.seconds)
    broker.thaw()


def inject(fault: Fault, instance: Instance) -> None:
    """Make the fault, and undo what does not undo itself."""
    if fault.sort == "kill":
        process_identity.kill(_pids(fault.name, instance))
    elif fault.sort == "flush":
        with suppress(RedisError), Redis(unix_socket_path=str(instance.redis_socket)) as redis:
            redis.flushall()
    else:
        with lasting(fault, instance):
            time.sleep(fault.seconds)


def lasting(fault: Fault, instance: Instance) -> AbstractContextManager[None]:
    """The fault is there inside the block."""
    return LASTING[fault.sort](fault.name, instance)


def _frozen(name: str, instance: Instance) -> AbstractContextManager[None]:
    return process_identity.frozen(_pids(name, instance))


@contextmanager
def _kept_down(name: str, instance: Instance) -> Iterator[None]:
    supervision.stop(instance, name)
    try:
        yield
    finally:
        supervision.start(instance, [name])


@contextmanager
def _slowed(name: str, instance: Instance) -> Iterator[None]:
    """Every call takes so long. A gateway that is killed meanwhile comes back with its usual latency."""
    # It may be killed, frozen or down: then it is asked again.
    gateway = Connection(instance.gateway_port, Observations(), seed="", impatient_share=0, prefix="")

    def control(method: str, body: Any = None) -> None:
        call = Call(method, "/latency", "", body)
        gateway.call_until_final(call, until=time.monotonic() + PATIENCE_SECONDS)

    control("POST", {"ms": SLOW_MS})
    try:
        yield
    finally:
        control("DELETE")


LASTING: Mapping[str, Callable[[str, Instance], AbstractContextManager[None]]] = {
    "freeze": _frozen,
    "down": _kept_down,
    "slow": _slowed,
    **kinds.LASTING,
}
"""Faults that last until they are undone."""


def _pids(name: str, instance: Instance) -> set[int]:
    """The process of that name, or the youngest of web's own; none while it is starting."""
    leader = process_identity.leader_of(instance.run, "web" if name == WEB_PROCESS else name)
    if leader is None or name != WEB_PROCESS:
        return {leader} if leader else set()
    children = process_identity.group_of(instance.run, "web") - {leader}
    return {max(children)} if children else set()


def seconds_until_ready(
    instance: Instance, *, without: Mapping[str, int] | None = None, within_seconds: float = 0
) -> float | None:
    """How long the shop takes to say that it is ready again; None when it takes longer than allowed.

    Processes that were killed have to be replaced first, and the partner, of which the shop's readiness says
    nothing, has to answer: `without` has their former ids by name.
    """
    started = time.monotonic()
    while (waited := time.monotonic() - started) < (within_seconds or PATIENCE_SECONDS):
        with suppress(OSError):
            is_replaced = all(_is_replaced(name, pid, instance) for name, pid in (without or {}).items())
            if is_replaced and readiness.ask(instance.port, "GET", "/readyz")[0] == 200:
                return waited
        time.sleep(0.1)
    return None


def _is_replaced(name: str, pid: int, instance: Instance) -> bool:
    """Whether another process has its place, and answers. Raises OSError while the partner does not."""
    if name == "partner" and readiness.ask(instance.partner_port, "GET", "/healthz")[0] != 200:
        return False
    return process_identity.leader_of(instance.run, name) not in (None, pid)
