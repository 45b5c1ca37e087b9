from enum import StrEnum


class RefundBodyStatus(StrEnum):
    PENDING = "pending"
    STUCK = "stuck"
    SUCCEEDED = "succeeded"

    def __str__(self) -> str:
        return str(self.value)
