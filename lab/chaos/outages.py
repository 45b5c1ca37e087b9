"""One store after the other stopped or frozen: what works, how quickly the rest is refused, and what
follows.

Without Redis everything works; without the database a call is 503 `unavailable` within 6 s.
"""

import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from lab.chaos import faults
from lab.chaos.calls import Call, Connection, Observations
from lab.chaos.faults import Fault
from lab.chaos.memory import Account, RecordedCall, Setup
from scripts.stack import readiness
from scripts.stack.instance import Instance

OUTAGE_SECONDS = {"redis": 30.0, "mariadb": 12.0}
"""Which stores are away, and for how long."""
UNAVAILABLE_SECONDS, HEALTH_SECONDS, BACK_SECONDS, WAIT_SECONDS = 6.0, 2.0, 15.0, 10
PAUSE_SECONDS = 0.2


@dataclass
class Figures:
    """What was seen during one outage: the slowest of each, and how often it was seen."""

    slowest: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def note(self, what: str, seconds: float) -> None:
        self.slowest[what] = max(seconds, self.slowest.get(what, 0.0))
        self.counts[what] = self.counts.get(what, 0) + 1

    def __str__(self) -> str:
        return ", ".join(
            f"{self.counts[what]} x {what} (at most {s:.1f} s)" for what, s in self.slowest.items()
        )


class OutageClient:
    """Places one order after the other, and checks the health of the shop in between."""

    def __init__(self, instance: Instance, setup: Setup, seen: Observations) -> None:
        self.instance, self.setup, self.seen = instance, setup, seen
        self.account: Account = setup.buyers[0]
        self.connection = Connection(instance.port, seen, seed="prober")
        self.unanswered: list[Call] = []

    def run(self) -> None:
        """Every outage; prints a line for each."""
        for fault in _outages(self.instance.database):
            figures = Figures()
            with faults.lasting(fault, self.instance):
                until = time.monotonic() + fault.seconds
                while time.monotonic() < until:
                    self._check_health(fault, figures)
                    self._buy(fault, figures)
                    time.sleep(PAUSE_SECONDS)
            self._come_back(fault, figures)

    def _check_health(self, fault: Fault, figures: Figures) -> None:
        for path in ("/healthz", "/readyz"):
            started = time.monotonic()
            status, text = readiness.ask(self.instance.port, "GET", path)
            seconds = time.monotonic() - started
            figures.note(f"{path} {status}", seconds)
            part = "database" if fault.name == "mariadb" else fault.name
            is_right = status == 200 if path == "/healthz" else part in json.loads(text)["down"]
            if not is_right or seconds > HEALTH_SECONDS * _slack():
                self.seen.record_finding(f"{fault}: {path} answered {status} {text} after {seconds:.1f} s")

    def _buy(self, fault: Fault, figures: Figures) -> None:
        call, started = self._call(), time.monotonic()
        answer = self.connection.call_once(call)
        seconds = time.monotonic() - started
        if answer is None or answer.is_retryable:
            self.unanswered.append(call)
        else:
            self.account.calls.append(RecordedCall("order", call, answer))
        result = answer.word if answer else "no answer"
        figures.note(f"order {result}", seconds)
        wanted = "503 unavailable" if fault.name == "mariadb" else "201"
        most = UNAVAILABLE_SECONDS if fault.name == "mariadb" else WAIT_SECONDS
        if result != wanted or seconds > most * _slack():
            self.seen.record_finding(f"{fault}: an order was answered {result} after {seconds:.1f} s")

    def _come_back(self, fault: Fault, figures: Figures) -> None:
        """Wait until an order is paid again, repeat what was not answered, and wait until all is ready."""
        started = time.monotonic()
        self._insist(self._call())
        paid = time.monotonic() - started
        ready = faults.seconds_until_ready(self.instance)
        print(f"{fault}: {figures}; afterwards an order is paid after {paid:.1f} s", flush=True)
        if paid > BACK_SECONDS * _slack() or ready is None:
            self.seen.record_finding(
                f"{fault}: it came back too late: paid after {paid:.1f} s, ready after {ready} s"
            )
        for call in self.unanswered:
            self._insist(call)
        self.unanswered.clear()

    def _insist(self, call: Call) -> None:
        answer = self.connection.call_until_final(call, until=time.monotonic() + faults.PATIENCE_SECONDS)
        self.account.calls.append(RecordedCall("order", call, answer))

    def _call(self) -> Call:
        item = {"product": self.setup.ample.id, "quantity": 1}
        body = {"items": [item], "payment": {"token": "tok_ok"}}
        return Call("POST", "/orders", self.account.token, body, str(uuid.uuid4()), WAIT_SECONDS)


def _outages(database: str) -> Iterator[Fault]:
    for name, seconds in OUTAGE_SECONDS.items():
        if name in ("redis", database):
            yield from (Fault(sort, name, seconds) for sort in ("down", "freeze"))


def _slack() -> float:
    """How much slower than promised an answer may be on a machine that has more to do than it has cores."""
    return min(3.0, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))
