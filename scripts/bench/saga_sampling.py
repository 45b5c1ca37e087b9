"""Samples of the unfinished sagas while a load runs: how long the oldest one has waited for a worker."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import MySQLdb

from scripts import database
from scripts.instance import Instance
from scripts.setup_error import SetupError

INTERVAL_SECONDS = 0.25
# Such a saga waits for nothing but a live worker: it was never tried, has no lease, and isn't being undone.
# The index on the next attempt holds the unfinished sagas; there is none on the state.
OLDEST = """
SELECT COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, created_at, UTC_TIMESTAMP(6))), 0)
FROM orders_saga
WHERE next_attempt_at IS NOT NULL AND state = 'running' AND lease_token = '' AND attempts = 0
    AND direction = 'do'
"""


class OldestAge:
    """The largest age in seconds of any sample so far, and the number of samples."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.samples = 0

    def add(self, seconds: float) -> None:
        self.seconds = max(self.seconds, seconds)
        self.samples += 1


@contextmanager
def oldest_waiting(instance: Instance) -> Iterator[OldestAge]:
    """Sample the stack's database every quarter of a second while the block runs.

    Raises SetupError at the end of the block when a sample failed: an age that isn't known is no age of 0.
    """
    age, stop, errors = OldestAge(), threading.Event(), list[MySQLdb.Error]()

    def sample() -> None:
        try:
            with database.connected(instance) as connection, connection.cursor() as cursor:
                while not stop.wait(INTERVAL_SECONDS):
                    cursor.execute(OLDEST)
                    age.add(int(cursor.fetchone()[0]) / 1e6)
        except MySQLdb.Error as error:
            errors.append(error)

    sampler = threading.Thread(target=sample, name="saga-sampler", daemon=True)
    sampler.start()
    try:
        yield age
    finally:
        stop.set()
        sampler.join()
    if errors:
        raise SetupError(f"the sagas of {instance.home} can't be sampled: {errors[0]}") from errors[0]
