"""Time, ids and chance of a simulated run, which come from its seed alone.

`install` replaces them in the standard library before Django and the shop are imported. No thread is started:
those that the shop would start renew leases and count metrics beside its work.
"""

import random
import secrets
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

import django.utils.timezone
import uuid_utils.compat

BEGINNING = 1_900_000_000.0
"""The time at which each run begins, in seconds since the epoch."""


@dataclass
class Chance:
    """The time and the random numbers of the present run."""

    random: Random = field(default_factory=Random)
    seconds: float = BEGINNING

    def begin(self, seed: str) -> None:
        self.random.seed(seed)
        self.seconds = BEGINNING

    def pass_time(self, seconds: float) -> None:
        self.seconds += max(0.0, seconds)

    def bits(self, count: int) -> int:
        return self.random.getrandbits(count)


chance = Chance()


def install() -> None:
    """Replace the sources of time and chance of this process, for good."""
    replaced: dict[Any, dict[str, Any]] = {
        time: {
            "time": lambda: chance.seconds,
            "monotonic": lambda: chance.seconds,
            "sleep": chance.pass_time,
        },
        django.utils.timezone: {"now": lambda: datetime.fromtimestamp(chance.seconds, UTC)},
        uuid: {"uuid4": lambda: uuid.UUID(int=chance.bits(128), version=4)},
        uuid_utils.compat: {"uuid7": _uuid7},
        secrets: {
            "token_hex": lambda length=32: f"{chance.bits(length * 8):0{length * 2}x}",
            "token_bytes": lambda length=32: chance.bits(length * 8).to_bytes(length, "big"),
            "randbelow": lambda bound: chance.random.randrange(bound),
            "choice": lambda of: chance.random.choice(of),
        },
        threading.Thread: {"start": lambda thread: None},
        random: {
            "uniform": lambda low, high: chance.random.uniform(low, high),
            "random": lambda: chance.random.random(),
        },
    }
    for module, functions in replaced.items():
        for name, function in functions.items():
            setattr(module, name, function)


def _uuid7() -> uuid.UUID:
    """As RFC 9562 has it: 48 bits of milliseconds, then random bits."""
    rest = chance.bits(74)
    high = int(chance.seconds * 1000) << 80 | 0x7 << 76 | rest >> 62 << 64
    return uuid.UUID(int=high | 0b10 << 62 | rest & (1 << 62) - 1)
