"""One store after the other stopped or frozen: what works, how quickly the rest is refused, and what
follows.

Without Redis everything works; without the database a call is 503 `unavailable` within 6 s.
"""

import json
import os
import time
import uuid

from lab.chaos import faults
from lab.chaos.calls import Call, Observations
from lab.chaos.faults import Fault
from lab.chaos.memory import RecordedCall, Setup
from lab.chaos.shop import Shop
from scripts.stack import readiness

STORES = {"redis": ("redis", 30.0, "201", 10.0), "mariadb": ("database", 12.0, "503 unavailable", 6.0)}
"""What /readyz calls each, how long it is away, and how an order is answered meanwhile, within seconds."""
HEALTH_SECONDS, BACK_SECONDS, WAIT_SECONDS = 2.0, 15.0, 10


def run(setup: Setup, shop: Shop) -> None:
    """Every outage; prints a line for each."""
    for store in STORES:
        for sort in ("down", "freeze") if store in ("redis", shop.instance.database) else ():
            _lose(Fault(sort, store, STORES[store][1]), setup, shop)


def _lose(fault: Fault, setup: Setup, shop: Shop) -> None:
    """Check the health and place one order after the other while the store is away; once an order is paid
    again, repeat those that had no final answer."""
    figures, unanswered = Observations(), list[Call]()
    part, _, wanted, most = STORES[fault.name]

    def note(what: str, began: float, *, is_right: bool, within: float) -> None:
        figures.count(what, seconds := time.monotonic() - began)
        if not is_right or seconds > within * _slack():
            shop.seen.record_finding(f"{fault}: {what} after {seconds:.1f} s")

    with faults.lasting(fault, shop.instance):
        until = time.monotonic() + fault.seconds
        while (began := time.monotonic()) < until:
            status, _ = readiness.ask(shop.instance.port, "GET", "/healthz")
            note(f"/healthz {status}", began, is_right=status == 200, within=HEALTH_SECONDS)
            began = time.monotonic()
            status, text = readiness.ask(shop.instance.port, "GET", "/readyz")
            is_named = part in json.loads(text)["down"]
            note(f"/readyz {status}", began, is_right=is_named, within=HEALTH_SECONDS)
            call, began = _order(setup), time.monotonic()
            answer = shop.connection.call_once(call)
            word = answer.word if answer else "no answer"
            note(f"order {word}", began, is_right=word == wanted, within=most)
            if answer is None or answer.is_retryable:
                unanswered.append(call)
            else:
                setup.buyers[0].calls.append(RecordedCall("order", call, answer))
            time.sleep(0.2)
    began = time.monotonic()
    _insist(_order(setup), setup, shop)
    paid, ready = time.monotonic() - began, faults.seconds_until_ready(shop.instance)
    slowest = [(word, figures.statuses[word], seconds) for word, seconds in figures.slowest.items()]
    what = ", ".join(f"{count} x {word} (at most {seconds:.1f} s)" for word, count, seconds in slowest)
    print(f"{fault}: {what}; afterwards an order is paid after {paid:.1f} s", flush=True)
    if paid > BACK_SECONDS * _slack() or ready is None:
        late = f"{fault}: it came back too late: paid after {paid:.1f} s, ready after {ready} s"
        shop.seen.record_finding(late)
    for call in unanswered:
        _insist(call, setup, shop)


def _insist(call: Call, setup: Setup, shop: Shop) -> None:
    answer = shop.connection.call_until_final(call, until=time.monotonic() + faults.PATIENCE_SECONDS)
    setup.buyers[0].calls.append(RecordedCall("order", call, answer))


def _order(setup: Setup) -> Call:
    body = {"items": [{"product": setup.ample.id, "quantity": 1}], "payment": {"token": "tok_ok"}}
    return Call("POST", "/orders", setup.buyers[0].token, body, str(uuid.uuid4()), WAIT_SECONDS)


def _slack() -> float:
    """How much slower than promised an answer may be on a machine that has more to do than it has cores."""
    return min(3.0, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))
