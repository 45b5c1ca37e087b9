from enum import StrEnum


class GetOrdersStatus(StrEnum):
    AWAITING_PAYMENT = "awaiting_payment"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    PAID = "paid"
    PAYING = "paying"
    PAYMENT_FAILED = "payment_failed"
    REFUNDED = "refunded"
    REFUNDING = "refunding"

    def __str__(self) -> str:
        return str(self.value)
