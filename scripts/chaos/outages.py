"""One store after the other away, stopped or frozen: what works all the same, how quickly the rest says no,
and how soon all is back.

The contract's words: without Redis everything works; without the database a call is 503 `unavailable` within
6 s; `/healthz` is 200 whatever is down, and `/readyz` names it.
"""

import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from scripts.chaos import faults
from scripts.chaos.calls import Call, Line, Observations
from scripts.chaos.faults import Fault
from scripts.chaos.memory import Account, Deed, Stage
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


class Prober:
    """Buys one thing after the other, and looks at the health of the shop in between."""

    def __init__(self, instance: Instance, stage: Stage, seen: Observations) -> None:
        self.instance, self.stage, self.seen = instance, stage, seen
        self.account: Account = stage.buyers[0]
        self.line = Line(instance.port, seen, seed="prober")
        self.unanswered: list[Call] = []

    def run(self) -> None:
        """Every outage; each is told in a line."""
        for fault in _outages(self.instance.database):
            figures = Figures()
            with faults.lasting(fault, self.instance):
                until = time.monotonic() + fault.seconds
                while time.monotonic() < until:
                    self._look(fault, figures)
                    self._buy(fault, figures)
                    time.sleep(PAUSE_SECONDS)
            self._come_back(fault, figures)

    def _look(self, fault: Fault, figures: Figures) -> None:
        for path in ("/healthz", "/readyz"):
            started = time.monotonic()
            status, text = readiness.ask(self.instance.port, "GET", path)
            seconds = time.monotonic() - started
            figures.note(f"{path} {status}", seconds)
            part = "database" if fault.name == "mariadb" else fault.name
            is_right = status == 200 if path == "/healthz" else part in json.loads(text)["down"]
            if not is_right or seconds > HEALTH_SECONDS * _slack():
                self.seen.find(f"{fault}: {path} answered {status} {text} after {seconds:.1f} s")

    def _buy(self, fault: Fault, figures: Figures) -> None:
        call, started = self._call(), time.monotonic()
        answer = self.line.once(call)
        seconds = time.monotonic() - started
        if answer is None or answer.passes:
            self.unanswered.append(call)
        else:
            self.account.deeds.append(Deed("order", call, answer))
        told = answer.word if answer else "no answer"
        figures.note(f"order {told}", seconds)
        wanted = "503 unavailable" if fault.name == "mariadb" else "201"
        most = UNAVAILABLE_SECONDS if fault.name == "mariadb" else WAIT_SECONDS
        if told != wanted or seconds > most * _slack():
            self.seen.find(f"{fault}: an order was answered {told} after {seconds:.1f} s")

    def _come_back(self, fault: Fault, figures: Figures) -> None:
        """Wait until an order is paid again, ask again what was not answered, and wait until all is ready."""
        started = time.monotonic()
        self._insist(self._call())
        paid = time.monotonic() - started
        ready = faults.seconds_until_ready(self.instance)
        print(f"{fault}: {figures}; afterwards an order is paid after {paid:.1f} s", flush=True)
        if paid > BACK_SECONDS * _slack() or ready is None:
            self.seen.find(f"{fault}: it came back too late: paid after {paid:.1f} s, ready after {ready} s")
        for call in self.unanswered:
            self._insist(call)
        self.unanswered.clear()

    def _insist(self, call: Call) -> None:
        answer = self.line.insist(call, until=time.monotonic() + faults.PATIENCE_SECONDS)
        self.account.deeds.append(Deed("order", call, answer))

    def _call(self) -> Call:
        item = {"product": self.stage.plenty.id, "quantity": 1}
        body = {"items": [item], "payment": {"token": "tok_ok"}}
        return Call("POST", "/orders", self.account.token, body, str(uuid.uuid4()), WAIT_SECONDS)


def _outages(database: str) -> Iterator[Fault]:
    for name, seconds in OUTAGE_SECONDS.items():
        if name in ("redis", database):
            yield from (Fault(sort, name, seconds) for sort in ("down", "freeze"))


def _slack() -> float:
    """How much slower than promised an answer may be on a machine that has more to do than it has cores."""
    return min(3.0, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))
