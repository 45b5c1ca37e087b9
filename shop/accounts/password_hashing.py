"""Who may hash a password, and when.

A hash costs a third of a second of a processor, so few run at once and few wait, and who wants more is told
at once. One network, or one signed-in operator, has few of these places. Strangers have half of the line:
the next quarter is kept for those known to sign in to the account from there, the last one for operators
among them. A client that fills its share keeps nobody else out, and anybody may open an account, sign in and
so be known, but not as an operator.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum

from shop.concurrency import thread_budget
from shop.errors import Overloaded

# More at once than these would leave buyers neither processors nor threads.
MAX_CONCURRENT = min(2, thread_budget.PROCESS_SHARES.hashing)
MAX_QUEUED = thread_budget.PROCESS_SHARES.hashing - MAX_CONCURRENT
MAX_PER_CLIENT = 2
WAIT_SECONDS = 5.0


class TrustLevel(IntEnum):
    """How well the one who asks is known; the better ones go first."""

    STRANGER = 0
    KNOWN = 1
    OPERATOR = 2


CAPACITY_BY_TRUST_LEVEL = {
    TrustLevel.STRANGER: MAX_CONCURRENT + MAX_QUEUED // 2,
    TrustLevel.KNOWN: MAX_CONCURRENT + MAX_QUEUED * 3 // 4,
    TrustLevel.OPERATOR: MAX_CONCURRENT + MAX_QUEUED,
}
"""So many may be inside, running and in line, when one of this standing comes."""


@dataclass(slots=True, eq=False)
class _QueuedRequest:
    """One in line; whoever gives it a place sets `slot_granted`."""

    trust_level: TrustLevel
    slot_granted: threading.Event = field(default_factory=threading.Event)


_mutex = threading.Lock()
_active_by_client: Counter[str] = Counter()
_running = 0
_waiting: list[_QueuedRequest] = []


def _lowest_trust_level() -> TrustLevel:
    return TrustLevel.STRANGER


@contextmanager
def acquire_slot(of: str, trust_level: Callable[[], TrustLevel] = _lowest_trust_level) -> Iterator[None]:
    """Hold a place of this network or operator while the block hashes.

    `standing` is asked only when the strangers' part of the line is full. Raises `Overloaded` when there is
    no room, or no turn within `WAIT_SECONDS`.
    """
    turn = _QueuedRequest(_reserve_capacity(of, trust_level))
    try:
        _wait_for_slot(turn)
        try:
            yield
        finally:
            _pass_slot_on()
    finally:
        with _mutex:
            _active_by_client[of] -= 1
            if not _active_by_client[of]:
                del _active_by_client[of]


def active_count() -> int:
    """How many hash or wait for it."""
    with _mutex:
        return _active_by_client.total()


def _reserve_capacity(of: str, trust_level: Callable[[], TrustLevel]) -> TrustLevel:
    """Take room in the line; the standing that it was taken with."""
    if _try_reserve_capacity(of, TrustLevel.STRANGER):
        return TrustLevel.STRANGER
    known = trust_level()
    if not _try_reserve_capacity(of, known):
        raise Overloaded("Too many passwords are being checked; nothing was done.")
    return known


def _try_reserve_capacity(of: str, trust_level: TrustLevel) -> bool:
    with _mutex:
        active_count = _active_by_client.total()
        if _active_by_client[of] >= MAX_PER_CLIENT or active_count >= max(CAPACITY_BY_TRUST_LEVEL.values()):
            raise Overloaded("Too many passwords are being checked; nothing was done.")
        if active_count >= CAPACITY_BY_TRUST_LEVEL[trust_level]:
            return False
        _active_by_client[of] += 1
        return True


def _wait_for_slot(turn: _QueuedRequest) -> None:
    """Until a place is this one's."""
    global _running
    with _mutex:
        if _running < MAX_CONCURRENT:
            _running += 1
            return
        _waiting.append(turn)
    if turn.slot_granted.wait(WAIT_SECONDS):
        return
    with _mutex:
        if turn in _waiting:
            _waiting.remove(turn)
            raise Overloaded("The request waited too long for a password's check; nothing was done.")


def _pass_slot_on() -> None:
    """Give the place straight to the next in line, lest somebody who just came takes it."""
    global _running
    with _mutex:
        if not _waiting:
            _running -= 1
            return
        following = max(_waiting, key=lambda turn: turn.trust_level)
        _waiting.remove(following)
        following.slot_granted.set()
