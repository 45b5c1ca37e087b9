from enum import StrEnum


class NewWebhookEndpointBodyDisabledByType0(StrEnum):
    FAILURES = "failures"
    RIGHTS = "rights"
    STAFF = "staff"

    def __str__(self) -> str:
        return str(self.value)
