"""`make chaos CAMPAIGN=… SEED=… [QUICK=1] [PLANTED=1]`, for a campaign of `plans.CAMPAIGNS` or `all`.

With PLANTED=1 the campaign runs with its planted defect, and fails unless that is found.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from lab.chaos import comparison, faults, operators, trial
from lab.chaos.calls import Observations
from lab.chaos.campaigns import redis_faults, small_disk, without_redis
from lab.chaos.campaigns.all_campaigns import run_all
from lab.chaos.campaigns.beside import Beside, Run
from lab.chaos.campaigns.network import links
from lab.chaos.campaigns.plans import CAMPAIGNS, Campaign
from lab.chaos.campaigns.restore import campaign as restore
from lab.chaos.campaigns.rolling import rolls, stack as rolling
from lab.chaos.campaigns.rows import HEADER, Row
from lab.chaos.clients import FeedReader, WebhookSender, at_work, staff_and_buyers
from lab.chaos.faults import Fault
from lab.chaos.memory import Setup
from lab.chaos.shop import Shop
from lab.cluster.drill import effects
from scripts.stack import (
    children,
    database,
    own_stack,
    parts,
    process_identity,
    system_packages,
)
from scripts.stack.instance import Instance
from scripts.stack.rabbitmq import RunningNode

PLANTED_SETTLE_SECONDS = 5
"""What a planted defect has lost never settles."""
LONGEST_SECONDS = 3600
REPLACING = ("kill", "down", "old data for")
"""Sorts of faults after which another process is there."""
STACK = (own_stack.running, own_stack.manage)
"""How a stack of this release runs, and its management commands."""
STRATEGIES = trial.Trial("campaign", "mariadb", 60, has_outages=False, pauses=(0, 0), has_all_strategies=True)


def main() -> int:
    """The process behind `make chaos CAMPAIGN=…`; its exit code."""
    parser = argparse.ArgumentParser(prog="make chaos", description="Faults of one kind under load.")
    parser.add_argument("--campaign", choices=[*CAMPAIGNS, restore.NAME, "all"], required=True)
    for name in ("quick", "planted", "seed", "part"):
        parser.add_argument(f"--{name}", default="")
    asked = parser.parse_args()
    return children.run_command("make chaos", partial(_run_chosen, asked))


def _run_chosen(asked: argparse.Namespace) -> int:
    seed = asked.seed or str(random.SystemRandom().randrange(10**6))
    if asked.campaign == "all":
        options = ("--quick", asked.quick, "--planted", asked.planted, "--seed", seed)
        names = parts.chosen([*CAMPAIGNS, restore.NAME], asked.part)
        return run_all([*_possible(names)], options, is_quick=bool(asked.quick))
    if asked.campaign == restore.NAME:
        return restore.run_apart(seed, is_quick=bool(asked.quick), is_planted=bool(asked.planted))
    chosen = CAMPAIGNS[asked.campaign]
    return run_apart(chosen, seed, is_quick=bool(asked.quick), is_planted=bool(asked.planted))


def _possible(names: Sequence[str]) -> list[str]:
    """Those of these campaigns that can run here, and a line about each of the others."""
    found = []
    for name in names:
        campaign = CAMPAIGNS.get(name)
        if campaign is None:
            found.append(name)
        elif campaign.disk_megabytes and os.getuid() != 0:
            print(f"{campaign.name}: NOT RUN: a file system for the database takes root", flush=True)
        elif missing := list(system_packages.missing(_needs(campaign))):
            print(f"{campaign.name}: NOT RUN: {', '.join(missing)} not installed", flush=True)
        else:
            found.append(name)
    return found


def _needs(campaign: Campaign) -> system_packages.Needs:
    """The system packages that this campaign needs beside MariaDB."""
    return system_packages.Needs(
        rabbitmq=campaign.broker == "rabbitmq",
        haproxy=campaign.is_rolling,
        libfaketime=campaign.needs_faketime,
    )


def run_apart(campaign: Campaign, seed: str, *, is_quick: bool, is_planted: bool) -> int:
    """Run the campaign on a stack in a new folder, kept when it fails; its exit code."""
    asked = Run(seed, is_quick=is_quick, is_planted=is_planted)

    def run_there(instance: Instance) -> int:
        with (
            small_disk.beside(instance, campaign.disk_megabytes),
            trial.broker_beside(campaign.broker, instance.home) as broker,
            links.beside(instance, campaign.links) as through,
            campaign.beside(instance, asked) as more,
        ):
            settings = {**(broker.settings if broker else {}), **through, **more.settings}
            return run(campaign, instance, asked, broker, settings, more)

    return own_stack.measure(campaign.name, "campaign", run_there, keeps_failed=True)


def run(
    campaign: Campaign,
    instance: Instance,
    asked: Run,
    broker: RunningNode | None,
    settings: Mapping[str, str],
    more: Beside,
) -> int:
    """Load, faults and comparison. Raises SetupError."""
    seed, is_quick, is_planted = asked.seed, asked.is_quick, asked.is_planted
    print(f"{campaign.name}: SEED={seed} QUICK={is_quick:d} PLANTED={is_planted:d}", flush=True)
    seen = Observations()
    running, manage = (rolling.running, rolling.seed) if campaign.is_rolling else STACK
    with running(instance, **{**trial.SETTINGS, **settings}), more.around():
        # The previous release may have none of these, and a month is longer than a sale.
        load = replace(
            STRATEGIES,
            has_sale=not (campaign.is_rolling or campaign.needs_faketime),
            has_restrictions=not (campaign.is_rolling or campaign.needs_faketime),
            has_customer_actions=not campaign.is_rolling,
        )
        setup, shop = trial.set_up(load, instance, seen, minutes=campaign.minutes, manage=manage)
        if more.load:
            # It loses the shop's database, and what was booked there of the gateway with it.
            setup.gateway_port = None
        reader = _reader(campaign, instance, shop, seed, more)
        ask = partial(database.rows, instance)
        before = effects.stored(setup, ask)
        redis_faults.keep_data(instance)
        planted = campaign.planted if is_planted else ()
        planted_faults = campaign.planted_faults if is_planted else ()
        injected = [*planted_faults, *campaign.faults(seed, is_quick=is_quick)]
        if more.load:
            recovery = more.load(injected, setup, shop, seen)
        else:
            recovery = _load(campaign, injected, planted, instance, broker, setup, seen, seed, reader)
        recovery = max(recovery, _settle(campaign, instance, setup, shop, seen, is_planted=is_planted))
        known = effects.acknowledged(setup)
        compared = effects.compare(known, {"the database": effects.stored(setup, ask)}, before=before)
        wrong = [*compared.lost, *compared.doubled]
        if is_planted and campaign.is_found_in_gateway_book:
            wrong += comparison.of_outside(setup, shop)
        if is_planted and campaign.is_rolling:
            wrong += rolls.failures(seen.measured.requests)
        if not is_planted:
            trial.check_processes(instance, broker, seen)
            _check(instance, setup, shop, more, reader)
            check_faults_were_met(campaign, seen)
            without_redis.check(seen)
        finds_planted = more.finds_planted if is_planted else None
        is_found = finds_planted(setup, shop) if finds_planted else bool(wrong)
    print(trial.summary(setup, seen), flush=True)
    done = [made for account in [setup.staff, *setup.buyers] for made in account.calls if made.was_done]
    count = sum(map(len, known.values()))
    lost, doubled = len(compared.lost), len(compared.doubled)
    print(HEADER, Row(campaign.name, len(injected), len(done), count, lost, doubled, recovery), sep="\n")
    if is_planted:
        print(f"{campaign.name}: the planted defect was {'found' if is_found else 'NOT found'}", flush=True)
        return 0 if is_found else 1
    for finding in (*wrong, *seen.findings):
        print(f"FINDING {finding}", flush=True)
    return 1 if wrong or seen.findings else 0


def _settle(
    campaign: Campaign, instance: Instance, setup: Setup, shop: Shop, seen: Observations, *, is_planted: bool
) -> float:
    """Wait until all is settled, with the operator's help; how many seconds that took."""
    is_short = is_planted and not campaign.is_found_in_gateway_book
    seconds = PLANTED_SETTLE_SECONDS if is_short else campaign.settle_seconds
    operate = partial(_operate, campaign, instance)
    return trial.settle(
        setup, shop, seen, within_seconds=seconds, operate=operate, awaits_answers=not is_short
    )


def _reader(campaign: Campaign, instance: Instance, shop: Shop, seed: str, more: Beside) -> FeedReader | None:
    """The reader of the event feed. The previous release has no feed; events of a month are deleted in it."""
    if campaign.is_rolling or more.load:
        return None
    return FeedReader(port=instance.port, token=shop.token, seed=seed, seen=shop.seen)


def _check(instance: Instance, setup: Setup, shop: Shop, more: Beside, reader: FeedReader | None) -> None:
    """The laws, all answers, the books of the outside systems, the feed, and what is the campaign's alone."""
    trial.audit(instance, shop.seen)
    of_operators = list(operators.findings(setup, instance)) if setup.granted else []
    trial.check(setup, shop, reader)
    for finding in (*of_operators, *more.findings()):
        shop.seen.record_finding(finding)


def _operate(campaign: Campaign, instance: Instance) -> None:
    """Give the operator's command, which names the sagas that it has tried again."""
    if campaign.operator_command:
        ran = own_stack.manage(instance, campaign.operator_command)
        print(campaign.operator_command, ran.stdout + ran.stderr, sep=": ", flush=True)


def check_faults_were_met(campaign: Campaign, seen: Observations) -> None:
    """A fault that no request has met proves nothing."""
    for word in campaign.required_answers:
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
    reader: FeedReader | None,
) -> float:
    """Run clients while the faults are made; the longest time until the shop was ready after one."""
    ends_at = time.monotonic() + LONGEST_SECONDS
    clients: list[Any] = [
        *staff_and_buyers(
            setup, count=trial.BUYERS, port=instance.port, seed=seed, ends_at=ends_at, seen=seen
        ),
        WebhookSender(instance, seed=f"{seed} sender", seen=seen),
        *([reader] if reader else []),
    ]
    if campaign.has_operators:
        operators.create_second(instance)
        common: dict[str, Any] = {"ends_at": ends_at, "seen": seen}
        clients += [
            operators.Operator(name, instance, setup, seed=f"{seed} {name}", **common)
            for name in operators.NAMES
        ]
    with at_work(clients):
        if campaign.is_rolling:
            pauses = campaign.pauses
            roll_result = rolls.run_rolls(
                injected, planted, instance, setup, seen, seed, load=STRATEGIES, pauses=pauses
            )
            recovery = roll_result.longest_seconds
        else:
            recovery = _inject(campaign, injected, planted, instance, broker, seen, seed)
    if campaign.is_rolling:
        rolls.record_failures(instance, seen, roll_result)
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
        began = time.monotonic()
        faults.inject(fault, instance)
        if without_redis.is_outage(fault):
            seen.record_outage(began, time.monotonic())
    waited = faults.seconds_until_ready(instance, without=victims, within_seconds=ready_seconds)
    if waited is None:
        seen.record_finding(f"not ready {ready_seconds} s after: {fault}")
        return float(ready_seconds)
    print(f"{fault}; ready after {waited:.1f} s", flush=True)
    return waited


if __name__ == "__main__":
    sys.exit(main())
