"""A connection to the broker for a question: to whichever of its nodes answers within the time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from kombu import Connection
from kombu.exceptions import OperationalError

from shop.celery import app


@contextmanager
def connected(*, within_seconds: float) -> Iterator[Connection]:
    """A connection to the first node that answers; each gets an equal share of the time.

    Raises kombu's `OperationalError` when none does. kombu would spend all of the time on a node that is
    frozen.
    """
    urls = str(app.conf.broker_write_url).split(";")
    share = within_seconds / len(urls)
    deadline = time.monotonic() + within_seconds
    for position, url in enumerate(urls, 1):
        with app.connection_for_write(url=url, connect_timeout=share) as connection:
            try:
                connection.ensure_connection(max_retries=0, timeout=share)
            except (OperationalError, OSError):
                if position == len(urls) or time.monotonic() > deadline:
                    raise
                continue
            yield connection
            return
