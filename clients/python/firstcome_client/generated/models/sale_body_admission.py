from enum import StrEnum


class SaleBodyAdmission(StrEnum):
    OPEN = "open"
    QUEUE = "queue"

    def __str__(self) -> str:
        return str(self.value)
