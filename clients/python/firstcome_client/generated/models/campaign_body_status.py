from enum import StrEnum


class CampaignBodyStatus(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    PAUSED = "paused"
    SCHEDULED = "scheduled"
    SOLD_OUT = "sold_out"

    def __str__(self) -> str:
        return str(self.value)
