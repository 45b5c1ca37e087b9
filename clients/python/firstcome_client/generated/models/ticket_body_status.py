from enum import StrEnum


class TicketBodyStatus(StrEnum):
    FAILED = "failed"
    ISSUED = "issued"
    SOLD_OUT = "sold_out"
    WAITING = "waiting"

    def __str__(self) -> str:
        return str(self.value)
