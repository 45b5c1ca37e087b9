from enum import StrEnum


class ChangeCampaignInputEligibleType0(StrEnum):
    ALL = "all"
    LISTED = "listed"

    def __str__(self) -> str:
        return str(self.value)
