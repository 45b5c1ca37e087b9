"""The campaigns: which faults each makes, and the planted defect that it has to find."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from scripts.chaos.faults import PATIENCE_SECONDS, Fault

SHORT_SECONDS = (0.5, 3.0)
QUICK_LONGEST_SECONDS = 8.0
SETTLE_SECONDS = 60


@dataclass(frozen=True)
class Campaign:
    """`kills` and `others` are faults by process, and how often each is made.

    `seconds` is how long a fault of a sort lasts, from and to. `broker` is the stack's. All has to be
    settled within `settle_seconds`, with the help of the operator's command. With `disk_megabytes` the
    database has a file system of that size for itself.

    `planted` are statements for the database that break a promise: a run with them has to lose an
    acknowledged effect, and the comparison to find that. `must_be_met` are answers that the faults
    have to cause.
    """

    name: str
    kills: Mapping[str, int]
    others: Mapping[tuple[str, str], int]
    quick_share: int
    broker: str = "redis"
    pauses: tuple[float, float] = (0.3, 2.0)
    seconds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    planted: tuple[str, ...] = ()
    must_be_met: tuple[str, ...] = ()
    settle_seconds: int = SETTLE_SECONDS
    operator_command: str = ""
    ready_seconds: int = PATIENCE_SECONDS
    disk_megabytes: int = 0

    def faults(self, seed: str, *, is_quick: bool) -> list[Fault]:
        """All faults in the order of the seed; a quick run makes a share of each, at least one."""
        chance = random.Random(f"{seed} {self.name}")
        counts = {("kill", name): count for name, count in self.kills.items()} | dict(self.others)
        found = [
            Fault(sort, name, self._seconds(sort, chance, is_quick=is_quick))
            for (sort, name), count in counts.items()
            for _ in range(max(1, count // self.quick_share) if is_quick else count)
        ]
        chance.shuffle(found)
        return found

    def _seconds(self, sort: str, chance: random.Random, *, is_quick: bool) -> float:
        seconds = chance.uniform(*self.seconds.get(sort, SHORT_SECONDS))
        return min(seconds, QUICK_LONGEST_SECONDS) if is_quick else seconds


PROCESSES = Campaign(
    "processes", {"web": 20, "worker": 20, "beat": 20, "issuer": 20}, others={}, quick_share=20
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
    quick_share=5,
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
    {("down", "gateway"): 2, ("slow", "gateway"): 5, ("freeze", "gateway"): 5},
    quick_share=10,
    seconds={"down": (120, 120), "slow": (10, 25), "freeze": (5, 15)},
    # Attempts of long outages are made ever more rarely, by the shop and by the gateway's webhooks.
    settle_seconds=120,
    # A refund whose attempts all fell into an outage is stuck: an operator has it tried again, and once more
    # where its card refuses the first attempts.
    operator_command="retry_saga --all-stuck --reason gateway-is-back",
)
LOCKS = Campaign(
    "locks",
    {},
    {("hold all rows of", "mariadb"): 10, ("deadlocks in", "mariadb"): 10},
    quick_share=10,
    # A lock is waited for 5 s.
    seconds={"hold all rows of": (2, 20), "deadlocks in": (5, 15)},
)
DATABASE = Campaign(
    "database",
    {},
    {("read only", "mariadb"): 10, ("take all connections of", "mariadb"): 10},
    quick_share=10,
    seconds={"read only": (2, 15), "take all connections of": (2, 15)},
    must_be_met=("503 unavailable",),
)
DISK = Campaign(
    "disk",
    {},
    {("fill the disk of", "mariadb"): 10},
    quick_share=10,
    # The server goes on in the pages that its tables have left.
    seconds={"fill the disk of": (10, 30)},
    must_be_met=("503 unavailable",),
    # A server that starts on a full disk waits for a minute before it writes its system tables again.
    ready_seconds=90,
    disk_megabytes=1024,
)
CAMPAIGNS = {campaign.name: campaign for campaign in (PROCESSES, STORES, GATEWAY, LOCKS, DATABASE, DISK)}
