"""The campaigns of faults: which faults each makes, and the planted defect that it has to find.

In `chaos` and `soak` processes fail at random, several at once, for so many seconds. `soak` measures the
availability, and has a Prometheus beside it, from which every dashboard is filled.
"""

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from lab import shop
from lab.calls import Call, Observations, coupon_call
from lab.chaos import comparison, faults
from lab.chaos.campaigns import network
from lab.chaos.campaigns.month import Month
from lab.chaos.campaigns.network import State
from lab.chaos.campaigns.releases import NAMES, Releases
from lab.chaos.campaigns.restore import Restore
from lab.chaos.campaigns.run import Campaign, Run
from lab.chaos.campaigns.tasks import Tasks
from lab.chaos.faults import WEB_PROCESS, Fault, Faults
from lab.stack import faketime, prometheus
from scripts.stack import own_stack, processes, waiting
from scripts.stack.children import say

SHORT_SECONDS, LONG_SECONDS, SHARE_OF_LONG = (0.3, 5.0), (11.0, 13.0), 0.15
"""How long a process is frozen or down; the long ones outlast the lease of a saga."""
NEEDED_TO_ANSWER = {"web", WEB_PROCESS, "redis", "mariadb", "partner"}
"""Without these some requests can't be answered as they should; all others the shop makes up for."""
BREAKER_SECONDS, SEEN_SECONDS = 2.0, 90
"""How long a circuit breaker of the shop may refuse calls of what is back, and Prometheus not see it."""
GOAL, SERVICE_LEVEL_PATHS = 0.999, {"/orders", "/payments", "/wallet/top-ups"}
"""The share of good requests, and what the service level counts of the POSTs."""
TRIGGER = "CREATE OR REPLACE TRIGGER planted BEFORE {} FOR EACH ROW SET NEW.{}"
FORGOTTEN_KEYS = (TRIGGER.format("INSERT ON shop_idempotencykey", "key_hash = SHA2(UUID(), 256)"),)
"""Keys are recorded, and never found again: a repeated call has its effect again."""
NEW_CHARGE_KEYS = (TRIGGER.format("UPDATE ON payments_payment", "charge_key = CONCAT('payment-', UUID())"),)
IN_MEMORY = ("SET GLOBAL innodb_flush_log_at_timeout = 2700, GLOBAL innodb_flush_log_at_trx_commit = 0",)
"""Commits are acknowledged from memory, so a killed server loses those since the last write."""
REFUSED = ("503 unavailable",)
REDIS_AWAY, WITHOUT_REDIS = ("down", "no memory for", "old data for"), {"/orders", "/coupons"}
"""Sorts of faults while which Redis serves nothing, and what is answered all the same."""


class Sales(Run):
    """Planted, each process counts the admissions of a sale in its memory: together they exceed the rate."""

    planted_patches = ("admissions-in-memory",)

    def finds_planted(self, wrong: list[str]) -> bool:
        return any(law["law"] == "L14" and not law["holds"] for law in own_stack.audit(self.instance))


class Gateway(Run):
    """A refund whose attempts all fell into an outage is stuck: an operator has it tried again."""

    # Attempts of long outages are made ever more rarely, by the shop and by the gateway's webhooks.
    settle_seconds = planted_settle_seconds = 120

    def operate(self) -> None:
        say(f"{own_stack.manage(self.instance, 'retry_saga --all-stuck --reason gateway-is-back')}")

    def finds_planted(self, wrong: list[str]) -> bool:
        return bool(wrong or [*comparison.of_outside(self.setup, self.shop)])


class Disk(Run):
    """A server that starts on a full disk waits for a minute before it writes its system tables again."""

    needs, ready_seconds = ("root",), 90

    def prepare(self) -> dict[str, str]:
        self.opened.enter_context(faults.small_disk(self.instance, megabytes=1024))
        return super().prepare()


class Stores(Run):
    """While Redis serves nothing orders are answered, and coupons of strategies that do without it."""

    needs = ("rabbitmq",)

    def load(self) -> float:
        self.spans = list[tuple[float, float]]()
        faults.copy_redis(self.instance)
        return super().load()

    def make(self, fault: Fault) -> float:
        began, waited = time.monotonic(), super().make(fault)
        if fault.name == "redis" and fault.sort in REDIS_AWAY:
            self.spans.append((began, time.monotonic() - waited))
        return waited

    def findings(self) -> Iterator[str]:
        return unanswered(self.seen, self.spans)


def unanswered(seen: Observations, spans: Sequence[tuple[float, float]]) -> Iterator[str]:
    """Each path of which requests were made in these spans, and none was answered; prints how many were."""
    for path in WITHOUT_REDIS:
        asked = [one for one in seen.requests if one.method == "POST" and one.path == path]
        met = [one.is_good for one in asked if any(a <= one.began and one.ended <= b for a, b in spans)]
        say(f"while Redis was away {sum(met)} of {len(met)} requests of {path} were answered")
        if met and not any(met):
            yield f"while Redis was away none of {len(met)} requests of {path} was answered"


def each(names: Mapping[str, int], kill: int = 6, freeze: int = 3, down: int = 2) -> Faults:
    """Each sort of fault to each process, as often as their shares say; web's children can't be kept down."""
    sorts = {"kill": kill, "freeze": freeze, "down": down}
    shares = {f"{sort} {name}": often * names[name] for sort, often in sorts.items() for name in names}
    return {what: share for what, share in shares.items() if what != f"down {WEB_PROCESS}"}


SHOP = each({"web": 1, WEB_PROCESS: 3, "worker": 2, "beat": 1, "issuer": 1})
OUTSIDE: Faults = each({"gateway": 1, "sink": 1, "partner": 1, "redis": 2}) | {"flush redis": 2}
MARIADB, BROKER = each({"mariadb": 2}), each({faults.BROKER: 1}, 1, 1, 1)
SLOW: Faults = {"slow gateway": (1, 10.0, 25.0)}
JUMP: Faults = {"jump second-worker": (1, 15.0, 40.0)}


class Chaos(Run):
    """Lanes of faults run at once, so that those of the shop and of what is outside overlap."""

    settle_seconds, database, client_seconds, pauses = shop.SETTLE_SECONDS, "sqlite", 60.0, (0.3, 3.0)

    def prepare(self) -> dict[str, str]:
        self.client_seconds = float(self.asked.get("seconds") or self.client_seconds)
        self.minutes = max(1, int(self.client_seconds) // 60)
        return super().prepare()

    def lanes(self) -> list[Iterator[Fault]]:
        self.seen.requests, self.ends_at = [], time.monotonic() + self.client_seconds
        outside = OUTSIDE | (MARIADB if self.instance.database == "mariadb" else {})
        return [self.drawn(self.pauses, one) for one in (SHOP, outside, *([BROKER] if self.broker else []))]

    def drawn(self, pauses: tuple[float, float], shares: Faults) -> Iterator[Fault]:
        """Faults by their shares up to the end, with a pause of so many seconds after each."""
        chance = random.Random(f"{self.seed} {shares}")
        often = [one[0] if isinstance(one, tuple) else one for one in shares.values()]
        while (left := self.ends_at - time.monotonic()) > 0:
            [what] = chance.choices([*shares], often)
            usual = LONG_SECONDS if chance.random() < SHARE_OF_LONG else SHORT_SECONDS
            yield faults.drawn(what, shares[what], chance, usual, left)
            time.sleep(min(max(self.ends_at - time.monotonic(), 0), chance.uniform(*pauses)))

    def make(self, fault: Fault) -> float:
        began, waited = time.monotonic(), super().make(fault)
        if fault.name in NEEDED_TO_ANSWER:
            self.seen.outages.append((began, time.monotonic() + BREAKER_SECONDS))
        return waited


class Soak(Chaos):
    database, client_seconds, pauses = "mariadb", 600.0, (2.0, 8.0)

    def lanes(self) -> list[Iterator[Fault]]:
        return [*super().lanes(), self.drawn((10.0, 40.0), SLOW), self.drawn((5.0, 30.0), JUMP)]

    @contextmanager
    def stack(self, settings: Mapping[str, str]) -> Iterator[None]:
        faketime.require()
        with super().stack(settings), prometheus.beside(self.instance) as self.prometheus:
            self.began_at = time.time()
            yield

    def set_up(self) -> None:
        """And what the dashboards show and the load may leave out: refusals, a waiting ticket, and a room.

        The sale's product is none of those that the load buys, which would then need an entry.
        """
        super().set_up()
        setup = self.setup
        with faults.lasting(Fault("down", "issuer", 0), self.instance):
            for account in setup.buyers[: shop.FEW_COUPONS + 1]:
                for campaign in setup.campaigns:
                    self.shop.make(account, "coupon", coupon_call(account, campaign), within_seconds=180)
            unseen = lambda: not self.prometheus.query("firstcome_queue_oldest_ticket_seconds > 0")  # noqa: E731
            waiting.left(unseen, within_seconds=SEEN_SECONDS, pause_seconds=1)
        sale = self.shop.create_sale(self.shop.create_product("Sale", 0, shop.PLENTY).id, rate_per_minute=1)
        for account in setup.buyers:
            self.shop.ask(Call("POST", f"/sales/{sale}/entries", account.token), within_seconds=180)
        self.before = comparison.stored(setup, self.rows)

    def load(self) -> float:
        longest = super().load()
        self.record(availability(self.seen))
        return longest

    def findings(self) -> Iterator[str]:
        return prometheus.empty_queries(self.prometheus, self.began_at)


def availability(seen: Observations) -> Iterator[str]:
    met = lambda one: any(a <= one.ended and one.began <= b for a, b in seen.outages)  # noqa: E731
    outside = [one for one in seen.requests if not met(one)]
    paying = [one for one in outside if one.method == "POST" and one.path in SERVICE_LEVEL_PATHS]
    sorts = {"outside of outages": outside, "of orders and payments outside of outages": paying}
    say(f"{len(seen.outages)} outages")
    for name, requests in (sorts | {"with outages": seen.requests}).items():
        bad = Counter(one.result for one in requests if not one.is_good)
        share = 1 - bad.total() / max(1, len(requests))
        kinds = ", ".join(f"{number} x {result}" for result, number in bad.most_common(5))
        say(f"availability {name}: {share:.3%} of {len(requests)} requests ({kinds or 'no other'})")
        if requests is outside and not (requests and share >= GOAL):
            yield f"the availability {name} is below {GOAL:.1%}"


OF_SALES: Faults = {"kill worker": 5, "kill beat": 5, "flush redis": 5}
OF_SALES |= {"kill web": 10, "kill mariadb": 3, "kill redis": 3}
OF_STORES: Faults = {f"{sort} redis": 5 for sort in ("flush", *REDIS_AWAY)}
OF_STORES |= {"kill mariadb": 5, "kill redis": 10, "kill rabbitmq": 5, "down mariadb": 2}
WEBHOOKS = (State.LATE, State.CUT, State.CUT_REPLIES, State.OVERTAKE)
OF_GATEWAY: Faults = {"kill gateway": 10, "down gateway": (2, 120, 120), "slow gateway": (5, 10, 25)}
OF_GATEWAY |= dict.fromkeys(("freeze gateway", *(f"{one} webhooks" for one in WEBHOOKS)), (5, 5, 15))
# A lock is waited for 5 s.
OF_LOCKS: Faults = {"hold all rows of mariadb": (10, 2, 20), "deadlocks in mariadb": (10, 5, 15)}
OF_DATABASE: Faults = {"read only mariadb": (10, 2, 15), "take all connections of mariadb": (10, 2, 15)}
OF_DISK: Faults = {"fill the disk of mariadb": (10, 10, 30)}
NETWORK = (State.SLOW, State.CUT, State.CUT_REPLIES, State.HALF_OPEN, State.LATE, State.BYTEWISE)
LOSS = (Fault(State.LOSE_COMMITS, "database", 8),)
OF_NETWORK: Faults = {f"{state} {link}": (2, 3, 12) for state in NETWORK for link in network.LINKS}
OF_TASKS: Faults = {f"clock {way} of beat": (5, 5, 15) for way in ("behind", "ahead")}
ALL = (
    Campaign("processes", {f"kill {name}": 20 for name in processes.SHOP}, planted=FORGOTTEN_KEYS),
    Campaign("sales", OF_SALES, Sales),
    Campaign("stores", OF_STORES, Stores, IN_MEMORY),
    Campaign("gateway", OF_GATEWAY, Gateway, NEW_CHARGE_KEYS, links=("webhooks",)),
    Campaign("locks", OF_LOCKS, planted=FORGOTTEN_KEYS),
    Campaign("database", OF_DATABASE, planted=FORGOTTEN_KEYS, required_answers=REFUSED),
    Campaign("disk", OF_DISK, Disk, FORGOTTEN_KEYS, required_answers=REFUSED),
    Campaign("network", OF_NETWORK, Run, (), LOSS, "database", REFUSED, network.LINKS),
    # Three rolls between the releases, and three rounds of restarts.
    Campaign("releases", {f"replace {name}": 6 for name in NAMES}, Releases),
    Campaign("tasks", OF_TASKS, Tasks),
    Campaign("month", {"next day of clocks": (30, 2, 20)}, Month),
    Campaign("restore", {"lose mariadb": 1}, Restore),
)
CAMPAIGNS = {campaign.name: campaign for campaign in ALL}
TRIALS = {"chaos": Campaign("chaos", {}, Chaos), "soak": Campaign("soak", {}, Soak)}
