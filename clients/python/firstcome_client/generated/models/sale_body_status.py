from enum import StrEnum


class SaleBodyStatus(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    PAUSED = "paused"
    SCHEDULED = "scheduled"

    def __str__(self) -> str:
        return str(self.value)
