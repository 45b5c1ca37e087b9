"""The world of a simulated run: time, ids and chance that come from its seed."""

import random
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import django.utils.timezone
import uuid_utils.compat
from django.db import OperationalError, connection

BEGINNING = 1_900_000_000.0  # The time at which each run begins, in seconds since the epoch
SERVER_LOST = 2013


# A change of any figure below, or of an order, changes what every seed draws.
class SECONDS:
    """How long things take: a number, or the least and the most."""

    step = (0.001, 0.05)
    jump = (5.0, 900.0)  # ahead: leases lapse, orders expire
    late_message = (1.0, 120.0)
    batch = 0.02  # from one batch of sagas to the next
    redis_serves = (2.0, 20.0)
    redis_is_away = (0.5, 6.0)
    slow_call = 2.9  # of the gateway or a partner, whose reply is lost
    # Until the owner of a card acts, or a charge is refunded or disputed at the gateway: one of these, drawn
    # alike.
    owner_acts = ((0.05, 5.0), (5.0, 50.0), (50.0, 300.0))
    healing = 40.0  # after so long the sweep takes every code and slot back that a crash left in flight


class SHARES:
    """How often things happen, or go wrong; of calls that are lost the share on their way there, and back."""

    jumps = 0.004  # of steps
    switches = 0.3  # of waits of a process: others run meanwhile
    crashes = 0.03  # of tasks: their process is killed
    lost_commits = 0.02  # of tasks
    crashes_of_sagas = 0.004  # of failpoints
    lost_messages = 0.05
    doubled_messages = 0.05
    late_messages = 0.05
    lost_calls_of_redis = (0.004, 0.004)
    lost_calls = (0.06, 0.06)  # of the gateway and receivers
    lost_calls_of_partners = (0.03, 0.06)
    not_reached = 0.05  # partners
    refused_codes = 0.05  # by partners
    meddling = 0.3  # of charges: refunded or disputed at the gateway
    kept_orders = 0.4  # of payments: the order is kept if the card is declined
    coupons = 0.5  # of orders
    large_grants = 0.4  # above the limit of one operator
    invented_references = 0.3  # of forced charges


class MOST:
    steps = 600
    steps_to_settle = 8_000
    own_payments = 2  # that the web process advances at a time, in half of its lives
    statements = 40  # of a task until its process is killed
    nested = 3  # processes that wait within one another
    tickets = 4  # of a batch: few, so that other processes work between two batches of a queue


class Crash(BaseException):
    """The present process is killed: no code handles it, and its transaction is rolled back."""


class Chance(random.Random):
    """The random numbers and the time of the present run, and the faults of its present process."""

    seconds = BEGINNING
    is_faulty = False
    # After so many statements and calls of Redis it is killed; None for one that isn't.
    left: int | None = None
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
        drawn = self.draw()
        request, reply = lost
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
