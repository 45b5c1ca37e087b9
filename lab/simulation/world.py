"""The world of a simulated run: time, ids and chance that come from its seed, and one task at a time."""

import hashlib
import heapq
import random
import secrets
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

import django.utils.timezone
import uuid_utils.compat
from django.db import OperationalError, connection

BEGINNING = 1_900_000_000.0
"""The time at which each run begins, in seconds since the epoch."""
SHORT_SECONDS, LONG_SECONDS, SHARE_OF_LONG = (0.001, 0.05), (5.0, 900.0), 0.004
"""How long a step takes, and how often the time jumps ahead: leases lapse, orders expire."""
SHARE_OF_CRASHES, SHARE_OF_LOST_COMMITS, LONGEST_LIFE = 0.03, 0.02, 40
"""Of tasks; a process that is killed is so after as many statements at most."""
SHARE_OF_SWITCHES, MOST_NESTED = 0.3, 3
"""How often others run while a process waits, and how many may wait within one another."""
SERVER_LOST = 2013


class Crash(BaseException):
    """The present process is killed: no code handles it, and its transaction is rolled back."""


class Chance(random.Random):
    """The random numbers and the time of the present run, and the faults of its present process."""

    seconds, is_faulty = BEGINNING, False
    left: int | None = None
    """After so many statements and calls of Redis it is killed; None for one that isn't."""
    lost = ""
    """What of its next COMMIT is lost, the request or the reply, if anything."""

    def begin(self, seed: str) -> None:
        self.seed(seed)
        self.seconds, self.is_faulty = BEGINNING, False

    def pass_time(self, seconds: float) -> None:
        self.seconds += max(0.0, seconds)

    def draw(self) -> float:
        """A number that is below the share of a fault where that is to happen."""
        return self.random() if self.is_faulty else 1.0

    def count_call(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Crash

    @contextmanager
    def network(self, request: float, reply: float, error: Any, slow: float = 0.0) -> Iterator[None]:
        """Around a call outside, whose request or reply is lost in such shares, the latter after a while."""
        drawn = self.draw()
        if drawn < request:
            raise error("the request is lost")
        yield
        if drawn < request + reply:
            self.pass_time(slow)
            raise error("the reply is lost")


chance = Chance()


def install() -> None:
    """Replace the sources of time and chance of this process, before the shop is imported.

    No thread starts: those of the shop would renew leases and count metrics beside its work.
    """

    def uuid7() -> uuid.UUID:
        # As RFC 9562 has it: 48 bits of milliseconds, then random bits.
        rest = chance.getrandbits(74)
        high = int(chance.seconds * 1000) << 80 | 0x7 << 76 | rest >> 62 << 64
        return uuid.UUID(int=high | 0b10 << 62 | rest & (1 << 62) - 1)

    replaced: list[tuple[Any, str, Callable[..., Any]]] = [
        (time, "time", lambda: chance.seconds),
        (time, "monotonic", lambda: chance.seconds),
        (time, "sleep", chance.pass_time),
        (django.utils.timezone, "now", lambda: datetime.fromtimestamp(chance.seconds, UTC)),
        (uuid, "uuid4", lambda: uuid.UUID(int=chance.getrandbits(128), version=4)),
        (uuid_utils.compat, "uuid7", uuid7),
        (secrets, "token_hex", lambda length=32: chance.randbytes(length).hex()),
        (secrets, "token_bytes", lambda length=32: chance.randbytes(length)),
        (secrets, "randbelow", chance.randrange),
        (secrets, "choice", chance.choice),
        (threading.Thread, "start", lambda thread: None),
        (random, "uniform", chance.uniform),
        (random, "random", chance.random),
    ]
    for of, name, by in replaced:
        setattr(of, name, by)


def install_faults() -> None:
    """Count every statement of this program, and have COMMITs be lost."""
    usual = connection.commit

    def commit() -> None:
        lost, chance.lost = chance.lost, ""
        if lost == "request":
            connection.rollback()
        else:
            usual()
        if lost:
            say_lost(lost)

    def counted(run: Callable[..., Any], *of: Any) -> Any:
        chance.count_call()
        return run(*of)

    connection.commit = commit  # type: ignore[method-assign]
    connection.execute_wrappers.append(counted)


def say_lost(what: str) -> None:
    """What the client of a lost COMMIT learns: not whether it was done."""
    raise OperationalError(SERVER_LOST, "Lost connection to server during query")


@dataclass
class Process:
    """A simulated process. Its tasks are dropped when it is killed, and `start` starts it again."""

    name: str
    start: Callable[["Process"], None] = lambda process: None
    incarnation: int = 0


Task = tuple[Process, int, str, Callable[[], Any]]
"""A process, its incarnation, a name and the work, which runs uninterrupted, if that process still lives."""


class World:
    """Tasks that can run, tasks that are due later, and the trace of what has run."""

    def __init__(self) -> None:
        self._runnable, self._later = list[Task](), list[tuple[float, int, Task]]()
        self._numbers = count()
        self._outside = self.present = Process("clients")
        self._nested = self.steps = 0
        self.trace, self.last = hashlib.sha256(), deque[str](maxlen=60)

    def note(self, text: str) -> None:
        self.last.append(f"{self.steps:5} {chance.seconds:.3f} {text}")
        self.trace.update(self.last[-1].encode() + b"\n")

    def submit(self, process: Process, name: str, run: Callable[[], Any], *, after: float = 0.0) -> None:
        """Have it run by this process, once so much time has passed."""
        task = (process, process.incarnation, name, run)
        if after > 0:
            heapq.heappush(self._later, (chance.seconds + after, next(self._numbers), task))
        else:
            self._runnable.append(task)

    def happen(self, name: str, run: Callable[[], Any], *between: float) -> None:
        """Have something outside of the shop happen, after so many seconds."""
        self.submit(self._outside, name, run, after=chance.uniform(*between))

    def step(self) -> None:
        """Run one task, the next that is due if none can run now; a task that waits keeps its faults."""
        if not self._runnable:
            chance.seconds = max(chance.seconds, self._later[0][0])
        while self._later and self._later[0][0] <= chance.seconds:
            self._runnable.append(heapq.heappop(self._later)[2])
        process, incarnation, name, run = self._runnable.pop(chance.randrange(len(self._runnable)))
        if process.incarnation == incarnation:
            self.steps += 1
            self.note(f"{process.name} {name}")
            faults, chance.left, chance.lost = (chance.left, chance.lost), None, ""
            if process is self._outside:
                run()
            else:
                self.run_as(process, run)
            chance.left, chance.lost = faults
        is_long = chance.random() < SHARE_OF_LONG
        chance.pass_time(chance.uniform(*(LONG_SECONDS if is_long else SHORT_SECONDS)))

    def run_as(self, process: Process, task: Callable[[], Any]) -> BaseException | None:
        """Run the task as the process, with faults by chance; an error, or the end of both, is noted."""
        before, self.present = self.present, process
        drawn = chance.draw()
        if drawn < SHARE_OF_CRASHES:
            chance.left = chance.randint(1, LONGEST_LIFE)
        elif drawn < SHARE_OF_CRASHES + SHARE_OF_LOST_COMMITS:
            chance.lost = "reply" if chance.random() < 0.5 else "request"
        try:
            task()
            return None
        except Exception as error:
            self.note(f"{process.name} failed: {type(error).__name__}: {str(error)[:80]}")
            return error
        except Crash as crash:
            self.note(f"{process.name} is killed")
            process.incarnation += 1
            process.start(process)
            return crash
        finally:
            self.present, chance.left, chance.lost = before, None, ""

    def let_others_run(self) -> None:
        """Run a task by chance while the present process waits; raises Crash if that ends it."""
        process, incarnation = self.present, self.present.incarnation
        is_free = self._nested < MOST_NESTED and not connection.in_atomic_block
        if not is_free or chance.draw() >= SHARE_OF_SWITCHES:
            return
        self._nested += 1
        try:
            # Its own context: what is bound to the waiting request's log lines and actor stays there.
            Context().run(self.step)
        finally:
            self._nested -= 1
            self.present = process
        if process.incarnation != incarnation:
            raise Crash
