"""The campaigns of faults: which faults each makes, and the planted defect that it has to find.

`restore`, which loses the database once, is not among them: `lab/chaos/campaigns/restore/campaign.py`.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.chaos.campaigns import clocks, sales
from lab.chaos.campaigns.beside import MakeBeside, nothing
from lab.chaos.campaigns.month import campaign as month
from lab.chaos.campaigns.network import links
from lab.chaos.campaigns.network.proxy import State
from lab.chaos.campaigns.rolling import processes as rolling_processes, rolls
from lab.chaos.campaigns.tasks import campaign as tasks
from lab.chaos.faults import PATIENCE_SECONDS, Fault

SHORT_SECONDS = (0.5, 3.0)
QUICK_LONGEST_SECONDS = 8.0
SETTLE_SECONDS = 60


@dataclass(frozen=True)
class Campaign:
    """A campaign of faults: `kills` and `others` are its faults by process, and how often each is made.

    `seconds` is how long a fault of a sort lasts, from and to. `broker` is the stack's. All has to be
    settled within `settle_seconds`, with the help of the operator's command. With `disk_megabytes` the
    database has a file system of that size for itself, and calls of `links` go through a proxy. With
    `is_rolling` the stack begins as the previous release. `minutes` is how long the products and coupons of
    the start last. A quick run makes each fault a `quick_divisor`th as often, at least once, and has the
    faults of `quick_name` alone, if it says one.

    `planted` are statements for the database that break a promise, and `planted_faults` faults that do: a run
    with them has to lose or double an acknowledged effect, and the comparison with the database to find that,
    or the one with the gateway's book where `is_found_in_gateway_book`; with `is_rolling` requests have to
    fail. `required_answers` are answers that the faults have to cause. `beside` is what the campaign has
    beside its faults, its planted defect among that; `needs_faketime` that processes have their own clocks,
    and `has_operators` that operators force sagas, grant points and decide approvals at their pages.
    """

    name: str
    kills: Mapping[str, int]
    others: Mapping[tuple[str, str], int]
    quick_divisor: int
    broker: str = "redis"
    pauses: tuple[float, float] = (0.3, 2.0)
    seconds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    planted: tuple[str, ...] = ()
    planted_faults: tuple[Fault, ...] = ()
    is_found_in_gateway_book: bool = False
    quick_name: str = ""
    required_answers: tuple[str, ...] = ()
    settle_seconds: int = SETTLE_SECONDS
    operator_command: str = ""
    ready_seconds: int = PATIENCE_SECONDS
    links: tuple[str, ...] = ()
    disk_megabytes: int = 0
    is_rolling: bool = False
    minutes: int = 1
    beside: MakeBeside = nothing
    needs_faketime: bool = False
    has_operators: bool = False

    def faults(self, seed: str, *, is_quick: bool) -> list[Fault]:
        """All faults in the order of the seed; a quick run makes a share of each, at least one."""
        chance = random.Random(f"{seed} {self.name}")
        counts = {("kill", name): count for name, count in self.kills.items()} | dict(self.others)
        found = [
            Fault(sort, name, self._seconds(sort, chance, is_quick=is_quick))
            for (sort, name), count in counts.items()
            for _ in range(max(1, count // self.quick_divisor) if is_quick else count)
        ]
        if is_quick and self.quick_name:
            found = [fault for fault in found if fault.name == self.quick_name]
        chance.shuffle(found)
        return found

    def _seconds(self, sort: str, chance: random.Random, *, is_quick: bool) -> float:
        seconds = chance.uniform(*self.seconds.get(sort, SHORT_SECONDS))
        return min(seconds, QUICK_LONGEST_SECONDS) if is_quick else seconds


FORGOTTEN_KEYS = (
    "CREATE OR REPLACE TRIGGER planted BEFORE INSERT ON shop_idempotencykey FOR EACH ROW "
    "SET NEW.key_hash = SHA2(UUID(), 256)",
)
"""Keys are recorded, and never found again: a repeated call has its effect again."""
NEW_CHARGE_KEYS = (
    "CREATE OR REPLACE TRIGGER planted BEFORE UPDATE ON payments_payment FOR EACH ROW "
    "SET NEW.charge_key = CONCAT('payment-', UUID())",
)
"""Each attempt to charge a card has a key of its own."""

PROCESSES = Campaign(
    "processes",
    {"web": 20, "worker": 20, "beat": 20, "issuer": 20},
    others={},
    quick_divisor=20,
    planted=FORGOTTEN_KEYS,
)
SALES = Campaign(
    "sales",
    {"web": 10, "worker": 5, "beat": 5, "mariadb": 3, "redis": 3},
    {("flush", "redis"): 5},
    quick_divisor=10,
    beside=sales.beside,
)
STORES = Campaign(
    "stores",
    {"mariadb": 5, "redis": 10, "rabbitmq": 5},
    {
        ("flush", "redis"): 5,
        ("down", "redis"): 5,
        ("no memory for", "redis"): 5,
        ("old data for", "redis"): 5,
        ("down", "mariadb"): 2,
    },
    quick_divisor=5,
    broker="rabbitmq",
    # Commits are acknowledged from memory, so a killed server loses those since the last write.
    planted=(
        "SET GLOBAL innodb_flush_log_at_timeout = 2700",
        "SET GLOBAL innodb_flush_log_at_trx_commit = 0",
    ),
)
GATEWAY = Campaign(
    "gateway",
    {"gateway": 10},
    {
        ("down", "gateway"): 2,
        ("slow", "gateway"): 5,
        ("freeze", "gateway"): 5,
        ("late bytes to", "webhooks"): 5,
        ("cut link to", "webhooks"): 5,
        ("cut replies of", "webhooks"): 5,
        ("reordered calls of", "webhooks"): 5,
    },
    quick_divisor=10,
    seconds={
        "down": (120, 120),
        "slow": (10, 25),
        **dict.fromkeys(
            ("freeze", "late bytes to", "cut link to", "cut replies of", "reordered calls of"), (5, 15)
        ),
    },
    links=("webhooks",),
    planted=NEW_CHARGE_KEYS,
    is_found_in_gateway_book=True,
    # Attempts of long outages are made ever more rarely, by the shop and by the gateway's webhooks.
    settle_seconds=120,
    # A refund whose attempts all fell into an outage is stuck: an operator has it tried again, and once more
    # where its card refuses the first attempts.
    operator_command="retry_saga --all-stuck --reason gateway-is-back",
    has_operators=True,
)
LOCKS = Campaign(
    "locks",
    {},
    {("hold all rows of", "mariadb"): 10, ("deadlocks in", "mariadb"): 10},
    quick_divisor=10,
    planted=FORGOTTEN_KEYS,
    # A lock is waited for 5 s.
    seconds={"hold all rows of": (2, 20), "deadlocks in": (5, 15)},
)
DATABASE = Campaign(
    "database",
    {},
    {("read only", "mariadb"): 10, ("take all connections of", "mariadb"): 10},
    quick_divisor=10,
    planted=FORGOTTEN_KEYS,
    seconds={"read only": (2, 15), "take all connections of": (2, 15)},
    required_answers=("503 unavailable",),
)
DISK = Campaign(
    "disk",
    {},
    {("fill the disk of", "mariadb"): 10},
    quick_divisor=10,
    planted=FORGOTTEN_KEYS,
    # The server goes on in the pages that its tables have left.
    seconds={"fill the disk of": (10, 30)},
    required_answers=("503 unavailable",),
    # A server that starts on a full disk waits for a minute before it writes its system tables again.
    ready_seconds=90,
    disk_megabytes=1024,
)
NETWORK = Campaign(
    "network",
    {},
    {
        (sort, link): 2
        for sort, state in links.SORTS.items()
        for link in links.LINKS
        if state not in (State.LOSE_COMMITS, State.OVERTAKE)
    },
    quick_divisor=2,
    seconds=dict.fromkeys(links.SORTS, (3, 12)),
    planted_faults=(Fault("lost commits in", "database", 8),),
    required_answers=("503 unavailable",),
    quick_name="database",
    links=links.LINKS,
)
RELEASES = Campaign(
    "releases",
    {},
    # Three rolls between the releases, and three rounds of restarts.
    {(rolls.REPLACE, name): 6 for name in rolling_processes.NAMES},
    quick_divisor=6,
    pauses=(1.0, 5.0),
    planted=(rolls.PLANTED,),
    is_rolling=True,
    minutes=6,
)
TASKS = Campaign(
    "tasks",
    {},
    # The clocks of both workers are off from the start.
    {("clock behind of", "beat"): 5, ("clock ahead of", "beat"): 5},
    quick_divisor=5,
    seconds=dict.fromkeys(clocks.LASTING, (5, 15)),
    # Each message of what is left to do may be a minute late, and one leads to another.
    settle_seconds=180,
    beside=tasks.beside,
    needs_faketime=True,
)
MONTH = Campaign(
    "month",
    {},
    {(month.NEXT_DAY, "all clocks"): 30},
    quick_divisor=10,
    # Hours of the night, after which the jump to the next day is interrupted.
    seconds={month.NEXT_DAY: (2, 20)},
    beside=month.beside,
    needs_faketime=True,
)
ALL = (PROCESSES, SALES, STORES, GATEWAY, LOCKS, DATABASE, DISK, NETWORK, RELEASES, TASKS, MONTH)
CAMPAIGNS = {campaign.name: campaign for campaign in ALL}
