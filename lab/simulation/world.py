"""The world of a simulated run: time, ids and chance that come from its seed."""

import random
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import django.utils.timezone
import uuid_utils.compat
from django.db import OperationalError, connection

from lab.tables import declared

BEGINNING = 1_900_000_000.0  # The time at which each run begins, in seconds since the epoch
SERVER_LOST = 2013
DECLARED = declared("lab/simulation/world.toml")
SECONDS, SHARES, MOST = (SimpleNamespace(**DECLARED[name]) for name in ("seconds", "shares", "most"))


class Crash(BaseException):
    """The present process is killed: no code handles it, and its transaction is rolled back."""


class Chance(random.Random):
    """The random numbers and the time of the present run, and the faults of its present process."""

    seconds = BEGINNING
    is_faulty = False
    left: int | None = None
    """After so many statements and calls of Redis it is killed; None for one that isn't."""
    lost = ""  # What of its next COMMIT is lost, the request or the reply, if anything

    def begin(self, seed: str) -> None:
        self.seed(seed)
        self.seconds = BEGINNING
        self.is_faulty = False

    def pass_time(self, seconds: float) -> None:
        self.seconds += max(0.0, seconds)

    def draw(self) -> float:
        """A number that is below the share of a fault where that is to happen."""
        if self.is_faulty:
            return self.random()
        return 1.0

    def count_call(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Crash

    @contextmanager
    def network(self, lost: Sequence[float], error: Any, slow: float = 0.0) -> Iterator[None]:
        """Around a call outside, whose request or reply is lost in such shares, the latter after a while."""
        drawn, (request, reply) = self.draw(), lost
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
        lost = chance.lost
        chance.lost = ""
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
