"""`python3 -m lab fuzz`: odd requests by the API's document, by operators' forms and by raw bytes to a stack
of its own, then a look at its processes and an audit."""

import argparse
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from lab import stage
from lab.chaos.calls import Call
from lab.chaos.shop import Shop
from lab.fuzz import api, raw
from lab.fuzz.api import Findings
from lab.fuzz.operator import CLERK, PASSWORD, Operator
from scripts.stack import children, own_stack, supervision, welcome
from scripts.stack.instance import Instance

SECONDS = 600
RAW_SENDERS = 10
"""Most of them wait for the shop to give up an unfinished request."""
SETTINGS = {
    **own_stack.NO_RATES,
    "OPEN_ORDERS_PER_ACCOUNT": "10000",
    # No partner or payment that fails by itself: a 503 has to have a reason in the request.
    "PARTNER_FAILURE_RATE": "0",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="lab fuzz", description="Send the shop what it must refuse.")
    parser.add_argument("--db", default="", help="mariadb or sqlite (mariadb)")
    parser.add_argument("--seconds", default="", help=f"how long requests are sent ({SECONDS})")
    parser.add_argument("--seed", default="", help="to have the same requests again")
    asked = parser.parse_args()
    seed = asked.seed or str(random.SystemRandom().randrange(10**6))
    run = partial(fuzz, seconds=int(asked.seconds or SECONDS), seed=seed)
    return own_stack.measure("lab fuzz", "fuzz", run, database=asked.db or "mariadb", keeps_failed=True)


def fuzz(instance: Instance, *, seconds: int, seed: str) -> int:
    """Send requests for so long, then look at processes and laws; the exit code. Raises SetupError."""
    print(f"fuzz: --seed {seed} --seconds {seconds} --db {instance.database}", flush=True)
    findings = Findings()
    with findings.printed(), own_stack.running(instance, **SETTINGS):
        users = stage.seed(instance, 3)
        shop = Shop(instance, users["staff"], findings)
        buyer, leaving = users["users"][:2]
        existing = _existing(shop, buyer)
        operator, clerk = (Operator(instance.url, findings, f"{seed} {name}") for name in ("operator", CLERK))
        operator.sign_in(welcome.STAFF_USER, welcome.STAFF_PASSWORD)
        operator.create_clerk()
        clerk.sign_in(CLERK, PASSWORD)
        token = shop.call("POST", "/auth/token", {"username": CLERK, "password": PASSWORD})["access"]
        tokens = {"anonymous": "", "customer": buyer["access"], "staff": users["staff"], "clerk": token}
        running, ends_at = children.of_state(instance.home), time.monotonic() + seconds
        sender = api.Sender(instance.url, tokens, leaving["access"], existing, seed, findings)
        with ThreadPoolExecutor(RAW_SENDERS + 2) as threads:
            senders = [threads.submit(one.send_until, ends_at) for one in (operator, sender)]
            raw_ones = partial(raw.send_until, ends_at, instance.port, [*tokens.values(), "a.b.c"], findings)
            senders += [threads.submit(raw_ones, f"{seed} {number}") for number in range(RAW_SENDERS)]
            sent = sum(one.result() for one in senders)
        reasons, permissions = operator.check_reasons(), clerk.check_permissions(operator.forms.values())
        # Though supervisor has started another in its place.
        if died := running - children.of_state(instance.home):
            findings.record("processes died", f"{sorted(died)}")
        for name, state in supervision.states(instance).items():
            if state != "RUNNING":
                findings.record(f"{name} is {state} in the end", "")
        shop.audit()
    pages = sum(map(len, operator.pages.values())) - len(operator.unseen)
    lines = [
        f"{pages} pages of operators have {len(operator.forms)} kinds of forms, sent {operator.sent} times",
        f"{reasons} forms were sent without a reason, {permissions} without a permission",
        f"fuzz: {sent} requests and connections, {len(findings.findings)} findings, SEED={seed}",
    ]
    print(*lines, sep="\n", flush=True)
    return 1 if findings.findings or not sent else 0


def _existing(shop: Shop, buyer: dict[str, Any]) -> dict[str, Any]:
    """An object of each kind: ids by the names of body fields and path parameters. Raises SetupError."""
    token = buyer["access"]
    product = shop.create_product("Fuzz", 1, 1_000_000).id
    campaign = shop.create_campaign("Fuzz", quantity=1_000)
    coupon = shop.call("POST", "/coupons", {"campaign": campaign}, token=token)["code"]
    basket = {"items": [{"product": product, "quantity": 1}]}
    order = shop.call("POST", "/orders", basket, token=token, key="fuzz-order")["id"]
    paid = {"amount": 500, "token": "tok_ok"}
    payment = shop.call("POST", "/wallet/top-ups", paid, token=token, key="fuzz-top-up")["id"]
    drop = shop.create_drop()
    entry = shop.ask(Call("POST", f"/sales/{drop.id}/entries", token))
    objects = {"product": product, "campaign": campaign, "order": order}
    named = {f"{name}_id": value for name, value in objects.items()} | {"payment_id": payment}
    named |= {"sale_id": drop.id, "entry_id": entry.body["id"], "gateway": "simulator", "code": coupon}
    return objects | named | {"coupon": coupon, "user": buyer["id"], "token": "tok_ok"}


if __name__ == "__main__":
    sys.exit(main())
