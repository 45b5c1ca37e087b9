"""Signatures of webhooks: `t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<raw body>">`, as Stripe signs too.
The header is parsed once, for the signed text and the time: two parsers could read different times from it.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime

from django.conf import settings

from shop.errors import SignatureInvalid
from shop.lazy_texts import mark as _

TOLERANCE_SECONDS = 300
"""How far the time of a signature may be from ours, in the past or, because clocks differ, in the future."""
LONGEST_HEADER = 4096


def header(headers: Mapping[str, str], name: str) -> str:
    """The header of this name, in any case; empty where it is missing."""
    return next((value for key, value in headers.items() if key.lower() == name.lower()), "")


def verify(signed: str, *, body: bytes, secret: str, now: datetime) -> None:
    """Check that these bytes were signed with the secret or one of `WEBHOOK_SECRET_FALLBACKS`, within
    `TOLERANCE_SECONDS` of now. An empty secret accepts nothing. Raises `SignatureInvalid`.
    """
    if not secret.strip():
        raise SignatureInvalid(_("No webhook is accepted: the shop has no secret to verify it with."))
    seconds, signatures = _parse(signed)
    message = seconds.encode() + b"." + body
    secrets = [secret, *filter(None, settings.WEBHOOK_SECRET_FALLBACKS)]
    expected = [hmac.new(one.encode(), message, hashlib.sha256).hexdigest() for one in secrets]
    # All are compared, so that the time taken doesn't show which one matches.
    fits = [hmac.compare_digest(ours.encode(), one.encode()) for ours in expected for one in signatures]
    if not any(fits):
        raise SignatureInvalid(_("The signature does not fit the body."))
    if abs(now.timestamp() - int(seconds)) > TOLERANCE_SECONDS:
        raise SignatureInvalid(_("The signature is too old, or a clock is wrong."))


def _parse(signed: str) -> tuple[str, list[str]]:
    """The time as it is written, and the signatures; other schemes are ignored.

    A header that is too long is refused and never shortened: that could hide a second time.
    """
    pairs = [part.strip().partition("=")[::2] for part in signed.split(",")]
    times = [value for name, value in pairs if name == "t"]
    is_time = len(times) == 1 and len(times[0]) <= 12 and times[0].isascii() and times[0].isdigit()
    if len(signed) > LONGEST_HEADER or not is_time:
        raise SignatureInvalid(_("The header with the signature is missing, or can't be read."))
    return times[0], [value for name, value in pairs if name == "v1"]
