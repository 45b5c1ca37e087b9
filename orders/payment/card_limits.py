"""Limits the cards that an account, and an API key, may try: past so many declined payments none is started.

Payments that may still be declined count as declined: of an account all that have not settled, but for those
long overdue, which wait for an operator; of a key, which could start none while the gateway is away, those of
the last seconds that the gateway was not asked about yet. They are counted in the transaction that starts a
payment, under locks on the account's and the key's rows: of payments that start together, in any processes,
no more start than may be declined.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Count, Min, Model, Q, QuerySet

from payments.models import Payment
from payments.payment_states import UNSETTLED
from shop import clock
from shop.configuration import Rate
from shop.db import open_transaction
from shop.db.stuck_rows import Row
from shop.models import ApiKey
from shop.rates import rate_limits
from shop.rates.rate_limits import Usage

OF_ACCOUNT, OF_KEY = "declines", "declines-per-key"
# For so long a payment of a key counts that the gateway was not asked about yet.
UNTRIED_SECONDS = 30
# Ids contain the time of the hosts' clocks; they only narrow down the rows to read.
MAX_CLOCK_SKEW = timedelta(hours=1)


class Payer(NamedTuple):
    """The account whose card is charged, and the API key by which, if any."""

    account_id: int
    key_id: int | None = None


@dataclass(slots=True)
class Tried:
    """How many payments count, with those of this transaction, and when the first of them was declined."""

    rate: Rate
    count: int = 0
    first_at: datetime | None = None


Counts = dict[tuple[str, int], Tried]
"""By the limit's name and the id of an account or a key."""


def lock_and_count(payers: Sequence[Payer | None]) -> Counts:
    """Lock the rows of these payers, and count what counts against their limits.

    Must be called inside the transaction that starts the payments, before it inserts a row of the account.
    None stands for a payment that has no limit, or no card.
    """
    open_transaction.assert_inside()
    counts: Counts = {}
    account_ids = {payer.account_id for payer in payers if payer}
    if account_ids and settings.RATE_DECLINES:
        _lock(User, account_ids)
        counts |= _count_of_accounts(account_ids, settings.RATE_DECLINES)
    key_ids = {payer.key_id for payer in payers if payer and payer.key_id is not None}
    if key_ids and settings.RATE_DECLINES_PER_KEY:
        _lock(ApiKey, key_ids)
        counts |= _count_of_keys(key_ids, settings.RATE_DECLINES_PER_KEY)
    return counts


def locked_rows(payer: Payer | None) -> Iterator[Row]:
    """The rows that `lock_and_count` locks for a payer."""
    if payer:
        yield Row(User, payer.account_id)
        if payer.key_id is not None:
            yield Row(ApiKey, payer.key_id)


def check(counts: Counts, payer: Payer | None) -> None:
    """Raise `Throttled` if one more card of the key, or of the account, could exceed the rate."""
    for limit, tried in _tried_by(counts, payer):
        if tried.count >= tried.rate.times:
            seconds = (tried.first_at - _start_of(tried.rate)).total_seconds() if tried.first_at else 0
            raise rate_limits.refusal(limit, tried.rate, seconds=seconds)


def add(counts: Counts, payer: Payer | None) -> None:
    """Add a payment that this transaction starts, for the payer's later ones in it."""
    for _, tried in _tried_by(counts, payer):
        tried.count += 1


def read_usage(account_id: int) -> Usage | None:
    """How much of the limit the account has used; None without a limit."""
    rate = settings.RATE_DECLINES
    if rate is None:
        return None
    tried = _count_of_accounts({account_id}, rate)[OF_ACCOUNT, account_id]
    return Usage(OF_ACCOUNT, tried.count, rate, is_shared=True)


def _tried_by(counts: Counts, payer: Payer | None) -> list[tuple[str, Tried]]:
    """What counts for the payer, the key's first."""
    names = ((OF_KEY, payer.key_id), (OF_ACCOUNT, payer.account_id)) if payer and counts else ()
    return [(name, counts[name, id]) for name, id in names if id is not None and (name, id) in counts]


def _lock(model: type[Model], ids: Collection[int]) -> None:
    rows = model._default_manager.select_for_update().filter(pk__in=ids).order_by("pk")
    list(rows.values_list("pk"))


def _count_of_accounts(ids: Collection[int], rate: Rate) -> Counts:
    longest = settings.PAYMENT_ACTION_SECONDS + settings.PAYMENT_GIVE_UP_SECONDS
    since = clock.now() - timedelta(seconds=max(rate.seconds, longest))
    recent = Payment.objects.filter(account_id__in=ids, id__gte=_first_id(since - MAX_CLOCK_SKEW))
    unsettled = Q(status__in=UNSETTLED, card_amount__gt=0, created_at__gte=since)
    found = recent.filter(unsettled | Q(declined_at__gt=_start_of(rate))).values_list("account_id")
    return _to_counts(OF_ACCOUNT, ids, rate, found)


def _count_of_keys(ids: Collection[int], rate: Rate) -> Counts:
    since = clock.now() - timedelta(seconds=UNTRIED_SECONDS)
    untried = Q(status=Payment.Status.PENDING, action_url="", card_amount__gt=0, created_at__gte=since)
    declined = Q(status=Payment.Status.FAILED, declined_at__gt=_start_of(rate))
    found = Payment.objects.filter(untried | declined, api_key_id__in=ids).values_list("api_key_id")
    return _to_counts(OF_KEY, ids, rate, found)


def _to_counts(limit: str, ids: Collection[int], rate: Rate, payments: "QuerySet[Payment, Any]") -> Counts:
    counts = {(limit, id): Tried(rate) for id in ids}
    for id, count, first_at in payments.annotate(Count("pk"), Min("declined_at")):
        counts[limit, id] = Tried(rate, count, first_at)
    return counts


def _start_of(rate: Rate) -> datetime:
    return clock.now() - timedelta(seconds=rate.seconds)


def _first_id(at: datetime) -> UUID:
    """The smallest id of a payment that started then: ids are UUIDv7, so an index sorts them by time."""
    milliseconds = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62))
