"""What a keeper does next with the database's members, and the file in which it says so."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread

import MySQLdb

from lab.cluster.layout import Cluster
from scripts.stack import places

RETRY_SECONDS = 3.0
"""Between two equal attempts: a group that is just expelling a member refuses it for a moment."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """The next step, and the members that it is about."""

    action: str
    members: tuple[int, ...] = ()
    reason: str = ""

    @property
    def text(self) -> str:
        return " ".join([self.action, *map(str, self.members), self.reason]).strip()


class Attempts:
    """What is done to members, each in a thread of its own: one that hangs holds up none of the others."""

    def __init__(self) -> None:
        self._busy: dict[int, Thread] = {}
        self._not_before: dict[tuple[int, str], float] = {}

    def begin(self, number: int, act: Callable[[int], None], what: str) -> None:
        """Do it, unless something is being done to this member, or the same was done a moment ago."""
        busy = self._busy.get(number)
        if (busy and busy.is_alive()) or time.monotonic() < self._not_before.get((number, what), 0):
            return
        self._not_before[number, what] = time.monotonic() + RETRY_SECONDS
        self._busy[number] = Thread(target=self._act, args=(number, act, what), daemon=True)
        self._busy[number].start()

    def wait(self, number: int) -> None:
        """Return when nothing is being done to this member any more."""
        if busy := self._busy.get(number):
            busy.join()

    def _act(self, number: int, act: Callable[[int], None], what: str) -> None:
        say(f"member {number} {what}")
        try:
            act(number)
        except MySQLdb.Error as error:
            say(f"member {number} did not finish: {error}")
        else:
            say(f"member {number} {what}: done")


def report_of(cluster: Cluster) -> Path:
    """Where the keeper writes its last step."""
    return cluster.instance.run / "keeper.json"


def write(cluster: Cluster, step: Step) -> None:
    """Say what the next step is."""
    say(step.text)
    places.write_whole(report_of(cluster), json.dumps(asdict(step)))


def last_step(cluster: Cluster) -> Step | None:
    """What the keeper saw last, if it has seen anything."""
    try:
        found = json.loads(report_of(cluster).read_text())
    except (OSError, ValueError):
        return None
    return Step(action=found["action"], members=tuple(found["members"]), reason=found["reason"])


def say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)
