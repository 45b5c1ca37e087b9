from enum import StrEnum


class ChangeSaleInputAdmissionType0(StrEnum):
    OPEN = "open"
    QUEUE = "queue"

    def __str__(self) -> str:
        return str(self.value)
