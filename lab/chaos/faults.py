"""Faults of one stack: processes killed, frozen and kept down, Redis emptied, a slow gateway; and `kinds`."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from lab.chaos import calls
from lab.chaos.calls import Call
from lab.chaos.campaigns import kinds
from scripts.stack import SetupError, children, ports, supervision, waiting
from scripts.stack.instance import Instance
from scripts.stack.rabbitmq import RunningNode

WEB_PROCESS = "web-process"
"""The youngest of web's children, which answer the requests; supervisor does not know them."""
BROKER = "rabbitmq"
"""A RabbitMQ beside the stack; supervisor does not know it. Nothing waits for it, so no request may fail."""
SLOW_MS = 2600
"""What each call to a slow gateway takes: the shop waits 3 s for it. A saga's step may make several."""
PATIENCE_SECONDS = 60
"""How long the shop may take to be ready again, while other faults go on."""
REPLACING = ("kill", "down", "old data for")
"""Sorts of faults after which another process is there."""

Often = int | tuple[int, float, float]
Faults = dict[str, Often]
"""Of each sort and process, as `down redis`, how often it is made; and from and to how many seconds it lasts,
where that isn't the usual."""


@dataclass(frozen=True)
class Fault:
    """What happens to which process, and for how long."""

    sort: str
    name: str
    seconds: float

    def __str__(self) -> str:
        lasts = f" for {self.seconds:.1f} s" if self.sort in LASTING else ""
        return f"{self.sort} {self.name}{lasts}"

    def at_most(self, seconds: float) -> "Fault":
        return replace(self, seconds=min(self.seconds, seconds))


def drawn(what: str, often: Often, chance: random.Random, usual: tuple[float, float]) -> Fault:
    """One of these faults."""
    sort, _, name = what.rpartition(" ")
    return Fault(sort, name, chance.uniform(*(often[1:] if isinstance(often, tuple) else usual)))


def make(fault: Fault, instance: Instance, broker: RunningNode | None) -> None:
    """Make the fault, and undo what does not undo itself. Raises SetupError."""
    if broker and fault.name == BROKER:
        broker.freeze() if fault.sort == "freeze" else broker.kill()
        time.sleep(fault.seconds if fault.sort in LASTING else 0)
        broker.thaw()
    elif fault.sort == "kill":
        children.kill(_pids(fault.name, instance))
    elif fault.sort == "flush":
        with suppress(RedisError), Redis(unix_socket_path=str(instance.redis_socket)) as redis:
            redis.flushall()
    else:
        with lasting(fault, instance):
            time.sleep(fault.seconds)


def wait_until_ready(fault: Fault, leader: int | None, instance: Instance, within_seconds: float) -> float:
    """How long the shop takes to be ready again after a fault, whose process had this id before.

    What was killed has to be replaced first; so does the partner, of which the shop's readiness says nothing,
    and it has to answer. Raises SetupError.
    """
    asked = [(instance.port, "/readyz")]
    asked += [(instance.partner_port, "/healthz")] if fault.name == "partner" else []

    def is_ready() -> bool:
        now = children.leader_of(instance.run, fault.name)
        is_replaced = not leader or fault.sort not in REPLACING or now not in (None, leader)
        with suppress(OSError):
            return is_replaced and all(ports.ask(port, "GET", path)[0] == 200 for port, path in asked)
        return False

    began, late = time.monotonic(), f"the shop was not ready {within_seconds} s later"
    waiting.until(is_ready, late, within_seconds=within_seconds)
    return time.monotonic() - began


def lasting(fault: Fault, instance: Instance) -> AbstractContextManager[None]:
    """The fault is there inside the block."""
    return LASTING[fault.sort](fault.name, instance)


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
    gateway = calls.to_gateway(instance.gateway_port)

    def control(method: str, body: Any = None) -> None:
        # It may be killed, frozen or down: then it is asked again.
        call = Call(method, "/latency", "", body)
        answer = gateway.call_until_final(call, until=time.monotonic() + PATIENCE_SECONDS)
        if answer.status != 200:
            raise SetupError(f"{method} /latency is answered {answer}")

    control("POST", {"ms": SLOW_MS})
    try:
        yield
    finally:
        control("DELETE")


LASTING: Mapping[str, Callable[[str, Instance], AbstractContextManager[None]]] = {
    "freeze": lambda name, instance: children.frozen(_pids(name, instance)),
    "down": _kept_down,
    "slow": _slowed,
    **kinds.LASTING,
}
"""Faults that last until they are undone."""


def _pids(name: str, instance: Instance) -> set[int]:
    """The process of that name; none while it is starting."""
    leader = children.leader_of(instance.run, "web" if name == WEB_PROCESS else name)
    if leader is None or name != WEB_PROCESS:
        return {leader} if leader else set()
    answering = children.group_of(instance.run, "web") - {leader}
    return {max(answering)} if answering else set()
