"""A campaign of faults as data, and a run of it: the stack, load and faults, and what has to hold after."""

import random
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing
from typing import Any, NamedTuple

from lab import shop as shops, stage
from lab.calls import Observations
from lab.chaos import comparison, faults
from lab.chaos.campaigns import clocks, network, patches
from lab.chaos.clients import FeedReader, at_work, staff_and_buyers
from lab.chaos.faults import Fault, Faults
from lab.shop import Shop
from lab.stack import database
from lab.stack.rabbitmq import RunningNode
from scripts.stack import children, own_stack, supervision
from scripts.stack.children import say
from scripts.stack.instance import Instance

SHORT_SECONDS, QUICK_LONGEST_SECONDS, QUICK_DIVISOR = (0.5, 3.0), 8.0, 10
HEADER = "| campaign | faults | acknowledged | compared | lost | doubled | longest recovery |"


class Span(NamedTuple):
    """When a fault began and ended, and when the shop was ready after it, by the monotonic clock."""

    fault: Fault
    began: float
    ended: float
    ready: float


class Run:
    """A run as most campaigns have it; `campaigns.toml` or a class has what is otherwise."""

    has_3ds = has_sale = has_reader = True
    """Buyers whose card asks them, and who keep declined orders; who join a sale; a reader of the feed."""
    database = "mariadb"
    manage: Any = staticmethod(own_stack.manage)
    """What runs the command that makes the first rows."""
    patches: Sequence[str] = ()
    planted_patches: Sequence[str] = ()
    settings: Mapping[str, str] = {}
    disk_megabytes = 0
    """Of the database's own disk; 0 for none."""
    clocks = ""
    """Of the processes whose clocks are moved, as `faketime.CLOCKS` has them."""
    has_to_happen: Sequence[str] = ()
    """Kinds of changes, for it is to be seen that they aren't early."""
    client_seconds, ready_seconds, minutes, pauses = 3600.0, faults.PATIENCE_SECONDS, 1, (0.3, 2.0)
    settle_seconds, planted_settle_seconds = 60, 5
    """What a planted defect has lost never settles."""

    def __init__(self, campaign: "Campaign", instance: Instance, seed: str, **asked: str) -> None:
        """As is asked by the options `quick`, `planted`, `seconds` and `broker` of the command line."""
        self.campaign, self.instance, self.seed, self.asked = campaign, instance, seed, asked
        if unknown := campaign.run.keys() - {*dir(self)}:
            raise LookupError(f"the run of {campaign.name} has no {', '.join(unknown)}")
        vars(self).update(campaign.run)
        self.is_quick, self.is_planted = bool(asked.get("quick")), bool(asked.get("planted"))
        self.seen, self.opened, self.made = Observations(), ExitStack(), 0
        self.record, self.reader = self.seen.record_all, list[FeedReader]()
        self.broker: RunningNode | None = None
        self.spans = list[Span]()
        planted = campaign.planted_faults if self.is_planted else ()
        self.faults = [*planted, *campaign.plan(seed, is_quick=self.is_quick)]

    def run(self) -> int:
        """Load, faults and comparison; the exit code. Raises SetupError."""
        name, seen = self.campaign.name, self.seen
        say(f"{name}: SEED={self.seed} QUICK={self.is_quick:d} PLANTED={self.is_planted:d}")
        with seen.printed(), self.opened:
            self.opened.enter_context(self.stack({**shops.SETTINGS, **self.prepare()}))
            self.set_up()
            recovery = max([self.load(), self.settle()])
            known, there = comparison.acknowledged(self.setup), comparison.stored(self.setup, self.rows)
            lost, doubled = comparison.compare(known, {"the database": there}, before=self.before)
            self.record([*lost, *doubled])
            is_found = self.is_planted and self.finds_planted([*lost, *doubled])
            if not self.is_planted:
                self.check()
            done = sum(made.was_done for made in self.setup.calls)
            if not (done and self.made):
                self.record([f"{done} calls had an effect, {self.made} faults were made: that shows nothing"])
        counts = (self.made, done, sum(map(len, known.values())), len(lost), len(doubled))
        say(f"{HEADER}\n| {name} | {' | '.join(map(str, counts))} | {recovery:.1f} s |")
        if self.is_planted:
            say(f"{name}: the planted defect was {'found' if is_found else 'NOT found'}")
            return int(not is_found)
        say(f"{name}: {len(seen.findings)} findings, SEED={self.seed}")
        return int(bool(seen.findings))

    def prepare(self) -> dict[str, str]:
        """Open what the stack needs; the settings that lead there. Raises SetupError."""
        settings = {**self.settings}
        if "rabbitmq" in (self.asked.get("broker"), *self.campaign.needs):
            self.broker = RunningNode(self.instance.home / "rabbitmq")
            self.opened.callback(self.broker.end)
            settings |= self.broker.settings
        if self.disk_megabytes:
            self.opened.enter_context(faults.small_disk(self.instance, megabytes=self.disk_megabytes))
        if self.clocks:
            settings |= self.opened.enter_context(clocks.moved(self.instance, self.clocks))
        if self.campaign.links:
            settings |= network.start(self.instance, self.campaign.links)
        names = (*self.patches, *(self.planted_patches if self.is_planted else ()))
        return settings | (patches.settings(*names) if names else {})

    def stack(self, settings: Mapping[str, str]) -> AbstractContextManager[Any]:
        return own_stack.running(self.instance, **settings)

    def set_up(self) -> None:
        """Accounts with points, products that can run out and campaigns that can sell out within minutes."""
        known = stage.seed(self.instance, shops.BUYERS * shops.ACCOUNTS_EACH, manage=self.manage)
        self.shop = shop = Shop(self.instance, known["staff"], self.seen)
        stock = shops.STOCK * self.minutes
        setup = shop.stocked(known, "Trial", products=shops.PRODUCTS, on_hand=stock, plenty=shops.PLENTY)
        setup.campaigns = shop.create_campaigns(self.minutes)
        setup.has_3ds = self.has_3ds
        if self.has_sale:
            setup.sold = shop.create_product("Trial", shops.PRODUCTS + 1, shops.PLENTY)
            setup.sale = shop.create_sale(setup.sold.id, **shops.SALE)
        self.setup, self.before = setup, comparison.stored(setup, self.rows)

    def load(self) -> float:
        """Run clients while the faults are made; the longest time until the shop was ready after one."""
        with at_work(self.clients()):
            return self.make_faults()

    def clients(self, more_seed: str = "") -> list[Any]:
        """Staff and buyers, who draw their calls and keys by the seed and this, and a reader of the feed."""
        common: dict[str, Any] = {"port": self.instance.port, "seen": self.seen}
        common["ends_at"] = time.monotonic() + self.client_seconds
        of = {"count": shops.BUYERS, "seed": self.seed + more_seed, **common}
        if self.has_reader:
            self.reader = [FeedReader(self.setup, seed=f"{self.seed} feed", **common)]
        return [*staff_and_buyers(self.setup, **of), *self.reader]

    def make_faults(self) -> float:
        """Make those of each sequence one after the other; the longest time until the shop was ready."""
        make_each = lambda sequence: max(map(self.make, sequence), default=0.0)  # noqa: E731
        first, *others = self.sequences()
        with ThreadPoolExecutor() as threads:
            working = threads.map(make_each, others)
            # In this thread, which a signal interrupts.
            return max([make_each(first), *working])

    def sequences(self) -> list[Iterator[Fault]]:
        """Faults as they are due, of sequences that overlap."""
        return [self.planned()]

    def planned(self) -> Iterator[Fault]:
        chance = random.Random(f"{self.seed} pauses")
        for fault in self.faults:
            # Before each fault, because a database that starts again has its own settings.
            if self.is_planted and self.campaign.planted:
                self.rows(self.campaign.planted)
            time.sleep(chance.uniform(*self.pauses))
            yield fault

    def make(self, fault: Fault) -> float:
        """Make one fault; how long the shop then took to be ready. Raises SetupError."""
        leader, began = children.leader_of(self.instance.run, fault.name), time.monotonic()
        faults.make(fault, self.instance, self.broker)
        ended = time.monotonic()
        self.made += 1
        waited = faults.wait_until_ready(fault, leader, self.instance, self.ready_seconds)
        self.spans.append(Span(fault, began, ended, time.monotonic()))
        say(f"{fault}; ready after {waited:.1f} s")
        return waited

    def settle(self) -> float:
        """Wait until nothing is open; the seconds that took."""
        seconds = self.planted_settle_seconds if self.is_planted else self.settle_seconds
        return self.shop.settle(self.setup, seconds, self.operate, seconds == self.settle_seconds)

    def operate(self) -> None:
        """What an operator does meanwhile, again and again."""

    def finds_planted(self, wrong: list[str]) -> bool:
        """Whether the planted defect was found; `wrong` is what was lost or doubled."""
        return bool(wrong)

    def check(self) -> None:
        """The laws, all answers, the books of the outside systems, the feed, and what is the campaign's."""
        self.record(self.ended())
        self.shop.audit()
        self.record(comparison.findings(self.setup, self.shop, *self.reader))
        say(self.shop.sums(self.setup))
        self.record(self.findings())
        self.record(unmet(self.campaign, self.seen))

    def ended(self) -> Iterator[str]:
        """Each process that does not run, for supervisor restarts what dies."""
        states = supervision.states(self.instance)
        yield from (f"{one} is {state} in the end" for one, state in states.items() if state != "RUNNING")

    def findings(self) -> Iterable[str]:
        """What the campaign alone checks, once all is settled."""
        return ()

    def rows(self, statement: str, *values: object) -> Any:
        if self.instance.database == "mariadb":
            return database.rows(self.instance, statement, *values)
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.execute("ATTACH ? AS firstcome", [str(self.instance.data / "firstcome.sqlite3")])
            return connection.execute(statement).fetchall()


class Campaign(NamedTuple):
    """A campaign as `campaigns.toml` declares it."""

    name: str
    faults: Faults
    kind: type[Run] = Run
    planted: str = ""
    planted_faults: Sequence[Fault] = ()
    quick_name: str = ""
    required_answers: Sequence[str] = ()
    links: Sequence[str] = ()
    needs: Sequence[str] = ()
    touched_by: Sequence[str] = ()
    run: Mapping[str, Any] = {}

    def plan(self, seed: str, *, is_quick: bool) -> list[Fault]:
        """All faults in the order of the seed."""
        chance, most = random.Random(f"{seed} {self.name}"), QUICK_LONGEST_SECONDS if is_quick else 3600.0
        counts = {what: one[0] if isinstance(one, tuple) else one for what, one in self.faults.items()}
        found = [
            faults.drawn(what, self.faults[what], chance, SHORT_SECONDS, most)
            for what, count in counts.items()
            for _ in range(max(1, count // QUICK_DIVISOR) if is_quick else count)
        ]
        found = [one for one in found if not is_quick or self.quick_name in ("", one.name)]
        chance.shuffle(found)
        return found


def unmet(campaign: Campaign, seen: Observations) -> Iterator[str]:
    """A fault that no request has met proves nothing."""
    for word in campaign.required_answers:
        if not seen.statuses[word]:
            yield f"no request was answered {word}: the faults had no effect"
