"""Strict types for the replies of gateways: a reply that doesn't match counts as no answer."""

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
    """Part of a reply: types are strict, unknown fields are ignored."""

    model_config = ConfigDict(strict=True, frozen=True)
