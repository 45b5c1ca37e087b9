"""A trial of the shop: clients that record every answer, faults, and a comparison.

Boots a stack of its own, lets clients buy and staff refund while processes are killed, frozen and kept down,
and then requires that everything settles, every law holds, and every answer is still true. On a finding it
ends with exit code 1, and the stack's state and logs are kept.
"""

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.chaos import comparison, faults, outages, outside, webhooks
from scripts.chaos.calls import NoFinalAnswer, Observations
from scripts.chaos.clients import PATIENCE_SECONDS, Buyer, Staff
from scripts.chaos.memory import Account, Product, Setup
from scripts.chaos.shop import Shop
from scripts.stack import SetupError, children, faketime, own_stack, places, ports, supervision
from scripts.stack import instance as instances
from scripts.stack.instance import Instance

SETTINGS = {
    "PAYMENT_GIVE_UP_SECONDS": "15",
    "ORDER_HOLD_SECONDS": "20",
    "IDEMPOTENCY_LEASE_SECONDS": "5",
    "OPEN_ORDERS_PER_ACCOUNT": "10000",
    **own_stack.NO_RATES,
}
"""Short times, so that what is left undone ends within the trial; and no limits on how often an account calls
and what it holds unpaid, for a few accounts buy here as much as many would."""
BUYERS, ACCOUNTS_EACH = 7, 6
PRODUCTS, STOCK, PLENTY, COUPONS = 6, 150, 100_000, 30
"""What clients compete for in a minute."""
SETTLE_SECONDS = 120


@dataclass(frozen=True)
class Trial:
    """What `make NAME` does where nothing else is asked. With outages, stores stay away for long at first.
    With long faults, the gateway gets slow and a worker's clock wrong beside all other faults.

    `pauses` is how many seconds a series pauses after each fault, from and to.
    """

    name: str
    database: str
    seconds: int
    has_outages: bool
    pauses: tuple[float, float]
    has_long_faults: bool = False


def main(trial: Trial) -> int:
    """The process behind `make NAME`; its exit code."""
    parser = argparse.ArgumentParser(prog=f"make {trial.name}", description="Crash the shop under load.")
    parser.add_argument("--db", default="", help=f"sqlite or mariadb ({trial.database})")
    parser.add_argument("--seconds", default="", help=f"how long faults are made ({trial.seconds})")
    parser.add_argument("--seed", default="", help="to have the same mix of calls and faults again")
    asked = parser.parse_args()
    if not (asked.seconds or "0").isdecimal():
        parser.error(f"SECONDS={asked.seconds} is not a whole number")
    seconds = int(asked.seconds or trial.seconds)
    seed = asked.seed or str(random.SystemRandom().randrange(10**6))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    children.end_with_parent()
    # Beside the other state, on a real disk: a memory's durability would prove nothing.
    home = Path(tempfile.mkdtemp(prefix=f"{trial.name}-", dir=places.private_folder(places.state())))
    try:
        database = asked.db or trial.database
        instance = instances.choose(home=home, port=str(ports.free(instances.PORTS)), database=database)
        code = _run(trial, instance, seconds, seed)
    except KeyboardInterrupt:
        code = 130
    except (SetupError, NoFinalAnswer, OSError) as error:
        print(f"{trial.name}: failed: {error}{own_stack.ends_of_logs(home)}", file=sys.stderr, flush=True)
        code = 1
    if code == 1:
        _say(f"{trial.name}: the stack's state and logs are kept in {home}")
    else:
        shutil.rmtree(home, ignore_errors=True)
    return code


def _run(trial: Trial, instance: Instance, seconds: int, seed: str) -> int:
    """Run the trial on a fresh stack: load, faults, audit, comparison. Returns the exit code.

    Raises SetupError and NoFinalAnswer.
    """
    _say(f"{trial.name}: SEED={seed} SECONDS={seconds} DB={instance.database}")
    seen = Observations()
    if trial.has_long_faults and instance.database == "mariadb":
        faketime.require()
    with own_stack.running(instance, **SETTINGS):
        setup, shop = _set_up(instance, seen, minutes=max(1, seconds // 60))
        if trial.has_outages:
            outages.OutageClient(instance, setup, seen).run()
        _load(trial, instance, setup, seen, seconds, seed)
        _settle(setup, shop, seen)
        _say(shop.sums(setup))
        _processes(instance, seen)
        _audit(instance, seen)
        for finding in (*comparison.findings(setup, shop), *outside.findings(setup, shop)):
            seen.record_finding(finding)
    _say(_summary(setup, seen))
    for finding in seen.findings:
        _say(f"FINDING {finding}")
    _say(f"{trial.name}: " + (f"{len(seen.findings)} findings, SEED={seed}" if seen.findings else "passed"))
    return 1 if seen.findings else 0


def _set_up(instance: Instance, seen: Observations, *, minutes: int) -> tuple[Setup, Shop]:
    """Accounts with points, products that can run out, campaigns that can sell out: enough for so long."""
    tokens = instance.home / "tokens.json"
    ran = own_stack.manage(instance, f"seed_demo --users {BUYERS * ACCOUNTS_EACH} --tokens {tokens}")
    if ran.returncode != 0:
        raise SetupError(f"seed_demo ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
    known = json.loads(tokens.read_text())
    shop = Shop(instance, known["staff"], seen)
    setup = Setup(
        staff=Account(0, known["staff"]),
        buyers=[Account(user["id"], user["access"]) for user in known["users"]],
        campaigns=[_campaign(shop, strategy) for strategy in ("group_commit", "pessimistic") * minutes],
        products=[_product(shop, number, STOCK * minutes) for number in range(PRODUCTS)],
        ample=_product(shop, PRODUCTS, PLENTY),
    )
    for account in setup.buyers:
        account.opening_amount = shop.wallet(account)[0]
    return setup, shop


def _campaign(shop: Shop, strategy: str) -> int:
    discount = {"type": "amount", "value": 700}
    terms = {"name": f"Trial {strategy}", "strategy": strategy, "quantity": COUPONS, "discount": discount}
    return int(shop.call("POST", "/campaigns", terms)["id"])


def _product(shop: Shop, number: int, on_hand: int) -> Product:
    terms = {"sku": f"TRIAL-{number}", "name": f"Trial {number}", "price": 1_000 * (number + 1)}
    product_id = int(shop.call("POST", "/products", terms)["id"])
    delivery = {"delta": on_hand, "reason": "delivered"}
    shop.call("POST", f"/products/{product_id}/stock-adjustments", delivery, key=f"delivery-{number}")
    return Product(product_id, on_hand)


def _load(
    trial: Trial, instance: Instance, setup: Setup, seen: Observations, seconds: int, seed: str
) -> None:
    """Run clients while faults are made; returns once every client has the answer to its last call."""
    ends_at = time.monotonic() + seconds
    stop = threading.Event()
    common: dict[str, Any] = {"port": instance.port, "ends_at": ends_at, "seen": seen}
    clients: list[Buyer | Staff | webhooks.WebhookSender] = [Staff(setup, seed=f"{seed} staff", **common)]
    for number in range(BUYERS):
        own = setup.buyers[number::BUYERS]
        clients.append(Buyer(own, setup, seed=f"{seed} {number}", **common))
    clients.append(webhooks.WebhookSender(instance, seed=f"{seed} sender", seen=seen))
    all_series = faults.all_series(
        instance.database, pauses=trial.pauses, has_long_faults=trial.has_long_faults
    )
    with ThreadPoolExecutor(len(clients) + len(all_series)) as threads:
        injecting = [
            threads.submit(faults.inject_until, ends_at, series, instance=instance, seed=seed, seen=seen)
            for series in all_series
        ]
        running = [threads.submit(client.run, stop) for client in clients]
        try:
            count = sum(one.result() for one in injecting)
        finally:
            stop.set()
    for client in running:
        client.result()
    _say(f"{count} faults")


def _settle(setup: Setup, shop: Shop, seen: Observations) -> None:
    """Wait until everything is settled, and every client has the final answer of its payments."""
    started = time.monotonic()
    while left := shop.unsettled(setup):
        if time.monotonic() - started > SETTLE_SECONDS:
            seen.record_finding(
                f"not settled {SETTLE_SECONDS} s after the last fault: {'; '.join(left[:10])}"
            )
            break
        time.sleep(1)
    _say(f"settled {time.monotonic() - started:.1f} s after the last answer")
    for account in setup.buyers:
        for made in account.calls:
            if made.is_open:
                made.answer = shop.connection.call_until_final(
                    made.call, until=time.monotonic() + PATIENCE_SECONDS
                )
                if made.is_open:
                    seen.record_finding(
                        f"{made.sort} with key {made.call.key} has no final answer: {made.answer}"
                    )


def _processes(instance: Instance, seen: Observations) -> None:
    """Every process runs: supervisor restarted each that died."""
    for name, state in supervision.states(instance).items():
        if state != "RUNNING":
            seen.record_finding(f"{name} is {state} in the end")


def _audit(instance: Instance, seen: Observations) -> None:
    try:
        laws = own_stack.audit(instance)
    except SetupError as error:
        seen.record_finding(str(error))
        return
    for law in laws:
        if not law["holds"]:
            seen.record_finding(f"{law['law']} is broken: {law['offenders'][:10]}")
    _say(f"audit: {sum(law['holds'] for law in laws)} of {len(laws)} laws hold")


def _summary(setup: Setup, seen: Observations) -> str:
    """How many answers of each kind, and the slowest of each."""
    lines = [
        f"{count:7} x {sort:32} at most {seen.slowest[sort]:5.1f} s"
        for sort, count in sorted(seen.statuses.items())
    ]
    done = [made for account in [setup.staff, *setup.buyers] for made in account.calls if made.was_done]
    return "\n".join([*lines, f"{len(done)} calls had an effect"])


def _say(text: str) -> None:
    print(text, flush=True)
