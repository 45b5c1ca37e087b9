from enum import StrEnum


class SaleEntryBodyStatus(StrEnum):
    ADMITTED = "admitted"
    EXPIRED = "expired"
    OVER = "over"
    USED = "used"
    WAITING = "waiting"

    def __str__(self) -> str:
        return str(self.value)
