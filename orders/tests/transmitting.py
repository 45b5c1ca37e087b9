"""A purchase with a step after its point of no return: it sends the order's events to the data platform.

The shop has no such step. Here it is what sagas wait at that are paid and not done.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from orders.payment import purchase
from orders.saga.definitions import SAGA_TYPES, Attempt, Call, Event, OutsideStep, StepResult
from shop import clock
from shop.events import data_platform
from shop.models import JournalLine

NAME = "transmit"


def transmit(attempts: Sequence[Attempt]) -> list[Call]:
    return [partial(_send, one.saga.about_id) for one in attempts]


def _send(order_id: UUID | None) -> StepResult:
    lines = JournalLine.objects.filter(order_id=order_id).exclude(delivery__in=["", "delivered"])
    for line in lines.order_by("id"):
        data: dict[str, Any] = line.after or {}
        said = data_platform.send(
            [{"id": str(line.event_id), "type": line.what, "occurred_at": line.at, "data": data}]
        )
        if said.error:
            return StepResult(Event.FAILED, said.error)
        JournalLine.objects.filter(pk=line.pk).update(
            delivery="delivered", delivered_at=clock.now(), next_attempt_at=None
        )
    return StepResult(Event.DONE, "accepted")


@contextmanager
def transmitting_purchases() -> Iterator[None]:
    """Purchases have the step as their last one, until the block ends."""
    old = SAGA_TYPES[purchase.NAME]
    SAGA_TYPES[purchase.NAME] = replace(old, steps=(*old.steps, OutsideStep(NAME, do=transmit)))
    try:
        yield
    finally:
        SAGA_TYPES[purchase.NAME] = old


@pytest.fixture
def transmitting() -> Iterator[None]:
    with transmitting_purchases():
        yield
