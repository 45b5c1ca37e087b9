from enum import StrEnum


class RefundBodySource(StrEnum):
    GATEWAY = "gateway"
    LATE_CHARGE = "late_charge"
    STAFF = "staff"

    def __str__(self) -> str:
        return str(self.value)
