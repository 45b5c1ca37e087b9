"""Since when nothing was delivered to the data platform, in the row of its webhook endpoint."""

import time

from django.db.models import QuerySet

from shop import clock
from shop.webhook_models import BUILT_IN, WebhookEndpoint

REPEATED_SECONDS = 10.0
"""A process notes the same again after so long, for another one may have noted the contrary."""
_noted: tuple[bool, float] | None = None
"""What this process noted last, and when."""


def note(*, is_failing: bool) -> None:
    """Note whether the batch that was just sent delivered nothing. Mostly without a statement."""
    global _noted
    now = time.monotonic()
    if _noted and _noted[0] == is_failing and now - _noted[1] < REPEATED_SECONDS:
        return
    if is_failing:
        _endpoint().filter(failing_since=None).update(failing_since=clock.now())
    else:
        _endpoint().exclude(failing_since=None).update(failing_since=None)
    _noted = is_failing, now


def forget() -> None:
    """Forget what was noted (tests)."""
    global _noted
    _noted = None


def _endpoint() -> "QuerySet[WebhookEndpoint]":
    return WebhookEndpoint.objects.filter(pk=BUILT_IN)
