"""Limits the cards that an API key tries, whichever accounts it acts for, as `card_limits` does for accounts.

A call by a key notes in Redis which key started its payment. A worker whose payment is declined looks that
up, and counts the decline in `rate_limits.DECLINES_PER_KEY`. Each card payment by a key reads that first.

Payments that start together would all find no declines: those that the gateway was not asked about yet count
as declined. They are in a sorted set of the key, for `SLOT_SECONDS` at most; as it fills, those that have
been tried meanwhile leave it. Payments in doubt, and those that wait for their customer, don't count: a busy
key could start none while the gateway is away. While Redis is unavailable, a process knows only its own.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from redis import Redis

from orders.payment.card_limits import SLOT_SECONDS, UNCHECKED_SHARE, add_slot, release_slots
from payments.models import Payment
from shop import clock
from shop.concurrency.event_loop import run_in_background, run_in_thread
from shop.configuration import Rate
from shop.errors import Unavailable
from shop.rates.rate_limits import DECLINES_PER_KEY
from shop.redis import redis_client

STARTED_PREFIX = "firstcome:{rates}:cards-of-key:"
KEY_PREFIX = "firstcome:{rates}:key-of-payment:"
# How the slot of a payment begins that has no id yet.
STARTING = "starting "


@dataclass(slots=True)
class CardPayment:
    """The card payment that a call starts; it has an id once it is durable."""

    id: UUID | None = None


@asynccontextmanager
async def limited(key_id: int, account_id: int) -> AsyncIterator[CardPayment]:
    """Around a block in which an API key starts a card payment, and sets its id.

    Raises `Throttled`, before the block, when so many of the key's payments were declined or were not tried
    yet that one more could exceed the rate.
    """
    payment, rate = CardPayment(), DECLINES_PER_KEY.rate
    if rate is None:
        yield payment
        return
    slot = f"{STARTING}{uuid4().hex}"
    try:
        await run_in_thread(_take_slot, key_id, rate, slot, owner=account_id)
        yield payment
    finally:
        if payment.id is None:
            run_in_background(partial(release_slots, f"{STARTED_PREFIX}{key_id}", slot))
        else:
            # Before the payment is enqueued. It is durable, so nothing may refuse the call any more.
            with suppress(Unavailable):
                await run_in_thread(_note_payment, key_id, slot, payment.id, owner=account_id)


def count_declines(payment_ids: Collection[UUID]) -> None:
    """Count these declined payments, each for the key that started it; other processes read it at once."""
    if DECLINES_PER_KEY.rate is None or not payment_ids:
        return
    names = [f"{KEY_PREFIX}{id}" for id in payment_ids]
    found: list[Any] = redis_client.attempt(lambda client: client.mget(names), otherwise=[])
    key_ids = [int(key_id) for key_id in found if key_id]
    for key_id in key_ids:
        DECLINES_PER_KEY.add(key_id)
    if key_ids:
        DECLINES_PER_KEY.synchronize()


def _take_slot(key_id: int, rate: Rate, slot: str) -> None:
    """Take a slot, or raise `Throttled`. Counts the slots first, then the declines."""
    name = f"{STARTED_PREFIX}{key_id}"
    others = add_slot(name, slot, rate)
    DECLINES_PER_KEY.read(key_id)
    if others > rate.times // UNCHECKED_SHARE or (others and DECLINES_PER_KEY.is_half_full(key_id)):
        release_slots(name, slot, *_tried(key_id))
        others = add_slot(name, slot, rate)
        DECLINES_PER_KEY.read(key_id)
    DECLINES_PER_KEY.require_capacity(key_id, besides=others)


def _tried(key_id: int) -> list[str]:
    """The slots of payments that the gateway was asked about, or that need no gateway any more."""
    slots: list[Any] = redis_client.attempt(
        lambda client: client.zrange(f"{STARTED_PREFIX}{key_id}", 0, -1), otherwise=[]
    )
    ids = [UUID(slot.decode()) for slot in slots if not slot.startswith(STARTING.encode())]
    untried = Payment.objects.filter(id__in=ids, status=Payment.Status.PENDING, action_url="")
    return [str(id) for id in {*ids}.difference(untried.values_list("id", flat=True))]


def _note_payment(key_id: int, slot: str, payment_id: UUID) -> None:
    """Note whose payment it is for as long as it may take, and put it in the place of its slot."""
    until = clock.now().timestamp() + SLOT_SECONDS
    seconds = int(settings.PAYMENT_ACTION_SECONDS + settings.PAYMENT_GIVE_UP_SECONDS)

    def note(client: Redis) -> None:
        pipeline = client.pipeline(transaction=False)
        pipeline.set(f"{KEY_PREFIX}{payment_id}", key_id, ex=seconds)
        pipeline.zadd(f"{STARTED_PREFIX}{key_id}", {str(payment_id): until})
        pipeline.zrem(f"{STARTED_PREFIX}{key_id}", slot)
        pipeline.execute()

    redis_client.attempt(note, otherwise=None)
