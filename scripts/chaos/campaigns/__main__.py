"""`make chaos CAMPAIGN=processes|stores|gateway|locks|database|disk|all SEED=… [QUICK=1] [PLANTED=1]`.

With PLANTED=1 the campaign runs with its planted defect, and fails unless the comparison finds a lost effect.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scripts.chaos import comparison, faults, outside, trial
from scripts.chaos.calls import NoFinalAnswer, Observations
from scripts.chaos.campaigns import redis_faults, small_disk
from scripts.chaos.campaigns.plans import CAMPAIGNS, Campaign
from scripts.chaos.clients import Buyer, Staff
from scripts.chaos.faults import Fault
from scripts.chaos.memory import Setup
from scripts.chaos.shop import Shop
from scripts.chaos.webhooks import WebhookSender
from scripts.cluster.drill import effects
from scripts.stack import SetupError, children, database, own_stack, places, ports, process_identity
from scripts.stack import instance as instances
from scripts.stack.instance import Instance
from scripts.stack.rabbitmq import RunningNode

PLANTED_SETTLE_SECONDS = 5
"""What a planted defect has lost never settles."""
LONGEST_SECONDS = 3600
REPLACING = ("kill", "down", "old data for")
"""Sorts of faults after which another process is there."""
STRATEGIES = trial.Trial("campaign", "mariadb", 60, has_outages=False, pauses=(0, 0), has_all_strategies=True)
HEADER = "| campaign | faults | acknowledged | compared | lost | doubled | longest recovery |"


@dataclass(frozen=True)
class Row:
    """One line of the table in docs/reliability.md."""

    campaign: str
    faults: int
    acknowledged: int
    compared: int
    lost: int
    doubled: int
    recovery_seconds: float

    def __str__(self) -> str:
        counts = (self.faults, self.acknowledged, self.compared, self.lost, self.doubled)
        return f"| {self.campaign} | {' | '.join(map(str, counts))} | {self.recovery_seconds:.1f} s |"


def main() -> int:
    """The process behind `make chaos CAMPAIGN=…`; its exit code."""
    parser = argparse.ArgumentParser(prog="make chaos", description="Faults of one kind under load.")
    parser.add_argument("--campaign", choices=[*CAMPAIGNS, "all"], required=True)
    for name in ("quick", "planted", "seed"):
        parser.add_argument(f"--{name}", default="")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    children.end_with_parent()
    seed = asked.seed or str(random.SystemRandom().randrange(10**6))
    chosen = _all() if asked.campaign == "all" else [CAMPAIGNS[asked.campaign]]
    return max(
        run_apart(one, seed, is_quick=bool(asked.quick), is_planted=bool(asked.planted)) for one in chosen
    )


def _all() -> list[Campaign]:
    """Every campaign; without root those that need none, and a line about each of the others."""
    found = []
    for campaign in CAMPAIGNS.values():
        if campaign.disk_megabytes and os.getuid() != 0:
            print(f"{campaign.name}: NOT RUN: a file system for the database takes root", flush=True)
        else:
            found.append(campaign)
    return found


def run_apart(campaign: Campaign, seed: str, *, is_quick: bool, is_planted: bool) -> int:
    """Run the campaign on a stack in a new folder, kept when it fails; its exit code."""
    if is_planted and not campaign.planted:
        print(f"{campaign.name} has no planted defect", file=sys.stderr)
        return 1
    home = Path(tempfile.mkdtemp(prefix="campaign-", dir=places.private_folder(places.state())))
    try:
        instance = instances.choose(home=home, port=str(ports.free(instances.PORTS)), database="mariadb")
        with (
            small_disk.beside(instance, campaign.disk_megabytes),
            trial.broker_beside(campaign.broker, home) as broker,
        ):
            code = run(campaign, instance, seed, broker, is_quick=is_quick, is_planted=is_planted)
    except (SetupError, NoFinalAnswer, OSError) as error:
        print(f"{campaign.name}: failed: {error}{own_stack.ends_of_logs(home)}", file=sys.stderr, flush=True)
        code = 1
    if code == 0:
        shutil.rmtree(home, ignore_errors=True)
    return code


def run(
    campaign: Campaign,
    instance: Instance,
    seed: str,
    broker: RunningNode | None,
    *,
    is_quick: bool,
    is_planted: bool,
) -> int:
    """Load, faults and comparison. Raises SetupError and NoFinalAnswer."""
    print(f"{campaign.name}: SEED={seed} QUICK={is_quick:d} PLANTED={is_planted:d}", flush=True)
    seen = Observations()
    settings = trial.SETTINGS | (broker.settings if broker else {})
    with own_stack.running(instance, **settings):
        setup, shop = trial.set_up(STRATEGIES, instance, seen, minutes=1)
        before = _stored(instance, setup)
        redis_faults.keep_data(instance)
        injected = campaign.faults(seed, is_quick=is_quick)
        planted = campaign.planted if is_planted else ()
        recovery = _load(campaign, injected, planted, instance, broker, setup, seen, seed)
        seconds = PLANTED_SETTLE_SECONDS if is_planted else campaign.settle_seconds
        operate = partial(_operate, campaign, instance)
        settled = trial.settle(setup, shop, seen, within_seconds=seconds, operate=operate)
        recovery = max(recovery, settled)
        known = effects.acknowledged(setup)
        compared = effects.compare(known, {"the database": _stored(instance, setup)}, before=before)
        if not is_planted:
            trial.check_processes(instance, broker, seen)
            _check(instance, setup, shop, seen)
            check_faults_were_met(campaign, seen)
    print(trial.summary(setup, seen), flush=True)
    done = [made for account in [setup.staff, *setup.buyers] for made in account.calls if made.was_done]
    count = sum(map(len, known.values()))
    lost, doubled = len(compared.lost), len(compared.doubled)
    print(HEADER, Row(campaign.name, len(injected), len(done), count, lost, doubled, recovery), sep="\n")
    if is_planted:
        print(f"{campaign.name}: the planted defect was {'found' if lost else 'NOT found'}", flush=True)
        return 0 if lost else 1
    for finding in (*compared.lost, *compared.doubled, *seen.findings):
        print(f"FINDING {finding}", flush=True)
    return 1 if lost or doubled or seen.findings else 0


def _check(instance: Instance, setup: Setup, shop: Shop, seen: Observations) -> None:
    """The laws, all answers, and the books of the outside systems."""
    trial.audit(instance, seen)
    for finding in (*comparison.findings(setup, shop), *outside.findings(setup, shop)):
        seen.record_finding(finding)


def _operate(campaign: Campaign, instance: Instance) -> None:
    """Give the operator's command, which names the sagas that it has tried again."""
    if campaign.operator_command:
        ran = own_stack.manage(instance, campaign.operator_command)
        print(campaign.operator_command, ran.stdout + ran.stderr, sep=": ", flush=True)


def check_faults_were_met(campaign: Campaign, seen: Observations) -> None:
    """A fault that no request has met proves nothing."""
    for word in campaign.must_be_met:
        if not seen.statuses[word]:
            seen.record_finding(f"no request was answered {word}: the faults had no effect")


def _load(
    campaign: Campaign,
    injected: Sequence[Fault],
    planted: Sequence[str],
    instance: Instance,
    broker: RunningNode | None,
    setup: Setup,
    seen: Observations,
    seed: str,
) -> float:
    """Run clients while the faults are made; the longest time until the shop was ready after one."""
    stop = threading.Event()
    common: dict[str, Any] = {
        "port": instance.port,
        "ends_at": time.monotonic() + LONGEST_SECONDS,
        "seen": seen,
    }
    clients: list[Buyer | Staff | WebhookSender] = [Staff(setup, seed=f"{seed} staff", **common)]
    for number in range(trial.BUYERS):
        own = setup.buyers[number :: trial.BUYERS]
        clients.append(Buyer(own, setup, seed=f"{seed} {number}", **common))
    clients.append(WebhookSender(instance, seed=f"{seed} sender", seen=seen))
    with ThreadPoolExecutor(len(clients)) as threads:
        running = [threads.submit(client.run, stop) for client in clients]
        try:
            recovery = _inject(campaign, injected, planted, instance, broker, seen, seed)
        finally:
            stop.set()
    for client in running:
        client.result()
    return recovery


def _inject(
    campaign: Campaign,
    injected: Sequence[Fault],
    planted: Sequence[str],
    instance: Instance,
    broker: RunningNode | None,
    seen: Observations,
    seed: str,
) -> float:
    chance, longest = random.Random(f"{seed} pauses"), 0.0
    for fault in injected:
        # Before each fault, because a database that starts again has its own settings.
        for statement in planted:
            database.rows(instance, statement)
        time.sleep(chance.uniform(*campaign.pauses))
        longest = max(longest, _inject_one(fault, instance, broker, seen, campaign.ready_seconds))
    return longest


def _inject_one(
    fault: Fault, instance: Instance, broker: RunningNode | None, seen: Observations, ready_seconds: int
) -> float:
    """Make one fault; how long the shop then took to be ready."""
    leader = process_identity.leader_of(instance.run, fault.name)
    victims = {fault.name: leader} if leader and fault.sort in REPLACING else {}
    if broker and fault.name == faults.BROKER:
        faults.make_to_broker(broker, fault)
    else:
        faults.inject(fault, instance)
    waited = faults.seconds_until_ready(instance, without=victims, within_seconds=ready_seconds)
    if waited is None:
        seen.record_finding(f"not ready {ready_seconds} s after: {fault}")
        return float(ready_seconds)
    print(f"{fault}; ready after {waited:.1f} s", flush=True)
    return waited


def _stored(instance: Instance, setup: Setup) -> dict[str, set[str]]:
    """The rows of each kind of effect in the database."""
    accounts = ", ".join(str(account.id) for account in setup.buyers)
    products = ", ".join(str(product.id) for product in [*setup.products, setup.ample])
    return {
        kind: effects.identities(
            kind, database.rows(instance, template.format(accounts=accounts, products=products))
        )
        for kind, template in effects.TABLES.items()
    }


if __name__ == "__main__":
    sys.exit(main())
