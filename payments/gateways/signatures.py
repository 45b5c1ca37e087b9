"""Signatures of webhooks: `t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<raw body>">`, `v1` once or more.

Stripe signs the same way. One reading of the header decides both what was signed and when: two readers of the
same header may disagree about its time, and an old event would pass with a new one.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime

from shop.errors import SignatureInvalid

TOLERANCE_SECONDS = 300
LONGEST_HEADER = 4096


def header(headers: Mapping[str, str], name: str) -> str:
    """The header of this name, in whatever case it came, or nothing."""
    return next((value for key, value in headers.items() if key.lower() == name.lower()), "")


def verify(signed: str, *, body: bytes, secret: str, now: datetime) -> None:
    """Return when somebody who knows the secret signed just these bytes, five minutes from now at most.

    Several `v1` are for the days when a secret is changed: one that fits is enough. Without a secret
    nothing is valid. Raises `SignatureInvalid`.
    """
    if not secret.strip():
        raise SignatureInvalid("Nothing is accepted here: the shop has no secret to verify it by.")
    seconds, signatures = _parse(signed)
    expected = hmac.new(secret.encode(), seconds.encode() + b"." + body, hashlib.sha256).hexdigest()
    # Each is compared, so that the time taken says nothing of which one fits.
    fits = [hmac.compare_digest(expected.encode(), one.encode()) for one in signatures]
    if not any(fits):
        raise SignatureInvalid("The signature does not fit the body.")
    if abs(now.timestamp() - int(seconds)) > TOLERANCE_SECONDS:
        raise SignatureInvalid("It was signed too long ago, or a clock is wrong.")


def _parse(signed: str) -> tuple[str, list[str]]:
    """The time as it is written, and the signatures; other schemes are passed over.

    A header that is too long is refused and never cut: the cut could hide a second time.
    """
    pairs = [part.strip().partition("=")[::2] for part in signed.split(",")]
    times = [value for name, value in pairs if name == "t"]
    is_time = len(times) == 1 and len(times[0]) <= 12 and times[0].isascii() and times[0].isdigit()
    if len(signed) > LONGEST_HEADER or not is_time:
        raise SignatureInvalid("The header with the signature is missing, or can't be read.")
    return times[0], [value for name, value in pairs if name == "v1"]
