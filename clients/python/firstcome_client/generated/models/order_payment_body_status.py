from enum import StrEnum


class OrderPaymentBodyStatus(StrEnum):
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    PENDING = "pending"
    REQUIRES_ACTION = "requires_action"
    REVERSED = "reversed"
    SUCCEEDED = "succeeded"

    def __str__(self) -> str:
        return str(self.value)
