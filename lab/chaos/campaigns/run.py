"""A campaign of faults as data, and a run of it: the stack, load and faults, and what has to hold after."""

import random
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from subprocess import CompletedProcess
from typing import Any

from lab.chaos import faults, trial
from lab.chaos.calls import Observations
from lab.chaos.campaigns import kinds, network, patches
from lab.chaos.clients import FeedReader, WebhookSender, at_work, staff_and_buyers
from lab.chaos.faults import Fault
from lab.cluster.drill import effects
from lab.stack import database
from scripts.stack import own_stack, process_identity
from scripts.stack.instance import Instance
from scripts.stack.rabbitmq import RunningNode

SHORT_SECONDS, QUICK_LONGEST_SECONDS, QUICK_DIVISOR = (0.5, 3.0), 8.0, 10
Faults = dict[str, int | tuple[int, float, float]]
HEADER = "| campaign | faults | acknowledged | compared | lost | doubled | longest recovery |"
REPLACING, REDIS_AWAY = ("kill", "down", "old data for"), ("down", "no memory for", "old data for")
"""Sorts of faults after which another process is there, and while which Redis serves nothing."""
WITHOUT_REDIS = ("/orders", "/coupons")
"""What is answered all the same, the latter by the strategies that do without Redis."""
PLAIN_LOAD = trial.Trial("campaign", "mariadb", 60, has_outages=False, pauses=(0, 0), has_all_strategies=True)
LASTING_LOAD = replace(PLAIN_LOAD, has_customer_actions=True)
WHOLE_LOAD = replace(LASTING_LOAD, has_sale=True, has_restrictions=True)


class Run:
    """A run as most campaigns have it; a campaign that differs overrides a part, and may open what is to be
    there up to the end, after the stack's if `prepare` opens it."""

    load_kind, has_reader = WHOLE_LOAD, True
    needs: tuple[str, ...] = ()
    patches: tuple[str, ...] = ()
    planted_patches: tuple[str, ...] = ()
    client_seconds, ready_seconds, minutes, pauses = 3600, faults.PATIENCE_SECONDS, 1, (0.3, 2.0)
    settle_seconds, planted_settle_seconds = 60, 5
    """What a planted defect has lost never settles."""

    def __init__(
        self, campaign: "Campaign", instance: Instance, seed: str, *, is_quick: bool, is_planted: bool
    ) -> None:
        self.campaign, self.instance, self.seed = campaign, instance, seed
        self.is_quick, self.is_planted = is_quick, is_planted
        self.seen, self.opened = Observations(), ExitStack()
        self.broker: RunningNode | None = None
        self.reader: FeedReader | None = None
        planted = campaign.planted_faults if is_planted else ()
        self.faults = [*planted, *campaign.plan(seed, is_quick=is_quick)]

    def run(self) -> int:
        """Load, faults and comparison; the exit code. Raises SetupError."""
        name, instance, seen = self.campaign.name, self.instance, self.seen
        say(f"{name}: SEED={self.seed} QUICK={self.is_quick:d} PLANTED={self.is_planted:d}")
        with self.opened:
            self.opened.enter_context(self.stack({**trial.SETTINGS, **self.prepare()}))
            asked: dict[str, Any] = {"minutes": self.minutes, "manage": self.manage}
            self.setup, self.shop = trial.set_up(self.load_kind, instance, seen, **asked)
            self.before = self.stored()
            recovery = self.load()
            recovery = max(recovery, self.settle())
            count, compared = self.compare()
            wrong = [*compared.lost, *compared.doubled]
            is_found = self.is_planted and self.finds_planted(wrong)
            if not self.is_planted:
                self.check()
        say(trial.summary(self.setup, seen))
        accounts = [self.setup.staff, *self.setup.buyers]
        done = sum(made.was_done for account in accounts for made in account.calls)
        counts = (len(self.faults), done, count, len(compared.lost), len(compared.doubled))
        say(f"{HEADER}\n| {name} | {' | '.join(map(str, counts))} | {recovery:.1f} s |")
        if self.is_planted:
            say(f"{name}: the planted defect was {'found' if is_found else 'NOT found'}")
            return 0 if is_found else 1
        for finding in (*wrong, *seen.findings):
            say(f"FINDING {finding}")
        return 1 if wrong or seen.findings else 0

    def prepare(self) -> dict[str, str]:
        """Open what the stack needs; the settings that lead there. Raises SetupError."""
        broker = "rabbitmq" if "rabbitmq" in self.needs else "redis"
        self.broker = self.opened.enter_context(trial.broker_beside(broker, self.instance.home))
        through = self.opened.enter_context(network.beside(self.instance, self.campaign.links))
        names = (*self.patches, *(self.planted_patches if self.is_planted else ()))
        patched = patches.settings(*names) if names else {}
        return {**(self.broker.settings if self.broker else {}), **through, **patched}

    def stack(self, settings: Mapping[str, str]) -> AbstractContextManager[Any]:
        return own_stack.running(self.instance, **settings)

    def manage(self, instance: Instance, words: str) -> CompletedProcess[str]:
        """The command that makes the first rows."""
        return own_stack.manage(instance, words)

    def load(self) -> float:
        """Run clients while the faults are made; the longest time until the shop was ready after one."""
        kinds.copy_redis(self.instance)
        with at_work(self.clients()):
            return self.make_faults()

    def clients(self) -> list[Any]:
        found = [*self.buyers(), WebhookSender(self.instance, seed=f"{self.seed} sender", seen=self.seen)]
        if self.has_reader:
            port, token = self.instance.port, self.shop.token
            self.reader = FeedReader(port=port, token=token, seed=self.seed, seen=self.seen)
        return [*found, *([self.reader] if self.reader else [])]

    def buyers(self, more_seed: str = "") -> list[Any]:
        """Staff and buyers, who draw their calls and keys by the seed and this."""
        ends: dict[str, Any] = {"ends_at": time.monotonic() + self.client_seconds, "seen": self.seen}
        ends |= {"port": self.instance.port, "seed": self.seed + more_seed}
        return [*staff_and_buyers(self.setup, count=trial.BUYERS, **ends)]

    def make_faults(self) -> float:
        chance, longest = random.Random(f"{self.seed} pauses"), 0.0
        for fault in self.faults:
            # Before each fault, because a database that starts again has its own settings.
            for statement in self.campaign.planted if self.is_planted else ():
                self.rows(statement)
            time.sleep(chance.uniform(*self.pauses))
            longest = max(longest, self.make(fault))
        return longest

    def make(self, fault: Fault) -> float:
        """Make one fault; how long the shop then took to be ready."""
        leader = process_identity.leader_of(self.instance.run, fault.name)
        victims = {fault.name: leader} if leader and fault.sort in REPLACING else {}
        began, within = time.monotonic(), self.ready_seconds
        if self.broker and fault.name == faults.BROKER:
            faults.make_to_broker(self.broker, fault)
        else:
            faults.inject(fault, self.instance)
        if fault.name == "redis" and fault.sort in REDIS_AWAY:
            self.seen.record_outage(began, time.monotonic())
        waited = faults.seconds_until_ready(self.instance, without=victims, within_seconds=within)
        if waited is None:
            self.record([f"not ready {within} s after: {fault}"])
            return float(within)
        say(f"{fault}; ready after {waited:.1f} s")
        return waited

    def settle(self) -> float:
        """Wait until nothing is open; the seconds that took."""
        seconds = self.planted_settle_seconds if self.is_planted else self.settle_seconds
        more: dict[str, Any] = {"within_seconds": seconds, "awaits_answers": seconds == self.settle_seconds}
        return trial.settle(self.setup, self.shop, self.seen, operate=self.operate, **more)

    def operate(self) -> None:
        """What an operator does meanwhile, again and again."""

    def compare(self) -> tuple[int, effects.Compared]:
        """How many acknowledged effects are compared with the database, and what is lost or doubled."""
        known, there = effects.acknowledged(self.setup), {"the database": self.stored()}
        return sum(map(len, known.values())), effects.compare(known, there, before=self.before)

    def finds_planted(self, wrong: list[str]) -> bool:
        """Whether the planted defect was found; `wrong` is what was lost or doubled."""
        return bool(wrong)

    def check(self) -> None:
        """The laws, all answers, the books of the outside systems, the feed, and what is the campaign's."""
        self.check_processes()
        trial.audit(self.instance, self.seen)
        trial.check(self.setup, self.shop, self.reader)
        self.record(self.findings())
        self.record(unmet(self.campaign, self.seen))
        self.record(unanswered_without_redis(self.seen))

    def check_processes(self) -> None:
        trial.check_processes(self.instance, self.broker, self.seen)

    def findings(self) -> Iterable[str]:
        """What the campaign alone checks, once all is settled."""
        return ()

    def record(self, findings: Iterable[str]) -> None:
        for finding in findings:
            self.seen.record_finding(finding)

    def rows(self, statement: str, *values: object) -> Any:
        return database.rows(self.instance, statement, *values)

    def stored(self) -> effects.Effects:
        return effects.stored(self.setup, self.rows)


@dataclass(frozen=True)
class Campaign:
    """`faults` says of each sort and process how often it is made, and from and to how long it lasts. A quick
    run makes a tenth of each, at least one, or those of `quick_name` alone.

    `planted` are statements for the database, and `planted_faults` faults, that break a promise: a run with
    them has to lose or double an effect, and the comparison to find that. `required_answers` are what faults
    have to cause. Calls of `links` go through a proxy.
    """

    name: str
    faults: Faults
    kind: type[Run] = Run
    planted: tuple[str, ...] = ()
    planted_faults: tuple[Fault, ...] = ()
    quick_name: str = ""
    required_answers: tuple[str, ...] = ()
    links: tuple[str, ...] = ()

    def plan(self, seed: str, *, is_quick: bool) -> list[Fault]:
        """All faults in the order of the seed."""
        chance, found = random.Random(f"{seed} {self.name}"), []
        for what, often in self.faults.items():
            sort, _, name = what.rpartition(" ")
            count, first, last = often if isinstance(often, tuple) else (often, *SHORT_SECONDS)
            for _ in range(max(1, count // QUICK_DIVISOR) if is_quick else count):
                seconds = chance.uniform(first, last)
                found.append(Fault(sort, name, min(seconds, QUICK_LONGEST_SECONDS) if is_quick else seconds))
        if is_quick and self.quick_name:
            found = [fault for fault in found if fault.name == self.quick_name]
        chance.shuffle(found)
        return found


def unmet(campaign: Campaign, seen: Observations) -> Iterator[str]:
    """A fault that no request has met proves nothing."""
    for word in campaign.required_answers:
        if not seen.statuses[word]:
            yield f"no request was answered {word}: the faults had no effect"


def unanswered_without_redis(seen: Observations) -> Iterator[str]:
    """Each path of which no request was answered during the recorded outages; prints how many were."""
    outages = seen.measured.outages
    met = [
        one for one in seen.measured.requests if any(a <= one.began and one.ended <= b for a, b in outages)
    ]
    for path in WITHOUT_REDIS:
        goods = [request.is_good for request in met if (request.method, request.path) == ("POST", path)]
        if goods:
            say(f"while Redis was away {sum(goods)} of {len(goods)} requests of {path} were answered")
        if goods and not any(goods):
            yield f"while Redis was away none of {len(goods)} requests of {path} was answered"


def say(text: str) -> None:
    print(text, flush=True)
