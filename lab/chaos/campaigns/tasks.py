"""The campaign `tasks`: each message twice, late and out of order, to two workers whose clocks drift."""

import heapq
import json
import os
import random
import re
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from redis import Redis

from lab.calls import Findings
from lab.chaos import comparison
from lab.chaos.campaigns import clocks
from lab.chaos.campaigns.run import Run, say
from lab.chaos.clients import at_work
from scripts.stack import Environment, Settings, children, supervision

LONGEST_SECONDS = 60.0
QUICK_LONGEST_SECONDS = 8.0
FIRST_SHARE = 0.25  # How late a message is at most, and within which share of that its first copy comes
QUEUE = "celery"
WRITTEN = 1
READ = 2  # The numbers of the databases: `BROKER_URL` has the first one, workers read the second
DRIFTS = {"worker": -clocks.FAR_SECONDS, "second": clocks.FAR_SECONDS}
SUCCEEDED = r"Task ([\w.]+)\[([0-9a-f-]{36})\] succeeded"
REGISTERED = r"(?m)^  \. ([\w.]+)$"  # Lines of a worker's log
# Keys whose time is over one by one, within the next minutes.
OLD_KEYS = """
INSERT INTO shop_idempotencykey (account_id, key_hash, fingerprint, status, body, location, created_at)
SELECT (SELECT MIN(id) FROM auth_user), SHA2(CONCAT('campaign ', seq), 256), REPEAT('0', 64), 201, '{}', '',
    UTC_TIMESTAMP(6) - INTERVAL 1 DAY + INTERVAL seq SECOND FROM seq_1_to_300_step_5
"""


class Tasks(Run):
    """The relay, the second worker and the clocks, beside the usual load."""

    def prepare(self) -> Settings:
        redis = quote(str(self.instance.redis_socket))
        return super().prepare() | {"CELERY_BROKER_READ_URL": f"redis+socket://{redis}?virtual_host={READ}"}

    @contextmanager
    def stack(self, settings: Environment) -> Iterator[None]:
        """With the relay from the start on: what waits for it expires."""
        instance = self.instance
        longest = QUICK_LONGEST_SECONDS if self.is_quick else LONGEST_SECONDS
        relay = Relay(str(instance.redis_socket), self.seed, longest)
        with super().stack(settings), at_work([relay]), clocks.second_worker(instance, "second"):
            clocks.watch_early(instance)
            clocks.drift(instance, DRIFTS)
            self.rows(OLD_KEYS)
            environment = {**os.environ, **supervision.environment(instance)}
            # Beat sends these less often than a campaign lasts, where the mirror of stock is used, or once.
            for task in ("payments.sweep", "inventory.sweep", "shop.sweep"):
                call = [sys.executable, "-m", "celery", "-A", "shop", "call", task]
                children.printed(children.run(call, within_seconds=60, environment=environment))
            yield

    def findings(self) -> Findings:
        """Each task that was not run as the campaign promises, and all that happened early."""
        # Supervisor keeps one log more, where the first has become too long.
        logs = [*self.instance.logs.glob("worker.log*"), self.instance.logs / clocks.SECOND_LOG]
        text = "".join(log.read_text(errors="replace") for log in logs)
        twice = {task for (task, _), often in Counter(re.findall(SUCCEEDED, text)).items() if often > 1}
        registered = set(re.findall(REGISTERED, text)) or {"any task"}
        for task in registered - twice:
            yield f"the messages of {task} were not run twice"
        yield from clocks.early(self.instance, self.campaign.has_to_happen)

    def finds_planted(self) -> bool:
        """Whether both are found: workers that are early by their own clocks, and charges made twice."""
        is_early = any(clocks.early(self.instance))
        outside = comparison.of_outside(self.setup, self.shop, self.shop.orders_of(self.setup))
        is_doubled = any(re.search("charged [2-9] times", one) for one in outside)
        say(f"something was early: {is_early}; a charge was made twice: {is_doubled}")
        return is_early and is_doubled


class Relay:
    """Delivers each message twice until it is stopped; what waits then is delivered at once."""

    def __init__(self, socket: str, seed: str, longest_seconds: float) -> None:
        self.longest_seconds = longest_seconds
        self.chance = random.Random(f"{seed} relay")
        self.written = Redis(unix_socket_path=socket, db=WRITTEN)
        self.read = Redis(unix_socket_path=socket, db=READ)
        self.waiting: list[tuple[float, str]] = []

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set() or self.waiting:
            message = self.written.rpop(QUEUE)
            if message:
                self.take(message)
            else:
                stop.wait(0.02)
            while self.waiting and (stop.is_set() or self.waiting[0][0] <= time.monotonic()):
                self.read.lpush(QUEUE, heapq.heappop(self.waiting)[1])

    def take(self, message: Any) -> None:
        """Keep two copies. Each expires later by its delay: what the sender's clock has set remains wrong."""
        now = time.monotonic()
        border = FIRST_SHARE * self.longest_seconds
        envelope = json.loads(message)
        headers = envelope["headers"]
        expires = headers.get("expires")
        for bounds in ((0, border), (border, self.longest_seconds)):
            delay = self.chance.uniform(*bounds)
            if expires:
                headers["expires"] = (datetime.fromisoformat(expires) + timedelta(seconds=delay)).isoformat()
            # By this a worker acknowledges it to the broker.
            envelope["properties"]["delivery_tag"] = str(uuid.uuid4())
            heapq.heappush(self.waiting, (now + delay, json.dumps(envelope)))
