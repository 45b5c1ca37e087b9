from enum import StrEnum


class CreateSaleInputAdmissionType0(StrEnum):
    OPEN = "open"
    QUEUE = "queue"

    def __str__(self) -> str:
        return str(self.value)
