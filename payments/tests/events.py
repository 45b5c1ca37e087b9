"""Webhooks as the simulator sends them, for tests: signed bodies with any claims."""

import hashlib
import hmac
import time
from uuid import uuid4

from django.conf import settings
from django.utils import timezone

from foundation.http.json_format import dump
from payments import webhooks
from payments.models import WebhookEvent


def body_of(*, type="charge.succeeded", key="", id="", created_at="", **data) -> bytes:
    """The body of an event, with a new id and the present time unless others are given."""
    return dump(
        {
            "id": id or f"evt_{uuid4().hex}",
            "type": type,
            "created_at": created_at or timezone.now(),
            "data": {"key": key, "charge": "ch_one", "order": None, "amount": 1, "currency": "KRW"} | data,
        }
    )


def signed(body: bytes, *, secret="", seconds_ago=0) -> dict[str, str]:
    """The signature header of this body."""
    seconds = int(time.time()) - seconds_ago
    secret = secret or settings.WEBHOOK_SECRET_SIMULATOR
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Firstcome-Signature": f"t={seconds},v1={digest}"}


def take(body: bytes | None = None, **claims) -> WebhookEvent:
    """Receive an event as the webhook call does."""
    sent = body_of(**claims) if body is None else body
    event = webhooks.receive(gateway="simulator", headers=signed(sent), body=sent)
    assert event, "the body is no event"
    return event
