"""What a stack still has to do of what it was asked: events that wait for delivery, sagas that go on."""

import time

from scripts import database
from scripts.instance import Instance

WORK_OFF_SECONDS = 180
FEW = 10
"""Beat's own business may always be under way."""
LEFT = """
SELECT (SELECT COUNT(*) FROM shop_journalline WHERE delivery = 'queued'),
    (SELECT COUNT(*) FROM orders_saga WHERE state = 'running')
"""


def left(instance: Instance) -> tuple[int, int]:
    """How many events are queued, and how many sagas run."""
    events, sagas = database.rows(instance, LEFT)[0]
    return int(events), int(sagas)


def wait_until_worked_off(instance: Instance, *, within_seconds: float = WORK_OFF_SECONDS) -> None:
    """Return when the worker has nothing left of earlier loads, or that takes too long: it would take its
    share of the processor of whatever is measured next."""
    deadline = time.monotonic() + within_seconds
    while sum(left(instance)) > FEW and time.monotonic() < deadline:
        time.sleep(0.5)
