"""The campaigns: which faults each makes, and the planted defect that it has to find."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from scripts.chaos.faults import Fault

SHORT_SECONDS = (0.5, 3.0)


@dataclass(frozen=True)
class Campaign:
    """`kills` and `others` are faults by process, and how often each is made.
    `broker` is the stack's.

    `planted` are statements for the database that break a promise: a run with them has to lose an
    acknowledged effect, and the comparison to find that.
    """

    name: str
    kills: Mapping[str, int]
    others: Mapping[tuple[str, str], int]
    quick_share: int
    broker: str = "redis"
    pauses: tuple[float, float] = (0.3, 2.0)
    planted: tuple[str, ...] = ()

    def faults(self, seed: str, *, is_quick: bool) -> list[Fault]:
        """All faults in the order of the seed; a quick run makes a share of each, at least one."""
        chance = random.Random(f"{seed} {self.name}")
        counts = {("kill", name): count for name, count in self.kills.items()} | dict(self.others)
        found = [
            Fault(sort, name, chance.uniform(*SHORT_SECONDS))
            for (sort, name), count in counts.items()
            for _ in range(max(1, count // self.quick_share) if is_quick else count)
        ]
        chance.shuffle(found)
        return found


PROCESSES = Campaign(
    "processes", {"web": 20, "worker": 20, "beat": 20, "issuer": 20}, others={}, quick_share=20
)
STORES = Campaign(
    "stores",
    {"mariadb": 5, "redis": 10, "rabbitmq": 5},
    {("flush", "redis"): 5, ("down", "redis"): 5, ("down", "mariadb"): 2},
    quick_share=5,
    broker="rabbitmq",
    # Commits are acknowledged from memory, so a killed server loses those since the last write.
    planted=(
        "SET GLOBAL innodb_flush_log_at_timeout = 2700",
        "SET GLOBAL innodb_flush_log_at_trx_commit = 0",
    ),
)
CAMPAIGNS = {campaign.name: campaign for campaign in (PROCESSES, STORES)}
