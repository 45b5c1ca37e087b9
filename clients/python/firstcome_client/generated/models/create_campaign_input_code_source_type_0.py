from enum import StrEnum


class CreateCampaignInputCodeSourceType0(StrEnum):
    GENERATED = "generated"
    POOL = "pool"
    SHARED = "shared"

    def __str__(self) -> str:
        return str(self.value)
