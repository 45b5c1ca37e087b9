"""The convenience store's protocol, which its simulator implements: registrations of codes, by key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlencode
from uuid import UUID

import orjson
from django.conf import settings
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coupons.partners.contract import NoAnswer, NotReached, Partner, PartnerReply
from foundation.outbound import http_client
from foundation.outbound.http_client import NoResponse, NotConnected, Reply, ResponseTooLarge
from foundation.values import GivenValues

# The reply of each HTTP status; any other status counts as no answer.
REGISTERED: Mapping[int, PartnerReply] = {
    201: PartnerReply.REGISTERED,
    409: PartnerReply.REFUSED,
    410: PartnerReply.CANCELLED,
}


class Registration(BaseModel):
    """The state of a key; unknown fields are ignored. A key cancelled before its registration has no code."""

    model_config = ConfigDict(strict=True, frozen=True)

    key: str
    code: Annotated[str, Field(max_length=255)] | None
    status: Literal["registered", "refused", "cancelled"]


class Found(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    results: list[Registration]


@dataclass(frozen=True, slots=True)
class ConvenienceStore:
    """The partner at that address, with a time-out of so many seconds for each call."""

    url: str
    seconds: float

    def register(self, key: UUID, code: str) -> PartnerReply:
        reply = self._ask("POST", "/registrations", {"key": str(key), "code": code})
        registration = _registration(reply, key)
        if REGISTERED.get(reply.status) is not PartnerReply(registration.status):
            raise NoAnswer(f"HTTP {reply.status} with the status {registration.status}")
        if registration.status == "registered" and registration.code != code:
            raise NoAnswer("a registration of another code")
        return PartnerReply(registration.status)

    def find(self, key: UUID) -> PartnerReply:
        reply = self._ask("GET", f"/registrations?{urlencode({'key': str(key)})}")
        try:
            found = Found.model_validate_json(reply.body).results if reply.status == 200 else None
        except ValidationError as error:
            raise NoAnswer("an answer that can't be read") from error
        if found is None or len(found) > 1 or any(result.key != str(key) for result in found):
            raise NoAnswer(f"HTTP {reply.status} with unexpected results")
        return PartnerReply(found[0].status) if found else PartnerReply.UNKNOWN

    def cancel(self, key: UUID) -> PartnerReply:
        reply = self._ask("POST", "/registrations/cancel", {"key": str(key)})
        registration = _registration(reply, key)
        if reply.status != 200 or registration.status == "registered":
            raise NoAnswer(f"HTTP {reply.status} with the status {registration.status}")
        return PartnerReply(registration.status)

    def _ask(self, method: str, path: str, content: GivenValues | None = None) -> Reply:
        """One request in JSON, and its reply below 500."""
        headers = {} if content is None else {"Content-Type": "application/json"}
        body = None if content is None else orjson.dumps(content)
        try:
            reply = http_client.send_request(
                method, self.url + path, headers=headers, body=body, seconds=self.seconds
            )
        except NotConnected as error:
            raise NotReached(str(error)) from error
        except (NoResponse, ResponseTooLarge) as error:
            raise NoAnswer(str(error)) from error
        if reply.status >= 500:
            raise NoAnswer(f"HTTP {reply.status}")
        return reply


def from_settings() -> Partner | None:
    """The partner at `PARTNER_URL`; None without one."""
    if not settings.PARTNER_URL:
        return None
    return ConvenienceStore(settings.PARTNER_URL, settings.PARTNER_TIMEOUT_SECONDS)


def _registration(reply: Reply, key: UUID) -> Registration:
    try:
        registration = Registration.model_validate_json(reply.body)
    except ValidationError as error:
        raise NoAnswer(f"HTTP {reply.status} with an answer that can't be read") from error
    if registration.key != str(key):
        raise NoAnswer("an answer about another key")
    return registration
