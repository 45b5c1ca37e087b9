from enum import StrEnum


class CreateCampaignInputEligibleType0(StrEnum):
    ALL = "all"
    LISTED = "listed"

    def __str__(self) -> str:
        return str(self.value)
