"""A relay between the queue that the shop writes and the one that its workers read: each message comes
twice, late, and out of order."""

import heapq
import json
import random
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis

from scripts.stack.instance import Instance

QUEUE = "celery"
WRITTEN, READ = 1, 2
"""The numbers of the databases: `BROKER_URL` has the first one, workers read the second."""
IDLE_SECONDS = 0.02
FIRST_SHARE = 0.25
"""Of the longest delay: the first copy comes within it, the second one after it."""


@dataclass
class Deliveries:
    """What became of the messages of one task. `overtaken` were delivered after one that was sent later,
    `expired` had expired when they were sent, and `gap_seconds` is the longest time without one.
    """

    messages: int = 0
    expired: int = 0
    gap_seconds: float = 0.0
    last_at: float | None = None
    copies: int = 0
    overtaken: int = 0
    latest_seconds: float = 0.0
    last_number: int = 0

    def note_sent(self, expires: str | None) -> None:
        """One more message was sent just now."""
        self.messages += 1
        self.expired += bool(expires and datetime.fromisoformat(expires) < datetime.now(UTC))
        now = time.monotonic()
        self.gap_seconds = max(self.gap_seconds, now - (self.last_at or now))
        self.last_at = now

    def note(self, number: int, seconds: float) -> None:
        """One more copy of the message of this number was delivered, so late."""
        self.copies += 1
        self.overtaken += number < self.last_number
        self.last_number = max(number, self.last_number)
        self.latest_seconds = max(seconds, self.latest_seconds)


@dataclass
class Relay:
    """Moves messages until it is stopped; what waits then is delivered at once."""

    socket: str
    seed: str
    longest_seconds: float
    by_task: dict[str, Deliveries] = field(default_factory=lambda: defaultdict(Deliveries))

    def run(self, stop: threading.Event) -> None:
        chance, waiting = random.Random(f"{self.seed} relay"), list[tuple[float, int, str, float, bytes]]()
        numbers = 0
        with Redis(unix_socket_path=self.socket, db=WRITTEN) as written, self._read() as read:
            while not stop.is_set() or waiting:
                message: Any = written.rpop(QUEUE)
                if message:
                    headers = json.loads(message)["headers"]
                    task = str(headers["task"])
                    self.by_task[task].note_sent(headers.get("expires"))
                    for delay in self._delays(chance):
                        numbers += 1
                        due = time.monotonic() + delay
                        heapq.heappush(waiting, (due, numbers, task, delay, late(message, delay)))
                while waiting and (stop.is_set() or waiting[0][0] <= time.monotonic()):
                    _, number, task, delay, copy = heapq.heappop(waiting)
                    read.lpush(QUEUE, copy)
                    self.by_task[task].note(number, delay)
                if not message:
                    stop.wait(IDLE_SECONDS)

    def _read(self) -> "Redis":
        return Redis(unix_socket_path=self.socket, db=READ)

    def _delays(self, chance: random.Random) -> tuple[float, float]:
        border = FIRST_SHARE * self.longest_seconds
        return chance.uniform(0, border), chance.uniform(border, self.longest_seconds)


def late(message: bytes, seconds: float) -> bytes:
    """A copy that may be delivered so late.

    It expires later, because the delay is ours: what the sender's clock has set remains as wrong as it is.
    """
    envelope = json.loads(message)
    headers, properties = envelope["headers"], envelope["properties"]
    if headers.get("expires"):
        expires = datetime.fromisoformat(headers["expires"]) + timedelta(seconds=seconds)
        headers["expires"] = expires.isoformat()
    # By this a worker acknowledges it to the broker: each copy has its own.
    properties["delivery_tag"] = str(uuid.uuid4())
    return json.dumps(envelope).encode()


@contextmanager
def running(instance: Instance, *, seed: str, longest_seconds: float) -> Iterator[Relay]:
    """The relay at work inside the block."""
    relay, stop = Relay(str(instance.redis_socket), seed, longest_seconds), threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,), name="relay")
    thread.start()
    try:
        yield relay
    finally:
        stop.set()
        thread.join()
