from enum import StrEnum


class ChangeDiscountInputTypeType0(StrEnum):
    AMOUNT = "amount"
    PERCENT = "percent"

    def __str__(self) -> str:
        return str(self.value)
