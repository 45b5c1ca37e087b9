"""Faults: processes of one stack killed, frozen and kept down, Redis emptied, the gateway slow, and the clock
of a worker wrong, in a seeded order."""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

from redis import Redis
from redis.exceptions import RedisError

from lab.chaos.calls import Observations
from lab.chaos.campaigns import kinds
from scripts.stack import SetupError, process_identity, readiness, supervision, waiting
from scripts.stack.instance import Instance
from scripts.stack.rabbitmq import RunningNode

WEB_PROCESS = "a web process"
"""One of web's children, which answer the requests; supervisor does not know them."""
SHOP = ("web", WEB_PROCESS, WEB_PROCESS, WEB_PROCESS, "worker", "worker", "beat", "issuer")
OUTSIDE = ("gateway", "sink", "partner", "redis", "redis", "mariadb", "mariadb")
"""The processes, as often as their share of faults. Each side has a series of its own, so faults overlap."""
BROKER = "rabbitmq"
"""A RabbitMQ beside the stack; supervisor does not know it."""
NEEDED_TO_ANSWER = {"web", WEB_PROCESS, "redis", "mariadb", "partner"}
"""Without these some requests can't be answered as they should; all others the shop makes up for."""
SORTS = {"kill": 6, "freeze": 3, "down": 2, "flush": 1}
SHORT_SECONDS, LONG_SECONDS = (0.3, 5.0), (11.0, 13.0)
"""How long a process is frozen or down; the long ones outlast the lease of a saga."""
SHARE_OF_LONG = 0.15
SLOW_MS = 2600
"""What each call to a slow gateway takes: the shop waits 3 s for it. A saga's step may make several."""
SLOW_SECONDS, SLOW_PAUSES = (10.0, 25.0), (10.0, 40.0)
JUMP_SECONDS, JUMP_PAUSES = (15.0, 40.0), (5.0, 30.0)
"""How long the gateway is slow, how long a worker's clock is wrong, and the rests after them."""
PATIENCE_SECONDS = 60
"""How long the shop may take to be ready again, while the other series goes on."""
BREAKER_SECONDS = 2.0
"""For so long a circuit breaker of the shop may refuse calls of what is back."""


@dataclass(frozen=True)
class Fault:
    """What happens to which process, and for how long."""

    sort: str
    name: str
    seconds: float

    @property
    def is_outage(self) -> bool:
        """Whether requests may fail meanwhile."""
        return self.name in NEEDED_TO_ANSWER

    def __str__(self) -> str:
        lasts = f" for {self.seconds:.1f} s" if self.sort in LASTING else ""
        return f"{self.sort} {self.name}{lasts}"


@dataclass(frozen=True)
class FaultSeries:
    """Makes one fault after the other, which `choose` draws, by `make` where supervisor doesn't know
    the process."""

    name: str
    choose: Callable[[random.Random], Fault]
    pauses: tuple[float, float]
    make: Callable[[Fault], None] | None = None


def all_series(database: str, *, pauses: tuple[float, float], has_long_faults: bool) -> list[FaultSeries]:
    """The series that run at once. SQLite has no clock of its own, so no worker's clock jumps there."""
    sides = [SHOP, [name for name in OUTSIDE if name != "mariadb" or database == "mariadb"]]
    found = [FaultSeries(names[0], partial(_choose, names=names), pauses) for names in sides]
    if has_long_faults:
        found.append(FaultSeries("slow gateway", _choose_slow, SLOW_PAUSES))
    if has_long_faults and database == "mariadb":
        found.append(FaultSeries("clock jump", _choose_jump, JUMP_PAUSES))
    return found


def broker_series(broker: RunningNode, *, pauses: tuple[float, float]) -> FaultSeries:
    """The faults of a RabbitMQ beside the stack. Nothing waits for it, so no request may fail."""
    return FaultSeries(BROKER, _choose_of_broker, pauses, make=partial(make_to_broker, broker))


def inject_until(
    ends_at: float, series: FaultSeries, *, instance: Instance, seed: str, seen: Observations
) -> int:
    """Run one series; returns how many faults it made. Prints a line for each."""
    chance, began = random.Random(f"{seed} {series.name}"), time.monotonic()
    count = 0
    while (left := ends_at - time.monotonic()) > 0:
        fault = series.choose(chance)
        fault = replace(fault, seconds=min(fault.seconds, left))
        fault_began, victims = time.monotonic(), _leaders(fault, instance)
        try:
            series.make(fault) if series.make else inject(fault, instance)
        except SetupError as error:
            seen.record_finding(f"{fault}: {error}")
        waited = seconds_until_ready(instance, without=victims)
        if fault.is_outage:
            seen.record_outage(fault_began, time.monotonic() + BREAKER_SECONDS)
        if waited is None:
            seen.record_finding(f"not ready {PATIENCE_SECONDS} s after: {fault}")
        else:
            print(f"{fault_began - began:6.1f} s  {fault}; ready after {waited:.1f} s", flush=True)
        count += 1
        time.sleep(min(max(ends_at - time.monotonic(), 0), chance.uniform(*series.pauses)))
    return count


def _choose(chance: random.Random, names: Sequence[str]) -> Fault:
    sort, name = chance.choices(list(SORTS), list(SORTS.values()))[0], chance.choice(names)
    seconds = chance.uniform(*(LONG_SECONDS if chance.random() < SHARE_OF_LONG else SHORT_SECONDS))
    if (sort == "flush" and name != "redis") or (sort == "down" and name == WEB_PROCESS):
        sort = "kill"
    return Fault(sort, name, seconds)


def _choose_slow(chance: random.Random) -> Fault:
    return Fault("slow", "gateway", chance.uniform(*SLOW_SECONDS))


def _choose_jump(chance: random.Random) -> Fault:
    return Fault("jump", "the clock of a second worker", chance.uniform(*JUMP_SECONDS))


def _choose_of_broker(chance: random.Random) -> Fault:
    seconds = chance.uniform(*(LONG_SECONDS if chance.random() < SHARE_OF_LONG else SHORT_SECONDS))
    return Fault(chance.choice(("kill", "freeze", "down")), BROKER, seconds)


def make_to_broker(broker: RunningNode, fault: Fault) -> None:
    """Make the fault to a RabbitMQ beside the stack, and undo it."""
    if fault.sort == "freeze":
        broker.freeze()
    else:
        broker.kill()
    if fault.sort in LASTING:
        time.sleep(fault.seconds)
    broker.thaw()


def inject(fault: Fault, instance: Instance) -> None:
    """Make the fault, and undo what does not undo itself."""
    if fault.sort == "kill":
        process_identity.kill(_pids(fault.name, instance))
    elif fault.sort == "flush":
        _flush(instance)
    else:
        with lasting(fault, instance):
            time.sleep(fault.seconds)


@contextmanager
def lasting(fault: Fault, instance: Instance) -> Iterator[None]:
    """The fault is there inside the block."""
    with LASTING[fault.sort](fault.name, instance):
        yield


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
    _control_gateway(instance, "POST", json.dumps({"ms": SLOW_MS}))
    try:
        yield
    finally:
        _control_gateway(instance, "DELETE")


def _control_gateway(instance: Instance, method: str, body: str | None = None) -> None:
    """Change the gateway's latency, once it answers: it may be killed, frozen or down. Raises SetupError."""

    def is_taken() -> bool:
        with suppress(OSError):
            return readiness.ask(instance.gateway_port, method, "/latency", body)[0] == 200
        return False

    late = f"the gateway took no {method} /latency for {PATIENCE_SECONDS} s"
    waiting.until(is_taken, late, within_seconds=PATIENCE_SECONDS)


NO_VICTIMS: Mapping[str, int] = {}
LASTING: Mapping[str, Callable[[str, Instance], AbstractContextManager[None]]] = {
    "freeze": _frozen,
    "down": _kept_down,
    "slow": _slowed,
    **kinds.LASTING,
}
"""Faults that last until they are undone."""


def _flush(instance: Instance) -> None:
    with suppress(RedisError), Redis(unix_socket_path=str(instance.redis_socket)) as redis:
        redis.flushall()


def _pids(name: str, instance: Instance) -> set[int]:
    """The process of that name, or the youngest of web's own; none while it is starting."""
    leader = process_identity.leader_of(instance.run, "web" if name == WEB_PROCESS else name)
    if leader is None or name != WEB_PROCESS:
        return {leader} if leader else set()
    children = process_identity.group_of(instance.run, "web") - {leader}
    return {max(children)} if children else set()


def seconds_until_ready(
    instance: Instance, *, without: Mapping[str, int] = NO_VICTIMS, within_seconds: float | None = None
) -> float | None:
    """How long the shop takes to say that it is ready again; None when it does not.

    Processes that were killed have to be replaced first, and the partner, of which the shop's readiness says
    nothing, has to answer: `without` has their former ids by name. It waits for `PATIENCE_SECONDS` at most,
    unless another time is given.
    """
    started, patience = time.monotonic(), PATIENCE_SECONDS if within_seconds is None else within_seconds
    while (waited := time.monotonic() - started) < patience:
        with suppress(OSError):
            is_replaced = all(_is_replaced(name, pid, instance) for name, pid in without.items())
            if is_replaced and readiness.ask(instance.port, "GET", "/readyz")[0] == 200:
                return waited
        time.sleep(0.1)
    return None


def _leaders(fault: Fault, instance: Instance) -> dict[str, int]:
    """The process that the fault is about to kill, by its name; web's own children it replaces by itself."""
    leader = process_identity.leader_of(instance.run, fault.name)
    return {fault.name: leader} if leader and fault.sort in ("kill", "down") else {}


def _is_replaced(name: str, pid: int, instance: Instance) -> bool:
    """Whether another process has its place, and answers. Raises OSError while the partner does not."""
    if name == "partner" and readiness.ask(instance.partner_port, "GET", "/healthz")[0] != 200:
        return False
    return process_identity.leader_of(instance.run, name) not in (None, pid)
