"""Time, ids and chance of a simulated run, which come from its seed alone."""

import random
import secrets
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import django.utils.timezone
import uuid_utils.compat

BEGINNING = 1_900_000_000.0
"""The time at which each run begins, in seconds since the epoch."""


class Chance(random.Random):
    """The random numbers and the time of the present run, and whether its faults go on."""

    seconds, is_faulty = BEGINNING, False

    def begin(self, seed: str) -> None:
        self.seed(seed)
        self.seconds, self.is_faulty = BEGINNING, False

    def pass_time(self, seconds: float) -> None:
        self.seconds += max(0.0, seconds)

    def draw(self) -> float:
        """A number that is below the share of a fault where that is to happen."""
        return self.random() if self.is_faulty else 1.0


chance = Chance()


def install() -> None:
    """Replace the sources of time and chance of this process, before Django and the shop are imported.

    No thread starts: those of the shop would renew leases and count metrics beside its work.
    """
    replaced: dict[Any, dict[str, Any]] = {
        time: {
            "time": lambda: chance.seconds,
            "monotonic": lambda: chance.seconds,
            "sleep": chance.pass_time,
        },
        django.utils.timezone: {"now": lambda: datetime.fromtimestamp(chance.seconds, UTC)},
        uuid: {"uuid4": lambda: uuid.UUID(int=chance.getrandbits(128), version=4)},
        uuid_utils.compat: {"uuid7": _uuid7},
        secrets: {
            "token_hex": lambda length=32: f"{chance.getrandbits(length * 8):0{length * 2}x}",
            "token_bytes": lambda length=32: chance.getrandbits(length * 8).to_bytes(length, "big"),
            "randbelow": chance.randrange,
            "choice": chance.choice,
        },
        threading.Thread: {"start": lambda thread: None},
        random: {"uniform": chance.uniform, "random": chance.random},
    }
    for module, functions in replaced.items():
        for name, function in functions.items():
            setattr(module, name, function)


def _uuid7() -> uuid.UUID:
    """As RFC 9562 has it: 48 bits of milliseconds, then random bits."""
    rest = chance.getrandbits(74)
    high = int(chance.seconds * 1000) << 80 | 0x7 << 76 | rest >> 62 << 64
    return uuid.UUID(int=high | 0b10 << 62 | rest & (1 << 62) - 1)
