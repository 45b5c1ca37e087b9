"""Telling the data platform: one event, accepted or not. The same id twice is one event there."""

from datetime import datetime
from typing import Any

import urllib3
from django.conf import settings

from shop import json_bodies

TIMEOUT = urllib3.Timeout(total=3)
_pool = urllib3.PoolManager(maxsize=16, retries=False)


def send(*, id: str, type: str, occurred_at: datetime | None, data: dict[str, Any]) -> str:
    """Send one event. Returns nothing when it was accepted, else what went wrong."""
    body = json_bodies.dump({"id": id, "type": type, "occurred_at": occurred_at, "data": data})
    try:
        response = _pool.request(
            "POST",
            f"{settings.DATA_PLATFORM_URL}/events",
            body=body,
            headers={"Content-Type": "application/json"},
            timeout=TIMEOUT,
        )
    except urllib3.exceptions.HTTPError as error:
        return f"no answer: {error}"
    return "" if response.status == 202 else f"HTTP {response.status}"
