"""Verifies what the shop sends to a webhook endpoint, by Standard Webhooks."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping

from firstcome_client.generated.models import FeedEventBody

TOLERANCE_SECONDS = 300


class WebhookError(ValueError):
    """The request is not the shop's, or too old: answer it with a status of 400."""


def verify_webhook(headers: Mapping[str, str], body: bytes, secret: str) -> FeedEventBody:
    """The event of a request with these headers and, before it is parsed, this body. Raises WebhookError.

    In the day after a rotation a request has a signature of each secret; one that is right is enough.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        id, timestamp = given["webhook-id"], given["webhook-timestamp"]
        signatures = given["webhook-signature"].split()
        is_timely = abs(time.time() - int(timestamp)) <= TOLERANCE_SECONDS
    except (KeyError, ValueError) as error:
        raise WebhookError(f"a header of the signature is missing or not readable: {error}") from None
    if not is_timely:
        raise WebhookError("the request is too old, or from the future")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(digest)
    if not any(hmac.compare_digest(expected, one.encode()) for one in signatures):
        raise WebhookError("the signature is wrong")
    return FeedEventBody.from_dict(json.loads(body))
