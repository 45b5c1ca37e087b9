"""The Redis of a simulated run: fakeredis in this process, by the simulated time, with faults of its own.

Its scripts run in a real Lua, and `TIME` and time-outs follow the simulated clock. Each call may be lost on
its way there, or back; now and then the server is away, loses all keys, or comes back with earlier ones.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import fakeredis
from redis import Redis
from redis.exceptions import ConnectionError, TimeoutError

from lab.simulation import faults
from lab.simulation.determinism import chance
from shop.outbound.circuit_breaker import CircuitBreaker
from shop.redis import redis_client

T = TypeVar("T")
VERSION = (6, 2)
"""The oldest that the shop runs on."""
LOST_REQUEST, LOST_REPLY = 0.004, 0.008
"""How often a call is lost on its way there, or back."""
PAUSE_SECONDS, AWAY_SECONDS = (2.0, 20.0), (0.5, 6.0)
usual_attempt = redis_client.attempt


class Server:
    """One run's Redis. Each process has a client of its own, whose circuit breaker is its own too."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._server = fakeredis.FakeServer(version=VERSION)
        # Scripts get replies as in RESP2, whatever the connection's protocol is.
        self.client: Redis = fakeredis.FakeStrictRedis(server=self._server, protocol=2)
        self._note = note
        self._breakers: dict[str, CircuitBreaker] = {}
        self._kept: dict[Any, tuple[int, Any]] = {}
        self.is_faulty = True

    def attempt(self, process: str, call: Callable[[Redis], T], otherwise: T) -> T:
        """`redis_client.attempt` of this process, with faults by chance."""
        if process not in self._breakers:
            self._breakers[process] = CircuitBreaker("redis")
        redis_client._breaker = self._breakers[process]
        return usual_attempt(partial(self._call, call), otherwise=otherwise)

    def forget(self, process: str) -> None:
        """What a process knew of Redis ends with it."""
        self._breakers.pop(process, None)

    def break_by_chance(self) -> float:
        """Make a fault of the whole server, or end it; returns in how many seconds the next one is due."""
        if not self._server.connected:
            self._server.connected = True
            self._note("redis is back")
        else:
            fault = chance.random.choice([self._stop, self._flush, self._keep, self._bring_back])
            fault()
        return chance.random.uniform(*(PAUSE_SECONDS if self._server.connected else AWAY_SECONDS))

    def repair(self) -> None:
        """No more faults from now on."""
        self.is_faulty, self._server.connected = False, True

    def _call(self, call: Callable[[Redis], T], client: Redis) -> T:
        faults.count_call()
        drawn = chance.random.random() if self.is_faulty else 1.0
        if drawn < LOST_REQUEST:
            raise ConnectionError("lost")
        result = call(client)
        faults.count_call()
        if drawn < LOST_REPLY:
            raise TimeoutError("the reply is lost")
        return result

    def _stop(self) -> None:
        self._note("redis is away")
        self._server.connected = False

    def _flush(self) -> None:
        self._note("redis loses all keys")
        self.client.flushall()

    def _keep(self) -> None:
        self._note("redis keeps its keys")
        self._kept = {
            key: (max(0, self.client.pttl(key)), self.client.dump(key)) for key in sorted(self.client.keys())
        }

    def _bring_back(self) -> None:
        self._note("redis comes back with old keys")
        self.client.flushall()
        for key, (milliseconds, value) in self._kept.items():
            self.client.restore(key, milliseconds, value)
