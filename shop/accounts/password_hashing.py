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
AT_ONCE = min(2, thread_budget.OURS.hashing)
IN_LINE = thread_budget.OURS.hashing - AT_ONCE
OF_ONE = 2
WAIT_SECONDS = 5.0


class Standing(IntEnum):
    """How well the one who asks is known; the better ones go first."""

    STRANGER = 0
    KNOWN = 1
    OPERATOR = 2


ROOM = {
    Standing.STRANGER: AT_ONCE + IN_LINE // 2,
    Standing.KNOWN: AT_ONCE + IN_LINE * 3 // 4,
    Standing.OPERATOR: AT_ONCE + IN_LINE,
}
"""So many may be inside, running and in line, when one of this standing comes."""


@dataclass(slots=True, eq=False)
class _Turn:
    """One in line; whoever gives it a place sets `may_go`."""

    standing: Standing
    may_go: threading.Event = field(default_factory=threading.Event)


_mutex = threading.Lock()
_inside: Counter[str] = Counter()
_running = 0
_waiting: list[_Turn] = []


def _stranger() -> Standing:
    return Standing.STRANGER


@contextmanager
def place(of: str, standing: Callable[[], Standing] = _stranger) -> Iterator[None]:
    """Hold a place of this network or operator while the block hashes.

    `standing` is asked only when the strangers' part of the line is full. Raises `Overloaded` when there is
    no room, or no turn within `WAIT_SECONDS`.
    """
    turn = _Turn(_enter(of, standing))
    try:
        _wait(turn)
        try:
            yield
        finally:
            _hand_on()
    finally:
        with _mutex:
            _inside[of] -= 1
            if not _inside[of]:
                del _inside[of]


def inside() -> int:
    """How many hash or wait for it."""
    with _mutex:
        return _inside.total()


def _enter(of: str, standing: Callable[[], Standing]) -> Standing:
    """Take room in the line; the standing that it was taken with."""
    if _took_room(of, Standing.STRANGER):
        return Standing.STRANGER
    known = standing()
    if not _took_room(of, known):
        raise Overloaded("Too many passwords are being checked; nothing was done.")
    return known


def _took_room(of: str, standing: Standing) -> bool:
    with _mutex:
        inside = _inside.total()
        if _inside[of] >= OF_ONE or inside >= max(ROOM.values()):
            raise Overloaded("Too many passwords are being checked; nothing was done.")
        if inside >= ROOM[standing]:
            return False
        _inside[of] += 1
        return True


def _wait(turn: _Turn) -> None:
    """Until a place is this one's."""
    global _running
    with _mutex:
        if _running < AT_ONCE:
            _running += 1
            return
        _waiting.append(turn)
    if turn.may_go.wait(WAIT_SECONDS):
        return
    with _mutex:
        if turn in _waiting:
            _waiting.remove(turn)
            raise Overloaded("The request waited too long for a password's check; nothing was done.")


def _hand_on() -> None:
    """Give the place straight to the next in line, lest somebody who just came takes it."""
    global _running
    with _mutex:
        if not _waiting:
            _running -= 1
            return
        following = max(_waiting, key=lambda turn: turn.standing)
        _waiting.remove(following)
        following.may_go.set()
