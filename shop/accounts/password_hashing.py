"""Limits how many passwords are hashed at once, and for which clients.

A hash costs a third of a second of a processor, so few run at once, few wait, and further ones are refused at
once. One network, or one signed-in operator, holds only a few slots. Strangers may use half of the queue;
the next quarter is reserved for clients that have signed in to the account from that network, the last
quarter for operators among them. So a client that uses up its share blocks no other client. Anyone can become
known by registering and signing in, but not become an operator.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum

from shop.concurrency import thread_budget
from shop.errors import Overloaded
from shop.lazy_texts import mark as _

# More at once would leave buyers without processors and threads.
MAX_CONCURRENT = min(2, thread_budget.PROCESS_SHARES.hashing)
MAX_QUEUED = thread_budget.PROCESS_SHARES.hashing - MAX_CONCURRENT
MAX_PER_CLIENT = 2
WAIT_SECONDS = 5.0


class TrustLevel(IntEnum):
    """How well the client is known; higher levels go first."""

    STRANGER = 0
    KNOWN = 1
    OPERATOR = 2


CAPACITY_BY_TRUST_LEVEL = {
    TrustLevel.STRANGER: MAX_CONCURRENT + MAX_QUEUED // 2,
    TrustLevel.KNOWN: MAX_CONCURRENT + MAX_QUEUED * 3 // 4,
    TrustLevel.OPERATOR: MAX_CONCURRENT + MAX_QUEUED,
}
"""How many requests may be running and queued when one of this level arrives."""


@dataclass(slots=True, eq=False)
class _QueuedRequest:
    """A queued request; the thread that grants it a slot sets `slot_granted`."""

    trust_level: TrustLevel
    slot_granted: threading.Event = field(default_factory=threading.Event)


_mutex = threading.Lock()
_active_by_client: Counter[str] = Counter()
_running = 0
_waiting: list[_QueuedRequest] = []


def _lowest_trust_level() -> TrustLevel:
    return TrustLevel.STRANGER


@contextmanager
def acquire_slot(client: str, trust_level: Callable[[], TrustLevel] = _lowest_trust_level) -> Iterator[None]:
    """Hold a slot for this network or operator while the block hashes.

    `trust_level` is called only when the strangers' share of the queue is full. Raises `Overloaded` if the
    queue is full, or if no slot is free within `WAIT_SECONDS`.
    """
    request = _QueuedRequest(_reserve_capacity(client, trust_level))
    try:
        _wait_for_slot(request)
        try:
            yield
        finally:
            _pass_slot_on()
    finally:
        with _mutex:
            _active_by_client[client] -= 1
            if not _active_by_client[client]:
                del _active_by_client[client]


def active_count() -> int:
    """How many requests hash a password or wait to."""
    with _mutex:
        return _active_by_client.total()


def _reserve_capacity(client: str, trust_level: Callable[[], TrustLevel]) -> TrustLevel:
    """Reserve a slot in the queue; return the trust level it was reserved with."""
    if _try_reserve_capacity(client, TrustLevel.STRANGER):
        return TrustLevel.STRANGER
    level = trust_level()
    if not _try_reserve_capacity(client, level):
        raise Overloaded(_("Too many passwords are being checked; nothing was done."))
    return level


def _try_reserve_capacity(client: str, trust_level: TrustLevel) -> bool:
    with _mutex:
        active_count = _active_by_client.total()
        if _active_by_client[client] >= MAX_PER_CLIENT or active_count >= max(
            CAPACITY_BY_TRUST_LEVEL.values()
        ):
            raise Overloaded(_("Too many passwords are being checked; nothing was done."))
        if active_count >= CAPACITY_BY_TRUST_LEVEL[trust_level]:
            return False
        _active_by_client[client] += 1
        return True


def _wait_for_slot(request: _QueuedRequest) -> None:
    """Block until the request has a slot."""
    global _running
    with _mutex:
        if _running < MAX_CONCURRENT:
            _running += 1
            return
        _waiting.append(request)
    if request.slot_granted.wait(WAIT_SECONDS):
        return
    with _mutex:
        if request in _waiting:
            _waiting.remove(request)
            raise Overloaded(_("The request waited too long for a password's check; nothing was done."))


def _pass_slot_on() -> None:
    """Grant the slot directly to the next queued request, so that no later one takes it."""
    global _running
    with _mutex:
        if not _waiting:
            _running -= 1
            return
        next_request = max(_waiting, key=lambda request: request.trust_level)
        _waiting.remove(next_request)
        next_request.slot_granted.set()
