"""Verifies what the shop sends to a webhook endpoint, by Standard Webhooks."""

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping

from firstcome_client.generated.models import FeedEventBody

TOLERANCE_SECONDS = 300
TIMESTAMP = re.compile(r"[0-9]{1,12}")
SHORTEST_KEY = 16
"""Bytes: an empty or a masked secret would accept what anybody signs."""


class WebhookError(ValueError):
    """The request is not the shop's, or too old: answer it with a status of 400."""


def verify_webhook(headers: Mapping[str, str], body: bytes, secret: str) -> FeedEventBody:
    """The event of a request with these headers and, before it is parsed, this body. Raises WebhookError.

    Raises ValueError when the secret is none of an endpoint.

    In the day after a rotation a request has a signature of each secret; one that is right is enough.
    """
    key = _key(secret)
    given = {name.lower(): value for name, value in headers.items()}
    try:
        id, timestamp = given["webhook-id"], given["webhook-timestamp"]
        signatures = given["webhook-signature"].split()
    except KeyError as error:
        raise WebhookError(f"a header of the signature is missing: {error}") from None
    if not TIMESTAMP.fullmatch(timestamp) or abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        raise WebhookError("the request is too old, or from the future")
    digest = hmac.new(key, f"{id}.{timestamp}.".encode(errors="replace") + body, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(digest)
    if not any(hmac.compare_digest(expected, one.encode(errors="replace")) for one in signatures):
        raise WebhookError("the signature is wrong")
    return FeedEventBody.from_dict(json.loads(body))


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if len(key) < SHORTEST_KEY:
        raise ValueError("this is no secret of an endpoint")
    return key
