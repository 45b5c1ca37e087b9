"""Secrets and signatures of webhooks, as Standard Webhooks says (https://www.standardwebhooks.com)."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

PREFIX = "whsec_"
SECRET_BYTES = 32


def new_secret() -> str:
    """A new secret, in the form in which receivers configure it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def headers(*, secrets: Sequence[str], id: str, seconds: int, body: bytes) -> dict[str, str]:
    """The headers that name a delivery, and sign `id.seconds.body` by each of these secrets."""
    signed = f"{id}.{seconds}.".encode() + body
    keys = [base64.b64decode(secret.removeprefix(PREFIX)) for secret in secrets]
    digests = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys]
    return {
        "webhook-id": id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join([f"v1,{digest}" for digest in digests]),
    }
