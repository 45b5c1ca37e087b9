from enum import StrEnum


class WebhookEndpointBodyDisabledByType0(StrEnum):
    FAILURES = "failures"
    RIGHTS = "rights"
    STAFF = "staff"

    def __str__(self) -> str:
        return str(self.value)
