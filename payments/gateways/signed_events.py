"""Webhook events of any gateway: verifying their signatures, and parsing them, of which only id, type and key
are used. A signed event is never refused, because the gateway would send it again for days.

Signatures are `t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<raw body>">`, as Stripe's are. The header is
parsed once, for the signed text and the time: two parsers could read different times from it.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
from django.conf import settings

from foundation.errors import SignatureInvalid
from foundation.lazy_texts import mark
from foundation.values import Values
from payments.gateways.contract import GatewayEvent

Payload = Mapping[str, Any]
"""A webhook's body, or a part of it."""
TOLERANCE_SECONDS = 300
"""How far the time of a signature may be from ours, in the past or, because clocks differ, in the future."""
LONGEST_HEADER = 4096
LONGEST_TYPE = 64
NAME = re.compile(r"[!-~]{1,255}")
KEY = re.compile(r"[!-~]{1,96}")


def verify(signed: str, *, body: bytes, secret: str, now: datetime) -> None:
    """Check that these bytes were signed with the secret or one of `WEBHOOK_SECRET_FALLBACKS`, within
    `TOLERANCE_SECONDS` of now. An empty secret accepts nothing. Raises `SignatureInvalid`.
    """
    if not secret.strip():
        raise SignatureInvalid(mark("No webhook is accepted: the shop has no secret to verify it with."))
    seconds, signatures = _parse_header(signed)
    message = seconds.encode() + b"." + body
    secrets = [secret, *filter(None, settings.WEBHOOK_SECRET_FALLBACKS)]
    expected = [hmac.new(one.encode(), message, hashlib.sha256).hexdigest() for one in secrets]
    # All are compared, so that the time taken doesn't show which one matches.
    fits = [hmac.compare_digest(ours.encode(), one.encode()) for ours in expected for one in signatures]
    if not any(fits):
        raise SignatureInvalid(mark("The signature does not fit the body."))
    if abs(now.timestamp() - int(seconds)) > TOLERANCE_SECONDS:
        raise SignatureInvalid(mark("The signature is too old, or a clock is wrong."))


def _parse_header(signed: str) -> tuple[str, list[str]]:
    """The time as it is written, and the signatures; other schemes are ignored.

    A header that is too long is refused and never shortened: that could hide a second time.
    """
    pairs = [part.strip().partition("=")[::2] for part in signed.split(",")]
    times = [value for name, value in pairs if name == "t"]
    is_time = len(times) == 1 and len(times[0]) <= 12 and times[0].isascii() and times[0].isdigit()
    if len(signed) > LONGEST_HEADER or not is_time:
        raise SignatureInvalid(mark("The header with the signature is missing, or can't be read."))
    return times[0], [value for name, value in pairs if name == "v1"]


def parse(body: bytes) -> Values | None:
    """The event in the body: a JSON object with an id and a type. None for anything else."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(payload, dict):
        return None
    has_names = all(isinstance(payload.get(name), str) and payload[name] for name in ("id", "type"))
    return payload if has_names else None


def build(payload: Payload, *, type: str, key: str, reference: str = "") -> GatewayEvent:
    """The event, with a hash for an id that doesn't fit its column, and the type shortened to fit."""
    id: str = payload["id"]
    if not NAME.fullmatch(id):
        id = f"sha256:{hashlib.sha256(id.encode()).hexdigest()}"
    return GatewayEvent(id=id, type=re.sub(r"[^!-~]", "?", type)[:LONGEST_TYPE], key=key, reference=reference)


def nested_object(payload: Payload, *names: str) -> Payload:
    """The nested object at this path; an empty one where it is missing."""
    for name in names:
        inner = payload.get(name)
        payload = inner if isinstance(inner, dict) else {}
    return payload


def charge_key(part: Payload, name: str) -> str:
    """The charge's key; empty where it is missing or can't be one of ours."""
    key = part.get(name)
    return key if isinstance(key, str) and KEY.fullmatch(key) else ""
