"""`python3 -m lab fuzz`: odd requests by operators' forms and by raw bytes to a stack of its own, then a look
at its processes and an audit."""

import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from lab import stage
from lab.calls import signed_in
from lab.fuzz import raw
from lab.fuzz.findings import Findings
from lab.fuzz.operator import CLERK, PASSWORD, Operator
from lab.shop import Shop
from scripts import options
from scripts.stack import children, own_stack, supervision, welcome
from scripts.stack.children import say
from scripts.stack.instance import Instance

RAW_SENDERS = 10  # Most of them wait for the shop to give up an unfinished request
# No partner or payment that fails by itself: a 503 has to have a reason in the request.
SETTINGS = {**own_stack.NO_RATES, "OPEN_ORDERS_PER_ACCOUNT": "10000", "PARTNER_FAILURE_RATE": "0"}


def main() -> int:
    asked = options.read("lab fuzz", seconds="how long requests are sent: 600", seed="to repeat a run's")
    run = partial(fuzz, seconds=int(asked.seconds or 600), seed=options.seed(asked))
    return own_stack.measure("lab fuzz", "fuzz", run, keeps_failed=True)


def fuzz(instance: Instance, *, seconds: int, seed: str) -> int:
    """Send requests for so long, then look at processes and laws; the exit code. Raises SetupError."""
    say(f"fuzz: --seed {seed} --seconds {seconds}")
    findings = Findings()
    with findings.printed(), own_stack.running(instance, **SETTINGS):
        users = stage.seed(instance, 1)
        shop = Shop(instance, users["staff"], findings)
        staff = signed_in(instance.url, welcome.STAFF_USER, welcome.STAFF_PASSWORD)
        operator = Operator(instance.url, findings, f"{seed} operator", staff)
        operator.create_clerk()
        clerk = Operator(instance.url, findings, seed, signed_in(instance.url, CLERK, PASSWORD))
        token = shop.call("POST", "/auth/token", {"username": CLERK, "password": PASSWORD})["access"]
        tokens = ["", users["users"][0]["access"], users["staff"], token, "a.b.c"]
        running = children.of_state(instance.home)
        ends_at = time.monotonic() + seconds

        def send_raw(chance: random.Random, detail: str) -> None:
            kind, request = raw.draw(chance, tokens)
            raw.send(instance.port, kind, request, findings, f"{detail} {request[:600]!r}")

        def repeat(send: Callable[[str], None], name: str) -> int:
            """Send until the time is up; how often."""
            number = 0
            while time.monotonic() < ends_at:
                send(f"SEED '{seed} {name}' number {number}")
                number += 1
            return number

        with ThreadPoolExecutor(RAW_SENDERS + 1) as threads:
            senders = [threads.submit(repeat, operator.send_odd, "operator")]
            for name in map(str, range(RAW_SENDERS)):
                send = partial(send_raw, random.Random(f"{seed} {name}"))
                senders.append(threads.submit(repeat, send, name))
            sent = sum(one.result() for one in senders)
        of_reason = [form for form in operator.forms.values() if form.reason]
        reasons = operator.check(of_reason, "reason", "")
        operator.check(of_reason, "reason", " \t")
        permissions = clerk.check(operator.forms.values(), "permission", "fuzz")
        # Though supervisor has started another in its place.
        died = running - children.of_state(instance.home)
        if died:
            findings.record("processes died", f"{sorted(died)}")
        findings.record_all(supervision.not_running(instance))
        shop.audit()
    pages = len(operator.known) - len(operator.unseen)
    say(f"{pages} pages of operators have {len(operator.forms)} kinds of forms")
    say(f"{reasons} forms were sent without a reason, {permissions} without a permission")
    say(f"fuzz: {sent} requests and connections, {len(findings.findings)} findings, SEED={seed}")
    if findings.findings or not sent:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
