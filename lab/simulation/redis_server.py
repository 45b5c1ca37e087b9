"""The Redis of a simulated run: fakeredis in this process, by the simulated time, with faults of its own.

Its scripts run in a real Lua, and `TIME` and time-outs follow the simulated clock.
"""

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import fakeredis
from redis import Redis
from redis.exceptions import ConnectionError, TimeoutError

from lab.simulation.chance import chance
from lab.simulation.faults import count_call
from shop.outbound.circuit_breaker import CircuitBreaker
from shop.redis import redis_client

T = TypeVar("T")
VERSION = (6, 2)
"""The oldest that the shop runs on."""
LOST_REQUEST, LOST_REPLY = 0.004, 0.008
"""How often a call is lost on its way there, or back."""
PAUSE_SECONDS, AWAY_SECONDS = (2.0, 20.0), (0.5, 6.0)
AWAY, EMPTY, KEEPS, OLD = "is away", "loses all keys", "keeps its keys", "comes back with old keys"
usual_attempt = redis_client.attempt


class Server:
    """One run's Redis. Each process has a circuit breaker of its own, which `breakers` has by name."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.server = fakeredis.FakeServer(version=VERSION)
        # Scripts get replies as in RESP2, whatever the connection's protocol is.
        self.client: Redis = fakeredis.FakeStrictRedis(server=self.server, protocol=2)
        self.breakers = defaultdict[str, CircuitBreaker](lambda: CircuitBreaker("redis"))
        self._note = note
        self._kept: dict[Any, tuple[int, Any]] = {}

    def attempt(self, process: str, call: Callable[[Redis], T], otherwise: T) -> T:
        """`redis_client.attempt` of this process, with faults by chance."""
        redis_client._breaker = self.breakers[process]
        return usual_attempt(partial(self._call, call), otherwise=otherwise)

    def break_by_chance(self) -> float:
        """Make a fault of the whole server, or end it; returns in how many seconds the next one is due."""
        fault = chance.choice([AWAY, EMPTY, KEEPS, OLD]) if self.server.connected else "is back"
        self._note(f"redis {fault}")
        self.server.connected = fault != AWAY
        if fault == KEEPS:
            keys = sorted(self.client.keys())
            self._kept = {key: (max(0, self.client.pttl(key)), self.client.dump(key)) for key in keys}
        if fault in (EMPTY, OLD):
            self.client.flushall()
        if fault == OLD:
            for key, (milliseconds, value) in self._kept.items():
                self.client.restore(key, milliseconds, value)
        return chance.uniform(*(PAUSE_SECONDS if self.server.connected else AWAY_SECONDS))

    def _call(self, call: Callable[[Redis], T], client: Redis) -> T:
        count_call()
        drawn = chance.draw()
        if drawn < LOST_REQUEST:
            raise ConnectionError("lost")
        result = call(client)
        count_call()
        if drawn < LOST_REPLY:
            raise TimeoutError("the reply is lost")
        return result
