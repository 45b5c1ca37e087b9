"""Request and response bodies of API keys."""

from datetime import datetime
from typing import Annotated

from django.utils.translation import gettext_noop
from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from accounts.api_keys.keys import NewSecret
from accounts.models import ApiKey
from foundation import scopes
from foundation.http.json_format import JsonObject
from foundation.http.validation import Input, Instant, NonBlankText, body

LONGEST_NAME = 100


def _require_known(scope: str) -> str:
    if scope not in scopes.ALL:
        raise PydanticCustomError("unknown_scope", gettext_noop("must be a scope"))
    return scope


Scope = Annotated[str, Field(json_schema_extra={"enum": [*scopes.ALL]}), AfterValidator(_require_known)]


def _require_different(chosen: list[str]) -> list[str]:
    if len(set(chosen)) < len(chosen):
        raise PydanticCustomError("repeated", gettext_noop("must not name a scope twice"))
    return chosen


Scopes = Annotated[
    list[Scope],
    Field(min_length=1, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_require_different),
]


class CreateApiKeyInput(Input):
    """A new key."""

    name: Annotated[NonBlankText, Field(max_length=LONGEST_NAME)]
    scopes: Scopes
    expires_at: Instant | None = None


class NamedKey(BaseModel):
    """What an API key is called and may do."""

    id: int
    name: str
    prefix: str
    scopes: list[Scope]


class ApiKeyBody(NamedKey):
    """An API key, without its secret."""

    made_by: int
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class ApiKeySecretBody(NamedKey):
    """An API key with its new secret."""

    secret: str | None


def api_key_body(key: ApiKey) -> JsonObject:
    return body(ApiKeyBody, key, made_by=key.maker_id)


def new_secret_body(new: NewSecret) -> JsonObject:
    return body(ApiKeySecretBody, new.key, secret=new.secret)
