"""The shapes of what gateways say, strictly: what doesn't fit is no answer."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

LONGEST_DETAIL = 255


def _shorten(value: object) -> object:
    return value[:LONGEST_DETAIL] if isinstance(value, str) else value


Reference = Annotated[str, Field(pattern=r"^[!-~]{1,96}$")]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Detail = Annotated[str, BeforeValidator(_shorten)]
Amount = Annotated[int, Field(ge=0, le=10**15)]


class ReplyPart(BaseModel):
    """Part of an answer: strict types; what we don't know of is ignored."""

    model_config = ConfigDict(strict=True, frozen=True)
