"""The rolls of the campaign: migrate under load, replace each process, go back, restart."""

import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.chaos import comparison, trial
from lab.chaos.calls import Connection, Measurement, Observations, Request
from lab.chaos.campaigns.rolling import balancer, processes, stack
from lab.chaos.campaigns.rolling.processes import WEB
from lab.chaos.faults import Fault
from lab.chaos.memory import Setup
from lab.chaos.shop import Shop
from lab.chaos.trial import Trial
from scripts.stack import children, database, places
from scripts.stack.instance import Instance

REPLACE = "replace"
"""The sort of this campaign's faults: the process is stopped by SIGTERM and started again."""
BEFORE_SECONDS = 8
"""Load on the previous release alone, whose keys and sagas the new one finds."""
REPEATED = 200
"""So many calls are repeated after each round."""
NO_ANSWER = "no answer"
ID = re.compile(r"[0-9a-f-]{36}|(?<=/)[0-9]+")
PLANTED = "ALTER TABLE orders_order ADD COLUMN added_since INT NOT NULL"
"""A migration whose new column the previous release doesn't write."""
PLANTED_SECONDS = 8
PLANTED_END = "ALTER TABLE orders_order DROP COLUMN added_since"


@dataclass
class RollResult:
    """How long a replacement took at most, and when a web server was stopped without draining."""

    longest_seconds: float = 0.0
    undrained: list[tuple[float, float]] = field(default_factory=list)

    def is_closed_at_stop(self, request: Request) -> bool:
        """Whether it got no answer while a web server stopped, or was on its way when that began."""
        return request.result == NO_ANSWER and any(
            began <= request.ended and request.began <= ended for began, ended in self.undrained
        )


def rounds(injected: Iterable[Fault]) -> list[list[str]]:
    """The processes to replace, in rounds of one replacement of each, in the order of the list."""
    found: list[list[str]] = []
    count = Counter[str]()
    for fault in injected:
        if count[fault.name] == len(found):
            found.append([])
        found[count[fault.name]].append(fault.name)
        count[fault.name] += 1
    return found


def run_rolls(
    injected: Sequence[Fault],
    planted: Sequence[str],
    instance: Instance,
    setup: Setup,
    seen: Observations,
    seed: str,
    *,
    load: Trial,
    pauses: tuple[float, float],
) -> RollResult:
    """Migrate and replace processes under load. Raises SetupError.

    The first round puts this release in the place of the previous one, the second the previous one again, the
    third this one; all later ones restart this release, without draining web servers. Each begins with new
    campaigns of the load. With a planted migration that is made too, and nothing is replaced.
    """
    seen.measured = Measurement()
    chance = random.Random(f"{seed} rolls")
    time.sleep(BEFORE_SECONDS)
    began = time.monotonic()
    children.printed(stack.manage(instance, places.PROJECT, ["migrate", "--no-input"]))
    print(f"migrated under load in {time.monotonic() - began:.1f} s", flush=True)
    if planted:
        for statement in planted:
            database.rows(instance, statement)
        time.sleep(PLANTED_SECONDS)
        database.rows(instance, PLANTED_END)
        return RollResult()
    shop = Shop(instance, setup.staff.token, seen)
    releases, result = [places.PROJECT, stack.previous(instance)], RollResult()
    for number, names in enumerate(rounds(injected)):
        code, is_restart = releases[number % 2 if number < 3 else 0], number >= 3
        _say_round(number, code, is_restart)
        setup.campaigns += trial.create_campaigns(load, shop, 1)
        before = {name: balancer.requests(instance, name) for name in WEB}
        for name in names:
            began = time.monotonic()
            seconds = replace(instance, name, code, is_drained=not is_restart)
            result.longest_seconds = max(result.longest_seconds, seconds)
            if is_restart and name in WEB:
                result.undrained.append((began, time.monotonic()))
            time.sleep(chance.uniform(*pauses))
        _check_round(names, code, before, instance, seen)
        check_replays(instance, setup, seen, f"{seed} {number}")
    return result


def replace(instance: Instance, name: str, code: Path, *, is_drained: bool) -> float:
    """Stop the process by SIGTERM and start it with that code; the seconds until it was ready."""
    began = time.monotonic()
    if name in WEB and is_drained:
        balancer.drain(instance, name)
    drained = time.monotonic()
    stack.stop(instance, name)
    stopped = time.monotonic()
    processes.set_code(instance, name, code)
    stack.start(instance, name)
    stack.wait_until_ready(instance, name)
    if name in WEB:
        balancer.admit(instance, name)
    ended = time.monotonic()
    parts = (drained - began, stopped - drained, ended - stopped)
    print(f"{name}: drained {parts[0]:.1f} s, stopped {parts[1]:.1f} s, ready {parts[2]:.1f} s", flush=True)
    return ended - began


def check_replays(instance: Instance, setup: Setup, seen: Observations, seed: str) -> None:
    """Repeat calls that either release has answered: each gets its own answer again, whichever has it now."""
    made = [
        one
        for account in [setup.staff, *setup.buyers]
        for one in [*account.calls]
        if one.call.key and one.was_done
    ]
    chosen = random.Random(seed).sample(made, min(REPEATED, len(made)))
    for finding in comparison.repeats(chosen, Connection(instance.port, seen, seed=seed)):
        seen.record_finding(finding)
    print(f"{len(chosen)} of {len(made)} keyed calls repeated", flush=True)


def record_failures(instance: Instance, seen: Observations, result: RollResult) -> None:
    """Print how the load's requests ended; each that failed is a finding.

    Those whose connection a web server closed that was stopped without draining are counted apart: the
    server closes what is idle, and a request may be on its way.
    """
    apart = [one for one in seen.measured.requests if result.is_closed_at_stop(one)]
    requests = [one for one in seen.measured.requests if not result.is_closed_at_stop(one)]
    refused = Counter(one.result for one in requests if one.result.startswith("503"))
    failed = failures(requests)
    print(f"{len(requests)} requests, refused: {dict(refused)}, failed: {dict(failed)}", flush=True)
    print(f"without an answer, at a stop without draining: {[_call_of(one) for one in apart]}", flush=True)
    print(f"at the balancer: {balancer.troubles(instance)}", flush=True)
    for what, count in failed.items():
        seen.record_finding(f"{count} requests failed: {what}")


def failures(requests: Iterable[Request]) -> Counter[str]:
    """The requests that no answer of the contract came to, by their result: none, or 5xx but 503."""
    return Counter(
        f"{_call_of(one)}: {one.result}"
        for one in requests
        if not one.result[:1].isdecimal() or (one.result[:1] == "5" and not one.result.startswith("503"))
    )


def _call_of(request: Request) -> str:
    """The method and path, without ids."""
    return f"{request.method} {ID.sub('…', request.path)}"


def _say_round(number: int, code: Path, is_restart: bool) -> None:
    release = "this release" if code == places.PROJECT else "the previous release"
    print(f"round {number + 1}: {'restarts of ' if is_restart else ''}{release}", flush=True)


def _check_round(
    names: Iterable[str], code: Path, before: dict[str, int], instance: Instance, seen: Observations
) -> None:
    """Each process runs that code now, and each web server has had requests."""
    for name in names:
        if (running := processes.running_code(instance, name)) != code:
            seen.record_finding(f"{name} runs the code of {running} instead of {code}")
    for name, count in before.items():
        if balancer.requests(instance, name) == count:
            seen.record_finding(f"{name} had no request during a round")
