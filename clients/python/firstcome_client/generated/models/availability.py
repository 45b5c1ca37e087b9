from enum import StrEnum


class Availability(StrEnum):
    AVAILABLE = "available"
    RESERVED = "reserved"
    SOLD_OUT = "sold_out"

    def __str__(self) -> str:
        return str(self.value)
