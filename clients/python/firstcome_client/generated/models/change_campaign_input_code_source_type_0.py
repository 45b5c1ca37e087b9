from enum import StrEnum


class ChangeCampaignInputCodeSourceType0(StrEnum):
    GENERATED = "generated"
    POOL = "pool"
    SHARED = "shared"

    def __str__(self) -> str:
        return str(self.value)
