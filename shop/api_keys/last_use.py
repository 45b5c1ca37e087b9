"""When a key was used last, written once a minute at most for each key and process."""

import time
from datetime import datetime
from functools import partial

from django.db import DatabaseError
from django.db.models import Q
from structlog import get_logger

from shop import clock
from shop.concurrency import event_loop
from shop.models import ApiKey

log = get_logger(__name__)
WRITE_AFTER_SECONDS = 60.0
# By the monotonic clock, when this process wrote the last use of each key.
_written_at: dict[int, float] = {}


def note(key_id: int) -> None:
    """Note that the key is used now, without waiting: another thread writes the row, if that is due."""
    now = time.monotonic()
    if now - _written_at.get(key_id, float("-inf")) < WRITE_AFTER_SECONDS:
        return
    # Set before the write: calls meanwhile would start more of them.
    _written_at[key_id] = now
    event_loop.run_in_background(partial(_write, key_id, clock.now()))


def forget() -> None:
    """Have the next use of each key written (tests)."""
    _written_at.clear()


def _write(key_id: int, at: datetime) -> None:
    """Write it, unless another process has written a later use; a failure costs this minute's use alone."""
    earlier = Q(last_used_at=None) | Q(last_used_at__lt=at)
    try:
        ApiKey.objects.filter(earlier, pk=key_id).update(last_used_at=at)
    except DatabaseError as error:
        log.warning("last use of an API key not written", api_key=key_id, error=str(error)[:200])
