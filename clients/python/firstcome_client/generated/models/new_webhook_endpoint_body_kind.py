from enum import StrEnum


class NewWebhookEndpointBodyKind(StrEnum):
    DATA_PLATFORM = "data_platform"
    PROGRAM = "program"

    def __str__(self) -> str:
        return str(self.value)
