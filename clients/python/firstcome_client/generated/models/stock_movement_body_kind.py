from enum import StrEnum


class StockMovementBodyKind(StrEnum):
    ADJUSTED = "adjusted"
    RECEIVED = "received"
    RETURNED = "returned"
    SOLD = "sold"

    def __str__(self) -> str:
        return str(self.value)
