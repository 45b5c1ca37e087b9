from enum import StrEnum


class EntryBodyKind(StrEnum):
    FORFEIT = "forfeit"
    GRANT = "grant"
    HOLD = "hold"
    LOSS = "loss"
    REFUND = "refund"
    RELEASE = "release"
    TOP_UP = "top_up"

    def __str__(self) -> str:
        return str(self.value)
