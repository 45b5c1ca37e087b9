"""A purchase with a step after its point of no return: it sends the order's events to the data platform.

The shop has no such step. Here it is what sagas wait at that are paid and not done.
"""

from dataclasses import replace
from functools import partial

import pytest

from events.models import FeedEvent
from events.webhooks import data_platform, sending
from events.webhooks.endpoints import DATA_PLATFORM_EVENTS
from orders.payment import purchase
from orders.saga.definitions import SAGA_TYPES, Call, Event, OutsideStep, StepResult

NAME = "transmit"


def transmit(sagas) -> list[Call]:
    return [partial(_send, saga.about_id) for saga in sagas]


def _send(order_id):
    events = FeedEvent.objects.filter(order_id=order_id, type__in=DATA_PLATFORM_EVENTS).order_by("id")
    said = data_platform.send([sending.body_of(event) for event in events])
    return StepResult(Event.FAILED, said.error) if said.error else StepResult(Event.DONE, "accepted")


@pytest.fixture
def transmitting(monkeypatch):
    """Purchases have the step as their last one in this test."""
    usual = SAGA_TYPES[purchase.KIND]
    steps = (*usual.steps, OutsideStep(NAME, do=transmit))
    monkeypatch.setitem(SAGA_TYPES, purchase.KIND, replace(usual, steps=steps))
