"""How passwords are hashed, and whose turn it is: a few at once, the others in a queue that holds no thread.

A hash costs some 30 ms of a processor, so few run at once. The levels of trust take turns; one at which
nobody waits leaves its turn to the best-known clients. Within a level the networks do. A full queue refuses
the newest request of the network that has most of them.

Passwords are hashed in NFC, because systems send the same letters whole or in parts, such as those of Hangul.
"""

import asyncio
from asyncio import Future, _get_running_loop as running_loop
from collections import deque
from collections.abc import Awaitable, Callable
from enum import IntEnum
from itertools import cycle
from typing import TypeVar

from django.contrib.auth.hashers import Argon2PasswordHasher

from foundation.concurrency import event_loop
from foundation.concurrency.thread_pool import ThreadPool
from foundation.errors import Overloaded
from foundation.lazy_texts import Text, mark
from foundation.normalization import normalized
from foundation.rates import throttling

Outcome = TypeVar("Outcome")
Turn = Future[None]
# More at once would leave buyers without processors. Threads of a low priority would starve beside readers.
MAX_CONCURRENT = 2
MAX_QUEUED = 2_000
MAX_BODY_BYTES = 8 * 1024
"""Of a form of the admin with a password, which keeps its body while it waits."""
WAIT_SECONDS = 20.0
TOO_MANY = mark("Too many passwords are being checked; nothing was done.")
TOO_LATE = mark("The request waited too long for a password's check; nothing was done.")
HASHING_POOL = ThreadPool("hashing", threads=MAX_CONCURRENT, max_waiting=MAX_QUEUED)
"""Runs what hashes a password, with all that is read and written for it."""


class Argon2Hasher(Argon2PasswordHasher):
    """Argon2id with the parameters that OWASP's cheat sheet recommends: 19 MiB, twice."""

    time_cost = 2
    memory_cost = 19_456
    parallelism = 1

    def encode(self, password: str, salt: str) -> str:
        return super().encode(normalized(password), salt)

    def verify(self, password: str, encoded: str) -> bool:
        return super().verify(normalized(password), encoded)


class TrustLevel(IntEnum):
    """How well the client is known."""

    STRANGER = 0
    KNOWN = 1
    OPERATOR = 2


# Used on the event loop alone. By level, the highest first, and by network, the one whose turn is next first.
_waiting: dict[TrustLevel, dict[str, deque[Turn]]] = {level: {} for level in sorted(TrustLevel, reverse=True)}
_levels_in_turn = cycle(_waiting)
_running = 0


async def run_in_turn(
    function: Callable[[], Outcome],
    *,
    address: str,
    trust_level: Callable[[], Awaitable[TrustLevel]] | None = None,
) -> Outcome:
    """Call a function that hashes a password, in a thread for that, once it is the turn of this network.

    An office, or a customer of a provider, may have all addresses of a network: a /24, in IPv6 a /48.
    `trust_level` is called only if the request has to wait. Raises what the function raises, and `Overloaded`
    if the queue is full, or after `WAIT_SECONDS`. Without an event loop the function is called at once.
    """
    if running_loop() is None:
        return function()
    level = await trust_level() if trust_level and _running >= MAX_CONCURRENT else TrustLevel.STRANGER
    await _wait_for_turn(throttling.network_of_address(address, ipv4_bits=24, ipv6_bits=48), level)
    try:
        return await event_loop.run_in_thread(function, pool=HASHING_POOL)
    finally:
        _pass_turn_on()


def queued_count() -> int:
    """How many requests wait for their turn."""
    return sum(len(turns) for by_network in _waiting.values() for turns in by_network.values())


async def _wait_for_turn(network: str, trust_level: TrustLevel) -> None:
    global _running
    if _running < MAX_CONCURRENT:
        _running += 1
        return
    if queued_count() >= MAX_QUEUED:
        _make_room(network, trust_level)
    loop = asyncio.get_running_loop()
    turn: Turn = loop.create_future()
    _waiting[trust_level].setdefault(network, deque()).append(turn)
    timer = loop.call_later(WAIT_SECONDS, _refuse, turn, TOO_LATE)
    try:
        await turn
    except asyncio.CancelledError:
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            # It was this request's turn at the moment in which it was cancelled.
            _pass_turn_on()
        raise
    finally:
        timer.cancel()
        turns = _waiting[trust_level].get(network, ())
        if turn in turns:
            _take_turn(trust_level, network, turns.index(turn))


def _pass_turn_on() -> None:
    """Give the turn that ends directly to the next request, so that no later one takes it."""
    global _running
    for trust_level in (next(_levels_in_turn), *_waiting):
        by_network = _waiting[trust_level]
        while by_network:
            network = next(iter(by_network))
            turn = _take_turn(trust_level, network, 0)
            if network in by_network:
                # Now the other networks come first.
                by_network[network] = by_network.pop(network)
            if not turn.done():
                turn.set_result(None)
                return
    _running -= 1


def _take_turn(trust_level: TrustLevel, network: str, index: int) -> Turn:
    """Remove one of the network's requests from the queue."""
    turns = _waiting[trust_level][network]
    turn = turns[index]
    del turns[index]
    if not turns:
        del _waiting[trust_level][network]
    return turn


def _make_room(network: str, trust_level: TrustLevel) -> None:
    """Refuse the newest request of the network with most of them; or else this one.

    It is a network of the level with most requests, the lowest of equals. If that is the level of this one,
    it is refused if that network is its own, or has no more requests than it.
    """
    crowded = max(reversed(_waiting), key=lambda level: sum(map(len, _waiting[level].values())))
    by_network = _waiting[crowded]
    largest = max(by_network, key=lambda name: len(by_network[name]))
    own_count = len(by_network.get(network, ()))
    if crowded == trust_level and (network == largest or len(by_network[largest]) <= own_count + 1):
        raise Overloaded(TOO_MANY)
    _refuse(_take_turn(crowded, largest, -1), TOO_MANY)


def _refuse(turn: Turn, why: Text) -> None:
    if not turn.done():
        turn.set_exception(Overloaded(why))
