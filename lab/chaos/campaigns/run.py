"""A campaign of faults as data, and a run of it: the stack, load and faults, and what has to hold after."""

import random
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from subprocess import CompletedProcess
from typing import Any

from lab import shop as shops, stage
from lab.calls import Observations
from lab.chaos import comparison, faults
from lab.chaos.campaigns import network, patches
from lab.chaos.clients import FeedReader, at_work, staff_and_buyers
from lab.chaos.faults import Fault, Faults
from lab.shop import Shop
from lab.stack import database, rabbitmq
from lab.stack.rabbitmq import RunningNode
from scripts.stack import SetupError, children, own_stack, supervision, waiting
from scripts.stack.children import say
from scripts.stack.instance import Instance

SHORT_SECONDS, QUICK_LONGEST_SECONDS, QUICK_DIVISOR = (0.5, 3.0), 8.0, 10
WORKER_SECONDS = 90
"""Each attempt of a worker to connect to RabbitMQ again waits two seconds longer than the one before."""
HEADER = "| campaign | faults | acknowledged | compared | lost | doubled | longest recovery |"
PLAIN_LOAD = frozenset[str]()
"""Orders, payments, refunds, and coupons of every strategy."""
LASTING_LOAD = PLAIN_LOAD | {"3ds"}
"""And cards whose owner has to act, and orders that are kept on a decline."""
WHOLE_LOAD = LASTING_LOAD | {"sale"}
"""And a sale with a waiting room."""


class Run:
    """A run as most campaigns have it; a campaign that differs overrides a part, and may open what is to be
    there up to the end, after the stack's if `prepare` opens it."""

    load_kind, has_reader, database = WHOLE_LOAD, True, "mariadb"
    needs: tuple[str, ...] = ()
    patches: tuple[str, ...] = ()
    planted_patches: tuple[str, ...] = ()
    client_seconds, ready_seconds, minutes, pauses = 3600, faults.PATIENCE_SECONDS, 1, (0.3, 2.0)
    settle_seconds, planted_settle_seconds = 60, 5
    """What a planted defect has lost never settles."""

    def __init__(self, campaign: "Campaign", instance: Instance, seed: str, **asked: str) -> None:
        """As is asked by the options `quick`, `planted`, `seconds` and `broker` of the command line."""
        self.campaign, self.instance, self.seed, self.asked = campaign, instance, seed, asked
        self.is_quick, self.is_planted = bool(asked.get("quick")), bool(asked.get("planted"))
        self.seen, self.opened = Observations(), ExitStack()
        self.broker: RunningNode | None = None
        self.reader: FeedReader | None = None
        planted = campaign.planted_faults if self.is_planted else ()
        self.faults, self.made = [*planted, *campaign.plan(seed, is_quick=self.is_quick)], 0

    def run(self) -> int:
        """Load, faults and comparison; the exit code. Raises SetupError."""
        name, seen = self.campaign.name, self.seen
        say(f"{name}: SEED={self.seed} QUICK={self.is_quick:d} PLANTED={self.is_planted:d}")
        with seen.printed(), self.opened:
            self.opened.enter_context(self.stack({**shops.SETTINGS, **self.prepare()}))
            self.set_up()
            recovery = self.load()
            recovery = max(recovery, self.settle())
            count, compared = self.compare()
            wrong = [*compared.lost, *compared.doubled]
            self.record(wrong)
            is_found = self.is_planted and self.finds_planted(wrong)
            if not self.is_planted:
                self.check()
            done = sum(made.was_done for made in self.setup.calls)
            if not (done and self.made):
                self.record([f"{done} calls had an effect, {self.made} faults were made: that shows nothing"])
        counts = (self.made, done, count, len(compared.lost), len(compared.doubled))
        say(f"{HEADER}\n| {name} | {' | '.join(map(str, counts))} | {recovery:.1f} s |")
        if self.is_planted:
            say(f"{name}: the planted defect was {'found' if is_found else 'NOT found'}")
            return 0 if is_found else 1
        say(f"{name}: {len(seen.findings)} findings, SEED={self.seed}")
        return 1 if seen.findings else 0

    def prepare(self) -> dict[str, str]:
        """Open what the stack needs; the settings that lead there. Raises SetupError."""
        if "rabbitmq" in (self.asked.get("broker"), *self.needs):
            self.broker = self.opened.enter_context(rabbitmq.running(self.instance.home / "rabbitmq"))
        through = self.opened.enter_context(network.beside(self.instance, self.campaign.links))
        names = (*self.patches, *(self.planted_patches if self.is_planted else ()))
        patched = patches.settings(*names) if names else {}
        return {**(self.broker.settings if self.broker else {}), **through, **patched}

    def stack(self, settings: Mapping[str, str]) -> AbstractContextManager[Any]:
        return own_stack.running(self.instance, **settings)

    def manage(self, instance: Instance, words: str) -> CompletedProcess[str]:
        """The command that makes the first rows."""
        return own_stack.manage(instance, words)

    def set_up(self) -> None:
        """Accounts with points, products that can run out and campaigns that can sell out within minutes."""
        known = stage.seed(self.instance, shops.BUYERS * shops.ACCOUNTS_EACH, manage=self.manage)
        self.shop = shop = Shop(self.instance, known["staff"], self.seen)
        stock = shops.STOCK * self.minutes
        setup = shop.stocked(known, "Trial", products=shops.PRODUCTS, on_hand=stock, plenty=shops.PLENTY)
        setup.campaigns = shop.create_campaigns(self.minutes)
        setup.has_3ds = "3ds" in self.load_kind
        setup.drop = shop.create_drop() if "sale" in self.load_kind else None
        self.setup, self.before = setup, comparison.stored(setup, self.rows)

    def load(self) -> float:
        """Run clients while the faults are made; the longest time until the shop was ready after one."""
        with at_work(self.clients()):
            return self.make_faults()

    def clients(self) -> list[Any]:
        if self.has_reader:
            self.reader = FeedReader(self.setup, seed=f"{self.seed} feed", **self.common())
        return [*self.buyers(), *([self.reader] if self.reader else [])]

    def buyers(self, more_seed: str = "") -> list[Any]:
        """Staff and buyers, who draw their calls and keys by the seed and this."""
        of = {"seed": self.seed + more_seed, **self.common()}
        return [*staff_and_buyers(self.setup, count=shops.BUYERS, **of)]

    def common(self) -> dict[str, Any]:
        """What all clients have in common."""
        ends_at = time.monotonic() + self.client_seconds
        return {"port": self.instance.port, "ends_at": ends_at, "seen": self.seen}

    def make_faults(self) -> float:
        """Make those of each lane one after the other; the longest time until the shop was ready."""
        make_each = lambda lane: max(map(self.make, lane), default=0.0)  # noqa: E731
        first, *others = self.lanes()
        with ThreadPoolExecutor() as threads:
            working = threads.map(make_each, others)
            # In this thread, which a signal interrupts.
            return max([make_each(first), *working])

    def lanes(self) -> list[Iterator[Fault]]:
        """Faults as they are due, of lanes that overlap."""
        return [self.planned()]

    def planned(self) -> Iterator[Fault]:
        chance = random.Random(f"{self.seed} pauses")
        for fault in self.faults:
            # Before each fault, because a database that starts again has its own settings.
            for statement in self.campaign.planted if self.is_planted else ():
                self.rows(statement)
            time.sleep(chance.uniform(*self.pauses))
            yield fault

    def make(self, fault: Fault) -> float:
        """Make one fault; how long the shop then took to be ready, also after one that can't be made."""
        leader = children.leader_of(self.instance.run, fault.name)
        try:
            faults.make(fault, self.instance, self.broker)
            self.made += 1
        except SetupError as error:
            self.record([f"{fault}: {error}"])
        try:
            waited = faults.wait_until_ready(fault, leader, self.instance, self.ready_seconds)
        except SetupError as error:
            self.record([f"{fault}: {error}"])
            return float(self.ready_seconds)
        say(f"{fault}; ready after {waited:.1f} s")
        return waited

    def settle(self) -> float:
        """Wait until nothing is open; the seconds that took."""
        seconds = self.planted_settle_seconds if self.is_planted else self.settle_seconds
        how: dict[str, Any] = {"within_seconds": seconds, "awaits_answers": seconds == self.settle_seconds}
        return self.shop.settle(self.setup, operate=self.operate, **how)

    def operate(self) -> None:
        """What an operator does meanwhile, again and again."""

    def compare(self) -> tuple[int, comparison.Compared]:
        """How many acknowledged effects are compared with the database, and what is lost or doubled."""
        known, there = comparison.acknowledged(self.setup), {"the database": self.stored()}
        return sum(map(len, known.values())), comparison.compare(known, there, before=self.before)

    def finds_planted(self, wrong: list[str]) -> bool:
        """Whether the planted defect was found; `wrong` is what was lost or doubled."""
        return bool(wrong)

    def check(self) -> None:
        """The laws, all answers, the books of the outside systems, the feed, and what is the campaign's."""
        self.check_processes()
        self.shop.audit()
        self.record(comparison.findings(self.setup, self.shop, self.reader))
        say(self.shop.sums(self.setup))
        self.record(self.findings())
        self.record(unmet(self.campaign, self.seen))

    def check_processes(self) -> None:
        """Each process runs, for supervisor restarted what died; and the worker is back at its broker."""
        states = supervision.states(self.instance)
        self.record(f"{one} is {state} in the end" for one, state in states.items() if state != "RUNNING")
        if broker := self.broker:
            gone = lambda: not rabbitmq.has_worker(broker.url)  # noqa: E731
            if waiting.left(gone, within_seconds=WORKER_SECONDS, pause_seconds=0.5):
                self.record(["no worker takes messages from RabbitMQ in the end"])

    def findings(self) -> Iterable[str]:
        """What the campaign alone checks, once all is settled."""
        return ()

    def record(self, findings: Iterable[str]) -> None:
        self.seen.record_all(findings)

    def rows(self, statement: str, *values: object) -> Any:
        if self.instance.database == "mariadb":
            return database.rows(self.instance, statement, *values)
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.execute("ATTACH ? AS firstcome", [str(self.instance.data / "firstcome.sqlite3")])
            return connection.execute(statement).fetchall()

    def stored(self) -> comparison.Effects:
        return comparison.stored(self.setup, self.rows)


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
        chance, found = random.Random(f"{seed} {self.name}"), list[Fault]()
        for what, often in self.faults.items():
            count = often[0] if isinstance(often, tuple) else often
            for _ in range(max(1, count // QUICK_DIVISOR) if is_quick else count):
                fault = faults.drawn(what, often, chance, SHORT_SECONDS)
                found.append(fault.at_most(QUICK_LONGEST_SECONDS) if is_quick else fault)
        if is_quick and self.quick_name:
            found = [fault for fault in found if fault.name == self.quick_name]
        chance.shuffle(found)
        return found


def unmet(campaign: Campaign, seen: Observations) -> Iterator[str]:
    """A fault that no request has met proves nothing."""
    for word in campaign.required_answers:
        if not seen.statuses[word]:
            yield f"no request was answered {word}: the faults had no effect"
