"""When a worker drops a message: past an instant of the database's clock, as `shop.celery.App` sets it.

Celery compares that with the clock of the worker's host: one that is ahead would drop every message of beat.
"""

import celery
from celery.worker import request

from shop import clock


class Request(request.Request):
    def maybe_expire(self) -> bool:
        """Whether it has expired, so that the worker drops it."""
        return self.expires is not None and clock.now() > self.expires


class Task(celery.Task):
    Request = f"{__name__}:{Request.__name__}"
