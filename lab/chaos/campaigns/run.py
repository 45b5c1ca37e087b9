"""A campaign of faults as data, and a run of it: the stack, load and faults, and what has to hold after."""

import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from lab import shop as shops, stage
from lab.calls import Findings, Observations
from lab.chaos import comparison, faults
from lab.chaos.campaigns import clocks, network, patches
from lab.chaos.clients import Client, FeedReader, Work, at_work, staff_and_buyers
from lab.chaos.faults import PATIENCE_SECONDS, Fault, Faults
from lab.shop import Shop
from lab.stack import database
from lab.stack.rabbitmq import RunningNode
from scripts.stack import Environment, Settings, Words, children, own_stack, supervision
from scripts.stack.children import say
from scripts.stack.instance import Instance

SHORT_SECONDS = (0.5, 3.0)  # From and to how long a fault lasts that has no seconds of its own
LONGEST_SECONDS = 3600.0
QUICK_LONGEST_SECONDS = 8.0
QUICK_DIVISOR = 10
HEADER = "| campaign | faults | acknowledged | compared | lost | doubled | longest recovery |"


class Span(NamedTuple):
    """When a fault began and ended, and when the shop was ready after it, by the monotonic clock."""

    fault: Fault
    began: float
    ended: float
    ready: float


class Run:
    """A run as most campaigns have it; the campaign or a class has what is otherwise."""

    manage: Any = staticmethod(own_stack.manage)  # What runs the command that makes the first rows

    def __init__(
        self,
        campaign: "Campaign",
        instance: Instance,
        seed: str,
        *,
        is_quick: bool = False,
        is_planted: bool = False,
        seconds: str = "",
        broker: str = "",
    ) -> None:
        """As the command line asks for it."""
        self.campaign = campaign
        self.instance = instance
        self.seed = seed
        self.is_quick = is_quick
        self.is_planted = is_planted
        self.seconds = seconds
        self.needs = [broker, *campaign.needs]
        self.seen = Observations()
        self.record = self.seen.record_all
        self.opened = ExitStack()
        self.made = 0
        self.reader: FeedReader | None = None
        self.broker: RunningNode | None = None
        self.spans: list[Span] = []
        self.faults = campaign.plan(seed, is_quick=self.is_quick)
        if self.is_planted:
            self.faults = [*campaign.planted_faults, *self.faults]

    def run(self) -> int:
        """Load, faults and comparison; the exit code. Raises SetupError."""
        name = self.campaign.name
        say(f"{name}: SEED={self.seed} QUICK={self.is_quick:d} PLANTED={self.is_planted:d}")
        with self.seen.printed(), self.opened:
            self.opened.enter_context(self.stack({**shops.SETTINGS, **self.prepare()}))
            self.set_up()
            recovery = max(self.load(), self.settle())
            known = comparison.acknowledged(self.setup)
            stored = comparison.stored(self.setup, self.rows)
            lost, doubled = comparison.compare(known, {"the database": stored}, before=self.before)
            self.wrong = [*lost, *doubled]
            self.record(self.wrong)
            is_found = self.is_planted and self.finds_planted()
            if not self.is_planted:
                self.check()
            done = sum(made.was_done for made in self.setup.calls)
            if not (done and self.made):
                self.record([f"{done} calls had an effect, {self.made} faults were made: that shows nothing"])
        compared = sum(len(identities) for identities in known.values())
        say(
            f"{HEADER}\n| {name} | {self.made} | {done} | {compared} | {len(lost)} | {len(doubled)} "
            f"| {recovery:.1f} s |"
        )
        if self.is_planted:
            say(f"{name}: the planted defect was {'found' if is_found else 'NOT found'}")
            if is_found:
                return 0
            return 1
        say(f"{name}: {len(self.seen.findings)} findings, SEED={self.seed}")
        if self.seen.findings:
            return 1
        return 0

    def prepare(self) -> Settings:
        """Open what the stack needs; the settings that lead there. Raises SetupError."""
        terms = self.campaign
        settings = dict(terms.settings)
        if "rabbitmq" in self.needs:
            self.broker = RunningNode(self.instance.home / "rabbitmq")
            self.opened.callback(self.broker.end)
            settings |= self.broker.settings
        if terms.disk_megabytes:
            self.opened.enter_context(faults.small_disk(self.instance, megabytes=terms.disk_megabytes))
        if terms.clocks:
            settings |= self.opened.enter_context(clocks.moved(self.instance, terms.clocks))
        if self.campaign.links:
            settings |= network.start(self.instance, self.campaign.links)
        names = [*terms.patches]
        if self.is_planted:
            names += terms.planted_patches
        if names:
            settings |= patches.settings(*names)
        return settings

    def stack(self, settings: Environment) -> AbstractContextManager[Any]:
        return own_stack.running(self.instance, **settings)

    def set_up(self) -> None:
        """Accounts with points, products that can run out and campaigns that can sell out within minutes."""
        known = stage.seed(self.instance, shops.BUYERS * shops.ACCOUNTS_EACH, manage=self.manage)
        self.shop = Shop(self.instance, known["staff"], self.seen)
        stock = shops.STOCK * self.campaign.minutes
        setup = self.shop.stocked(known, "Trial", products=shops.PRODUCTS, on_hand=stock, plenty=shops.PLENTY)
        setup.campaigns = self.shop.create_campaigns(self.campaign.minutes)
        setup.has_3ds = self.campaign.has_3ds
        if self.campaign.has_sale:
            setup.sold = self.shop.create_product("Trial", shops.PRODUCTS + 1, shops.PLENTY)
            setup.sale = self.shop.create_sale(setup.sold.id, **asdict(shops.SALE))
        self.setup = setup
        self.before = comparison.stored(setup, self.rows)

    def load(self) -> float:
        """Run clients while the faults are made; the longest time until the shop was ready after one."""
        with at_work(self.clients()):
            return self.make_faults()

    def clients(self, more_seed: str = "") -> list[Client]:
        """Staff and buyers, who draw their calls and keys by the seed and this, and a reader of the feed."""
        ends_at = time.monotonic() + self.campaign.client_seconds
        work = Work(self.setup, self.instance.port, self.seen, ends_at)
        clients = staff_and_buyers(work, count=shops.BUYERS, seed=self.seed + more_seed)
        if self.campaign.has_reader:
            self.reader = FeedReader(work, f"{self.seed} feed")
            clients.append(self.reader)
        return clients

    def make_faults(self) -> float:
        """Make those of each sequence one after the other; the longest time until the shop was ready."""
        first, *others = self.sequences()
        with ThreadPoolExecutor() as threads:
            working = threads.map(self.make_each, others)
            # In this thread, which a signal interrupts.
            return max([self.make_each(first), *working])

    def make_each(self, sequence: Iterable[Fault]) -> float:
        longest = 0.0
        for fault in sequence:
            longest = max(longest, self.make(fault))
        return longest

    def sequences(self) -> list[Iterator[Fault]]:
        """Faults as they are due, of sequences that overlap."""
        return [self.planned()]

    def planned(self) -> Iterator[Fault]:
        chance = random.Random(f"{self.seed} pauses")
        for fault in self.faults:
            # Before each fault, because a database that starts again has its own settings.
            if self.is_planted and self.campaign.planted:
                self.campaign.planted(self.instance)
            time.sleep(chance.uniform(*self.campaign.pauses))
            yield fault

    def make(self, fault: Fault) -> float:
        """Make one fault; how long the shop then took to be ready. Raises SetupError."""
        leader = children.leader_of(self.instance.run, fault.name)
        began = time.monotonic()
        faults.make(fault, self.instance, self.broker)
        ended = time.monotonic()
        self.made += 1
        waited = faults.wait_until_ready(fault, leader, self.instance, self.campaign.ready_seconds)
        self.spans.append(Span(fault, began, ended, time.monotonic()))
        say(f"{fault}; ready after {waited:.1f} s")
        return waited

    def settle(self) -> float:
        """Wait until nothing is open; the seconds that took."""
        seconds = self.campaign.settle_seconds
        if self.is_planted:
            seconds = self.campaign.planted_settle_seconds
        return self.shop.settle(self.setup, seconds, self.operate, seconds == self.campaign.settle_seconds)

    def operate(self) -> None:
        """What an operator does meanwhile, again and again."""

    def finds_planted(self) -> bool:
        """Whether the planted defect was found: by default, whether something was lost or doubled."""
        return bool(self.wrong)

    def check(self) -> None:
        """The laws, all answers, the books of the outside systems, the feed, and what is the campaign's."""
        self.record(self.ended())
        self.shop.audit()
        self.record(comparison.findings(self.setup, self.shop, self.reader))
        self.record(self.findings())
        self.record(unmet(self.campaign, self.seen))

    def ended(self) -> Iterable[str]:
        return supervision.not_running(self.instance)

    def findings(self) -> Iterable[str]:
        """What the campaign alone checks, once all is settled."""
        return ()

    def rows(self, statement: str, *values: object) -> Any:
        if self.instance.database == "mariadb":
            return database.rows(self.instance, statement, *values)
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.execute("ATTACH ? AS firstcome", [f"{self.instance.data}/firstcome.sqlite3"])
            return connection.execute(statement).fetchall()


@dataclass(frozen=True)
class Campaign:
    """`faults` are made in an order of the seed. A quick run makes a tenth of each, at least one, for 8 s at
    most; where there is a `quick_name`, the faults about that alone."""

    name: str
    faults: Faults
    kind: type[Run] = Run
    planted: Callable[[Instance], None] | None = None  # a defect, made anew before each fault
    planted_faults: Sequence[Fault] = ()  # that break a promise
    quick_name: str = ""
    required_answers: Words = ()  # that the faults have to cause
    links: Words = ()  # whose calls go through a proxy
    needs: Words = ()  # system packages, or root
    touched_by: Words = ()  # a change of one of these files has CI run the campaign (SINCE=)
    # What is otherwise in its runs than in most:
    database: str = "mariadb"
    has_3ds: bool = True  # buyers whose card asks them, and who keep declined orders
    has_sale: bool = True  # buyers who join one
    has_reader: bool = True  # of the feed
    settings: Environment = field(default_factory=dict)  # of the shop, beside those of `lab.shop`
    patches: Words = ()  # changes of the shop's code, by their names in `patches`
    planted_patches: Words = ()  # those of a planted run alone
    clocks: str = ""  # of the processes whose clocks are moved, as `faketime.CLOCKS` has them
    has_to_happen: Words = ()  # kinds of changes, for it is to be seen that they aren't early
    disk_megabytes: int = 0  # of the database's own disk; 0 for none
    minutes: int = 1  # of load for which there are stock and coupons
    pauses: tuple[float, float] = (0.3, 2.0)  # from and to how many seconds pass before each fault
    client_seconds: float = (
        3600.0  # for which clients repeat calls, and 90 s more; of `month` the load of a day
    )
    ready_seconds: float = PATIENCE_SECONDS  # within which the shop has to be ready after a fault
    settle_seconds: int = 60  # within which all has to be settled after the load
    planted_settle_seconds: int = 5  # what a planted defect has lost never settles

    def plan(self, seed: str, *, is_quick: bool) -> list[Fault]:
        chance = random.Random(f"{seed} {self.name}")
        most = LONGEST_SECONDS
        if is_quick:
            most = QUICK_LONGEST_SECONDS
        plan = []
        for what, often in self.faults.items():
            count = faults.count_of(often)
            if is_quick:
                count = max(1, count // QUICK_DIVISOR)
            for _ in range(count):
                fault = faults.drawn(what, often, chance, SHORT_SECONDS, most)
                if not is_quick or self.quick_name in ("", fault.name):
                    plan.append(fault)
        chance.shuffle(plan)
        return plan


def unmet(campaign: Campaign, seen: Observations) -> Findings:
    """A fault that no request has met proves nothing."""
    for word in campaign.required_answers:
        if not seen.statuses[word]:
            yield f"no request was answered {word}: the faults had no effect"
