from enum import StrEnum


class PoolCodeBodyStatus(StrEnum):
    AVAILABLE = "available"
    ISSUED = "issued"
    VOID = "void"

    def __str__(self) -> str:
        return str(self.value)
