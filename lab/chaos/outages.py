"""One store after the other stopped or frozen: what works, how quickly the rest is refused, and what
follows.

Without Redis everything works; without the database a call is 503 `unavailable` within 6 s.
"""

import json
import os
import time
import uuid

from lab.chaos import faults
from lab.chaos.calls import Call, Connection, Observations
from lab.chaos.faults import Fault
from lab.chaos.memory import RecordedCall, Setup
from scripts.stack import readiness
from scripts.stack.instance import Instance

OUTAGE_SECONDS = {"redis": 30.0, "mariadb": 12.0}
"""Which stores are away, and for how long."""
WANTED = {"redis": ("201", 10.0), "mariadb": ("503 unavailable", 6.0)}
"""How an order is answered meanwhile, and within how many seconds."""
HEALTH_SECONDS, BACK_SECONDS, WAIT_SECONDS = 2.0, 15.0, 10


class OutageClient:
    """Places one order after the other, and checks the health of the shop in between."""

    def __init__(self, instance: Instance, setup: Setup, seen: Observations) -> None:
        self.instance, self.setup, self.seen = instance, setup, seen
        self.account = setup.buyers[0]
        self.connection = Connection(instance.port, seen, seed="prober")

    def run(self) -> None:
        """Every outage; prints a line for each."""
        for name, seconds in OUTAGE_SECONDS.items():
            for sort in ("down", "freeze") if name in ("redis", self.instance.database) else ():
                self._lose(Fault(sort, name, seconds))

    def _lose(self, fault: Fault) -> None:
        """Call while the store is away, and until an order is paid again; then repeat what got no answer."""
        figures, unanswered = Observations(), list[Call]()
        with faults.lasting(fault, self.instance):
            until = time.monotonic() + fault.seconds
            while time.monotonic() < until:
                self._check_health(fault, figures)
                unanswered += self._buy(fault, figures)
                time.sleep(0.2)
        started = time.monotonic()
        self._insist(self._call())
        paid, ready = time.monotonic() - started, faults.seconds_until_ready(self.instance)
        what = ", ".join(
            f"{figures.statuses[word]} x {word} (at most {most:.1f} s)"
            for word, most in figures.slowest.items()
        )
        print(f"{fault}: {what}; afterwards an order is paid after {paid:.1f} s", flush=True)
        if paid > BACK_SECONDS * _slack() or ready is None:
            late = f"{fault}: it came back too late: paid after {paid:.1f} s, ready after {ready} s"
            self.seen.record_finding(late)
        for call in unanswered:
            self._insist(call)

    def _check_health(self, fault: Fault, figures: Observations) -> None:
        for path in ("/healthz", "/readyz"):
            started = time.monotonic()
            status, text = readiness.ask(self.instance.port, "GET", path)
            seconds = time.monotonic() - started
            figures.count(f"{path} {status}", seconds)
            part = "database" if fault.name == "mariadb" else fault.name
            is_right = status == 200 if path == "/healthz" else part in json.loads(text)["down"]
            if not is_right or seconds > HEALTH_SECONDS * _slack():
                self.seen.record_finding(f"{fault}: {path} answered {status} {text} after {seconds:.1f} s")

    def _buy(self, fault: Fault, figures: Observations) -> list[Call]:
        """Place an order; its call, if it has to be repeated."""
        call, started = self._call(), time.monotonic()
        answer = self.connection.call_once(call)
        seconds, result = time.monotonic() - started, answer.word if answer else "no answer"
        figures.count(f"order {result}", seconds)
        wanted, most = WANTED[fault.name]
        if result != wanted or seconds > most * _slack():
            self.seen.record_finding(f"{fault}: an order was answered {result} after {seconds:.1f} s")
        if answer is None or answer.is_retryable:
            return [call]
        self.account.calls.append(RecordedCall("order", call, answer))
        return []

    def _insist(self, call: Call) -> None:
        answer = self.connection.call_until_final(call, until=time.monotonic() + faults.PATIENCE_SECONDS)
        self.account.calls.append(RecordedCall("order", call, answer))

    def _call(self) -> Call:
        item = {"product": self.setup.ample.id, "quantity": 1}
        body = {"items": [item], "payment": {"token": "tok_ok"}}
        return Call("POST", "/orders", self.account.token, body, str(uuid.uuid4()), WAIT_SECONDS)


def _slack() -> float:
    """How much slower than promised an answer may be on a machine that has more to do than it has cores."""
    return min(3.0, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))
