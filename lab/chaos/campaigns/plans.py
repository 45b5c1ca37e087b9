"""The campaigns of faults: which faults each makes, and the planted defect that it has to find."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from lab.chaos import comparison, faults, operators
from lab.chaos.calls import Observations
from lab.chaos.campaigns import network
from lab.chaos.campaigns.crashes import Chaos, Soak
from lab.chaos.campaigns.month import Month
from lab.chaos.campaigns.network import State
from lab.chaos.campaigns.releases import NAMES, Releases
from lab.chaos.campaigns.restore import Restore
from lab.chaos.campaigns.run import Campaign, Run
from lab.chaos.campaigns.tasks import Tasks
from lab.chaos.faults import Fault, Faults
from scripts.stack import own_stack
from scripts.stack.children import say
from scripts.stack.processes import SHOP

TRIGGER = "CREATE OR REPLACE TRIGGER planted BEFORE {} FOR EACH ROW SET NEW.{}"
FORGOTTEN_KEYS = (TRIGGER.format("INSERT ON shop_idempotencykey", "key_hash = SHA2(UUID(), 256)"),)
"""Keys are recorded, and never found again: a repeated call has its effect again."""
NEW_CHARGE_KEYS = (TRIGGER.format("UPDATE ON payments_payment", "charge_key = CONCAT('payment-', UUID())"),)
"""Each attempt to charge a card has a key of its own."""
COMMITS_IN_MEMORY = (
    "SET GLOBAL innodb_flush_log_at_timeout = 2700, GLOBAL innodb_flush_log_at_trx_commit = 0",
)
"""Commits are acknowledged from memory, so a killed server loses those since the last write."""
REFUSED = ("503 unavailable",)
REDIS_AWAY = ("down", "no memory for", "old data for")
"""Sorts of faults while which Redis serves nothing."""
WITHOUT_REDIS = {"/orders", "/coupons"}
"""What is answered all the same."""
WEBHOOKS_ARE = (State.LATE, State.CUT, State.CUT_REPLIES, State.OVERTAKE)
NETWORK_IS = (State.SLOW, State.CUT, State.CUT_REPLIES, State.HALF_OPEN, State.LATE, State.BYTEWISE)
OF_SALES: Faults = dict.fromkeys(("kill worker", "kill beat", "flush redis"), 5)
OF_SALES |= {"kill web": 10, "kill mariadb": 3, "kill redis": 3}
OF_STORES: Faults = {f"{sort} redis": 5 for sort in ("flush", "down", "no memory for", "old data for")}
OF_STORES |= {"kill mariadb": 5, "kill redis": 10, "kill rabbitmq": 5, "down mariadb": 2}
OF_GATEWAY: Faults = {"kill gateway": 10, "down gateway": (2, 120, 120), "slow gateway": (5, 10, 25)}
OF_GATEWAY |= {"freeze gateway": (5, 5, 15)}
OF_GATEWAY |= {f"{state} webhooks": (5, 5, 15) for state in WEBHOOKS_ARE}
# A lock is waited for 5 s.
OF_LOCKS: Faults = {"hold all rows of mariadb": (10, 2, 20), "deadlocks in mariadb": (10, 5, 15)}
OF_DATABASE: Faults = {"read only mariadb": (10, 2, 15), "take all connections of mariadb": (10, 2, 15)}
OF_DISK: Faults = {"fill the disk of mariadb": (10, 10, 30)}
OF_NETWORK: Faults = {f"{state} {link}": (2, 3, 12) for state in NETWORK_IS for link in network.LINKS}


class Sales(Run):
    """Planted, each process counts the admissions of a sale in its memory: together they, and each that
    starts again, exceed the rate."""

    planted_patches = ("admissions-in-memory",)

    def finds_planted(self, wrong: list[str]) -> bool:
        return any(law["law"] == "L14" and not law["holds"] for law in own_stack.audit(self.instance))


class Gateway(Run):
    """Operators force sagas, grant points and decide approvals at their pages. A refund whose attempts all
    fell into an outage is stuck: an operator has it tried again, and once more where its card refuses the
    first attempts."""

    # Attempts of long outages are made ever more rarely, by the shop and by the gateway's webhooks.
    settle_seconds = planted_settle_seconds = 120

    def clients(self) -> list[Any]:
        self.rows(operators.SECOND, *reversed(operators.NAMES))
        of, common = (self.instance, self.setup), self.common()
        seeds = {name: f"{self.seed} {name}" for name in operators.NAMES}
        at_pages = [operators.Operator(name, *of, seed=seed, **common) for name, seed in seeds.items()]
        return [*super().clients(), *at_pages]

    def operate(self) -> None:
        super().operate()
        self.manage_stuck("retry_saga --all-stuck --reason gateway-is-back")

    def finds_planted(self, wrong: list[str]) -> bool:
        return bool(wrong or [*comparison.of_outside(self.setup, self.shop)])

    def check(self) -> None:
        # Before the comparison, which needs what operators granted.
        approvals, granted = self.rows(operators.APPROVALS), self.rows(operators.GRANTED)
        self.record(operators.findings(self.setup, approvals, granted))
        super().check()


class Disk(Run):
    """The database's data lie on a file system of their own. The server goes on in the pages that its tables
    have left; one that starts on a full disk waits for a minute before it writes its system tables again."""

    needs, ready_seconds = ("root",), 90

    def prepare(self) -> dict[str, str]:
        self.opened.enter_context(faults.small_disk(self.instance, megabytes=1024))
        return super().prepare()


class Stores(Run):
    """The broker is a RabbitMQ. While Redis serves nothing orders are answered, and so are coupons of the
    strategies that do without it."""

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
    met = [one for one in seen.requests if any(a <= one.began and one.ended <= b for a, b in spans)]
    asked = Counter(one.path for one in met if one.method == "POST" and one.path in WITHOUT_REDIS)
    answered = Counter(one.path for one in met if one.method == "POST" and one.is_good)
    for path, count in asked.items():
        say(f"while Redis was away {answered[path]} of {count} requests of {path} were answered")
        if not answered[path]:
            yield f"while Redis was away none of {count} requests of {path} was answered"


ALL = (
    Campaign("processes", {f"kill {name}": 20 for name in SHOP}, planted=FORGOTTEN_KEYS),
    Campaign("sales", OF_SALES, Sales),
    Campaign("stores", OF_STORES, Stores, planted=COMMITS_IN_MEMORY),
    Campaign("gateway", OF_GATEWAY, Gateway, links=("webhooks",), planted=NEW_CHARGE_KEYS),
    Campaign("locks", OF_LOCKS, planted=FORGOTTEN_KEYS),
    Campaign("database", OF_DATABASE, planted=FORGOTTEN_KEYS, required_answers=REFUSED),
    Campaign("disk", OF_DISK, Disk, planted=FORGOTTEN_KEYS, required_answers=REFUSED),
    Campaign(
        "network",
        OF_NETWORK,
        quick_name="database",
        links=network.LINKS,
        planted_faults=(Fault(State.LOSE_COMMITS, "database", 8),),
        required_answers=REFUSED,
    ),
    # Three rolls between the releases, and three rounds of restarts.
    Campaign("releases", {f"replace {name}": 6 for name in NAMES}, Releases),
    Campaign("tasks", {"clock behind of beat": (5, 5, 15), "clock ahead of beat": (5, 5, 15)}, Tasks),
    Campaign("month", {"next day of clocks": (30, 2, 20)}, Month),
    Campaign("restore", {"lose mariadb": 1}, Restore),
)
CAMPAIGNS = {campaign.name: campaign for campaign in ALL}
TRIALS = {"chaos": Campaign("chaos", {}, Chaos), "soak": Campaign("soak", {}, Soak)}
"""Those that go on for so many seconds."""
