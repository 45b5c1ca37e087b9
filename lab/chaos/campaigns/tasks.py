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
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

from redis import Redis

from lab.chaos import comparison
from lab.chaos.campaigns import clocks
from lab.chaos.campaigns.run import LASTING_LOAD, Run, say
from lab.chaos.clients import at_work
from lab.stack import faketime
from scripts.stack import children, supervision

LONGEST_SECONDS, QUICK_LONGEST_SECONDS, FIRST_SHARE = 60.0, 8.0, 0.25
"""How late a message is at most, and within which share of that its first copy comes."""
QUEUE, WRITTEN, READ = "celery", 1, 2
"""And the numbers of the databases: `BROKER_URL` has the first one, workers read the second."""
RARE, REGULAR, SILENT_SECONDS = "payments.sweep", ("orders.sweep", "coupons.sweep", "shop.sweep"), 12
"""A task that beat sends less often than a campaign lasts, so that the campaign sends it; and those that beat
sends every few seconds, whether they have work or not."""
FEW = 10
"""So many messages, twice, are shared by both workers."""
DRIFTS = {"worker": -clocks.FAR_SECONDS, "second": clocks.FAR_SECONDS}
SEEN = ("order expired", "payment given up", "saga retried", "shop_idempotencykey swept")
"""What has to happen in a campaign, for it is to be seen that it isn't early."""
SUCCEEDED = re.compile(r"Task ([\w.]+)\[([0-9a-f-]{36})\] succeeded")
REGISTERED = re.compile(r"^  \. ([\w.]+)$", re.MULTILINE)
CHARGED_TWICE = re.compile(r"charged [2-9] times instead of 1")
OLD_KEYS = """
INSERT INTO shop_idempotencykey (account_id, key_hash, fingerprint, status, body, location, created_at)
SELECT (SELECT MIN(id) FROM auth_user), SHA2(CONCAT('campaign ', seq), 256), REPEAT('0', 64), 201, '{}', '',
    UTC_TIMESTAMP(6) - INTERVAL 1 DAY + INTERVAL seq SECOND FROM seq_1_to_300_step_5
"""
"""Keys whose time is over one by one, within the next minutes."""
KEPT_KEYS = "SELECT COUNT(*) FROM shop_idempotencykey WHERE created_at < UTC_TIMESTAMP - INTERVAL %s SECOND"


class Tasks(Run):
    """The relay, the second worker and the clocks, beside the usual load."""

    load_kind, needs = LASTING_LOAD, ("libfaketime",)
    planted_patches = ("host-clock", "no-leases")
    # Each message of what is left to do may be a minute late, and one leads to another.
    settle_seconds = 180

    def prepare(self) -> dict[str, str]:
        self.opened.enter_context(clocks.moved(self.instance, dict.fromkeys((*DRIFTS, "beat"), 0)))
        redis = quote(str(self.instance.redis_socket))
        return {
            **super().prepare(),
            **faketime.settings("worker=worker beat=beat"),
            "CELERY_BROKER_READ_URL": f"redis+socket://{redis}?virtual_host={READ}",
            "IDEMPOTENCY_RETENTION_SECONDS": str(clocks.RETENTION_SECONDS),
            "LOG_LEVEL": "INFO",
        }

    @contextmanager
    def stack(self, settings: Mapping[str, str]) -> Iterator[None]:
        """With the relay from the start on: what waits for it expires."""
        instance, longest = self.instance, QUICK_LONGEST_SECONDS if self.is_quick else LONGEST_SECONDS
        self.relay = Relay(str(instance.redis_socket), self.seed, longest)
        second = clocks.second_worker(instance, faketime.clock_file(instance, "second"))
        with super().stack(settings), at_work([self.relay]), second:
            clocks.watch_early(instance)
            clocks.drift(instance, DRIFTS)
            self.rows(OLD_KEYS)
            environment = {**os.environ, **supervision.environment(instance)}
            call = [sys.executable, "-m", "celery", "-A", "shop", "call", RARE]
            children.printed(children.run(call, within_seconds=60, environment=environment))
            yield

    def findings(self) -> Iterator[str]:
        """Each task that was not delivered or run as the campaign promises, and all that happened early."""
        logs = [self.instance.logs / "worker.log", clocks.log_of(self.instance)]
        by_worker, numbers = [runs_by_task(log) for log in logs], self.relay.delivered.copy()
        first, second = (set(REGISTERED.findall(log.read_text(errors="replace"))) for log in logs)
        if first != second or not first:
            yield f"the workers have not registered the same tasks: {first}, {second}"
        for task in sorted(first | second):
            runs = sum((found[task] for found in by_worker), Counter[str]())
            twice = sum(count > 1 for count in runs.values())
            say(f"{task}: {len(numbers[task])} copies were delivered, {twice} messages were run twice")
            if not twice:
                yield f"the messages of {task} were not run twice"
        if not any(later < one for found in numbers.values() for one, later in pairwise(found)):
            yield "no message overtook another"
        for task, sent in self.relay.sent.copy().items():
            if len(sent) >= FEW and not all(found[task] for found in by_worker):
                yield f"a worker has run none of the {len(sent)} messages of {task}: it drops them"
            if count := self.relay.expired[task]:
                yield f"{count} messages of {task} had expired when they were sent"
            gap = max((later - one for one, later in pairwise(sent)), default=0.0)
            if task in REGULAR and gap > SILENT_SECONDS:
                yield f"beat sent no {task} for {gap:.0f} s"
        yield from clocks.early(self.instance, SEEN)
        # The sweep's message is late, too.
        seconds = clocks.RETENTION_SECONDS + self.relay.longest_seconds + 30
        if count := self.rows(KEPT_KEYS, seconds)[0][0]:
            yield f"{count} idempotency keys are there after their retention"

    def finds_planted(self, wrong: list[str]) -> bool:
        """Whether both are found: workers that are early by their own clocks, and charges made twice."""
        too_early = [*clocks.early(self.instance)]
        doubled = [one for one in comparison.of_outside(self.setup, self.shop) if CHARGED_TWICE.search(one)]
        say(f"{len(too_early)} early, as: {too_early[:1]}; {len(doubled)} doubled, as: {doubled[:1]}")
        return bool(too_early and doubled)


def runs_by_task(log: Path) -> Mapping[str, Counter[str]]:
    """How often each message was run, by its task and id, from a worker's log."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    # Supervisor keeps one log more, where the first has become too long.
    for path in (log, log.with_name(f"{log.name}.1")):
        for task, message in SUCCEEDED.findall(path.read_text(errors="replace") if path.exists() else ""):
            found[task][message] += 1
    return found


class Relay:
    """Moves messages until it is stopped; what waits then is delivered at once."""

    def __init__(self, socket: str, seed: str, longest_seconds: float) -> None:
        self.socket, self.longest_seconds = socket, longest_seconds
        self.chance = random.Random(f"{seed} relay")
        # Of each task when messages came, how many had expired, and the numbers of copies as delivered.
        self.sent, self.expired = defaultdict[str, list[float]](list), Counter[str]()
        self.delivered = defaultdict[str, list[int]](list)

    def run(self, stop: threading.Event) -> None:
        waiting, number, border = list[Any](), 0, FIRST_SHARE * self.longest_seconds
        written, read = (Redis(unix_socket_path=self.socket, db=one) for one in (WRITTEN, READ))
        while not stop.is_set() or waiting:
            message: Any = written.rpop(QUEUE)
            if message:
                headers = json.loads(message)["headers"]
                task, expires, now = headers["task"], headers.get("expires"), time.monotonic()
                self.sent[task].append(now)
                self.expired[task] += bool(expires and datetime.fromisoformat(expires) < datetime.now(UTC))
                for bounds in ((0, border), (border, self.longest_seconds)):
                    delay, number = self.chance.uniform(*bounds), number + 1
                    heapq.heappush(waiting, (now + delay, number, task, late(message, delay)))
            while waiting and (stop.is_set() or waiting[0][0] <= time.monotonic()):
                _, delivered, task, content = heapq.heappop(waiting)
                read.lpush(QUEUE, content)
                self.delivered[task].append(delivered)
            if not message:
                stop.wait(0.02)


def late(message: bytes, seconds: float) -> bytes:
    """A copy that may be delivered so late.

    It expires later, because the delay is ours: what the sender's clock has set remains as wrong as it is.
    """
    envelope = json.loads(message)
    if expires := envelope["headers"].get("expires"):
        later = datetime.fromisoformat(expires) + timedelta(seconds=seconds)
        envelope["headers"]["expires"] = later.isoformat()
    # By this a worker acknowledges it to the broker: each copy has its own.
    envelope["properties"]["delivery_tag"] = str(uuid.uuid4())
    return json.dumps(envelope).encode()
