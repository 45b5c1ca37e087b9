"""Reading what a webhook says, whoever sent it: signed, and yet believed no further than its names."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from shop.errors import Invalid

LONGEST_KEY = 96

Id = Annotated[str, Field(pattern=r"^[!-~]{1,255}$")]
Type = Annotated[str, Field(pattern=r"^[!-~]{1,64}$")]
Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], body: bytes) -> Model:
    """The event in the body. Raises `Invalid` where there is none."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise Invalid("The body is signed, but it is no event with an id and a type.") from error


def text_in(data: Mapping[str, Any], name: str, *, longest: int = 255) -> str:
    """A text of the event's data; nothing where it is missing, or can't be one of ours."""
    value = data.get(name)
    return value if isinstance(value, str) and len(value) <= longest else ""
