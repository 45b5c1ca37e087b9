"""Calls that name no account, and pages that hash a password, counted by network before they are read."""

import math
import time
from collections import Counter

from django.conf import settings

from shop.errors import Throttled
from shop.lazy_texts import mark as _
from shop.rates import throttling

MOST_NETWORKS = 50_000
"""Beyond it all are counted anew: a network costs memory, and to be refused would cost others their calls."""

_window = 0.0
_calls: Counter[str] = Counter()


def count(address: str) -> None:
    """Count a call from this address' network. Raises `Throttled` if there were too many in this window."""
    global _window
    network = throttling.network_of_address(address)
    limit = settings.RATE_ANONYMOUS
    if limit is None:
        return
    window, passed = divmod(time.monotonic(), limit.seconds)
    if window != _window or len(_calls) > MOST_NETWORKS:
        _window = window
        _calls.clear()
    _calls[network] += 1
    if _calls[network] > limit.times:
        raise Throttled(
            _("Too many attempts; wait a while."), retry_after=math.ceil(limit.seconds - passed) or 1
        )
