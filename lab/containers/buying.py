"""The load beside kills and an update: clients that buy, refund and read, each call to its final answer."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lab.chaos.calls import Call, Connection
from lab.chaos.clients import PATIENCE_SECONDS, Staff
from lab.cluster.drill.load import READ_PAUSE_SECONDS, READS, DrillBuyer, newest, shown
from lab.containers.report import require
from lab.containers.selling import BUYERS, ShopUnderTest

LONGEST_SECONDS = 900
"""Of a load; a call that has no final answer some time after that is lost."""


@dataclass
class Load:
    """Clients that are at work until the block ends."""

    clients: list[Future[None]] = field(default_factory=list)

    def require_answers(self, tested: ShopUnderTest) -> None:
        """Raise CheckFailed with calls that got no final answer, and answers that no client should get."""
        failed = [f"no final answer: {one.exception()}" for one in self.clients if one.exception()]
        found = [*failed, *tested.new_findings()]
        require(not found, "\n".join(found[:20]))


@contextmanager
def running_load(tested: ShopUnderTest, seed: str) -> Iterator[Load]:
    """Clients inside the block; afterwards each has the final answer to its last call."""
    stop, load, setup = threading.Event(), Load(), tested.for_load()
    ends_at = time.monotonic() + LONGEST_SECONDS
    common: dict[str, Any] = {"port": tested.project.instance.port, "seen": tested.seen, "ends_at": ends_at}
    clients: list[Staff | DrillBuyer] = [Staff(setup, seed=f"{seed} staff", **common)]
    for number in range(BUYERS):
        own = setup.buyers[number::BUYERS]
        clients.append(DrillBuyer(own, setup, seed=f"{seed} {number}", **common))
    with ThreadPoolExecutor(len(clients) + 1) as threads:
        load.clients = [threads.submit(client.run, stop) for client in clients]
        load.clients.append(threads.submit(_read_lists, tested, f"{seed} reader", ends_at, stop))
        try:
            yield load
        except BaseException:
            # Nothing is judged any more, so no call has to be repeated to its final answer.
            for client in clients:
                client.until = 0.0
            raise
        finally:
            stop.set()


def _read_lists(tested: ShopUnderTest, seed: str, ends_at: float, stop: threading.Event) -> None:
    """Read lists; an account's own must show what was acknowledged before it was asked for."""
    chance = random.Random(seed)
    connection = Connection(tested.project.instance.port, tested.seen, seed=seed)
    while not stop.wait(READ_PAUSE_SECONDS):
        path, account = chance.choice(READS), chance.choice(tested.setup.buyers)
        known = newest(account, path)
        call = Call("GET", path, account.token)
        answer = connection.call_until_final(call, until=ends_at + PATIENCE_SECONDS)
        if answer.status != 200 or (missing := known - shown(answer, path)):
            lacks = f"lacks {sorted(missing)}" if answer.status == 200 else f"answered {answer.word}"
            tested.seen.record_finding(f"GET {path} of account {account.id} {lacks}")
