from enum import StrEnum


class ChangeCampaignInputStrategyType0(StrEnum):
    CODE_POOL = "code_pool"
    CONDITIONAL_UPDATE = "conditional_update"
    FAIR_LOCK = "fair_lock"
    GROUP_COMMIT = "group_commit"
    OPTIMISTIC = "optimistic"
    PESSIMISTIC = "pessimistic"
    QUEUE = "queue"
    REDIS_GATE = "redis_gate"
    SPIN_LOCK = "spin_lock"
    UNSAFE = "unsafe"

    def __str__(self) -> str:
        return str(self.value)
