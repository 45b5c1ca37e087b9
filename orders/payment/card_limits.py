"""Limits the cards that an account, and an API key, may try: past so many declined payments none is started.

Payments that may still be declined count as declined: of an account all that have not settled, but for those
long overdue; of a key those of the last seconds that the gateway was not asked about yet.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Min, Model

from accounts.models import ApiKey
from foundation import clock
from foundation.db import bulk_sql, open_transaction
from foundation.db.stuck_rows import Row
from foundation.rates import rate_limits
from foundation.rates.rate import Rate
from foundation.rates.rate_limits import Usage
from payments.models import Payment
from payments.payment_states import UNSETTLED, Status

# For so long a payment of a key counts that the gateway was not asked about yet.
UNTRIED_SECONDS = 30
# Ids contain the time of the hosts' clocks; they only narrow down the rows to read.
MAX_CLOCK_SKEW = timedelta(hours=1)


class Limit(NamedTuple):
    """A limit: its name and setting, and the column by whose rows' owners it counts."""

    name: str
    setting: str
    column: str
    owners: type[Model]

    @property
    def rate(self) -> Rate | None:
        rate: Rate | None = getattr(settings, self.setting)
        return rate


OF_ACCOUNT = Limit("declines", "RATE_DECLINES", "account_id", User)
OF_KEY = Limit("declines-per-key", "RATE_DECLINES_PER_KEY", "api_key_id", ApiKey)


class Payer(NamedTuple):
    """The account whose card is charged, and the API key by which, if any."""

    account_id: int
    key_id: int | None = None


Counts = dict[tuple[Limit, int], int]
"""How many payments count, with those of this transaction, by the limit and the account's or key's id."""


def lock_and_count(payers: Sequence[Payer | None]) -> Counts:
    """Lock the rows of these payers, None without a limit, and count what counts against their limits.

    Must be called inside the transaction that starts the payments, before it inserts a row of the account.
    """
    open_transaction.assert_inside()
    counts: Counts = {}
    limited = {pair for payer in payers for pair in _limits_of(payer)}
    for limit in (OF_ACCOUNT, OF_KEY):
        ids = [id for other, id in limited if other is limit]
        if ids and limit.rate:
            # By the trip of the count, which sees what was committed while this waited.
            wanted = f"{limit.owners._meta.db_table} WHERE id IN ({bulk_sql.integer_list(ids)})"
            bulk_sql.execute_deferred(f"SELECT id FROM {wanted} ORDER BY id{bulk_sql.for_update()}")  # noqa: S608
            counts |= _count(limit, ids, limit.rate)
    return counts


def locked_rows(payer: Payer | None) -> Iterator[Row]:
    for limit, id in _limits_of(payer):
        yield Row(limit.owners, id)


def check(counts: Counts, payer: Payer | None) -> None:
    """Raise `Throttled` if one more card of the key, or of the account, could exceed the rate."""
    for limit, id in _limits_of(payer):
        rate = limit.rate
        if rate and counts.get((limit, id), 0) >= rate.times:
            start = clock.now() - timedelta(seconds=rate.seconds)
            declined = Payment.objects.filter(**{limit.column: id}, status="failed", declined_at__gt=start)
            first_at = declined.aggregate(first_at=Min("declined_at"))["first_at"] or start
            raise rate_limits.refusal(limit.name, rate, seconds=(first_at - start).total_seconds())


def add(counts: Counts, payer: Payer | None) -> None:
    """Add a payment that this transaction starts, for the payer's later ones in it."""
    for pair in _limits_of(payer):
        counts[pair] = counts.get(pair, 0) + 1


def read_usage(account_id: int) -> Usage | None:
    rate = OF_ACCOUNT.rate
    if rate is None:
        return None
    count = _count(OF_ACCOUNT, [account_id], rate).get((OF_ACCOUNT, account_id), 0)
    return Usage(OF_ACCOUNT.name, count, rate, is_shared=True)


def _limits_of(payer: Payer | None) -> Iterator[tuple[Limit, int]]:
    """The payer's limits, the key's first, each with the id by which it counts."""
    if payer:
        if payer.key_id is not None:
            yield OF_KEY, payer.key_id
        yield OF_ACCOUNT, payer.account_id


def _count(limit: Limit, ids: Iterable[int], rate: Rate) -> Counts:
    now = clock.now()
    longest = settings.PAYMENT_ACTION_SECONDS + settings.PAYMENT_GIVE_UP_SECONDS
    since = now - timedelta(seconds=max(rate.seconds, longest))
    # The smallest id of a payment that started then: ids are UUIDv7, so an index sorts them by time.
    milliseconds = (since - MAX_CLOCK_SKEW - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    first_id = UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62))
    cells = bulk_sql.SqlLiterals()
    undecided = f"status IN ({cells.listed(UNSETTLED)}) AND created_at >= {cells[since]}"
    if limit is OF_KEY:
        untried_since = now - timedelta(seconds=UNTRIED_SECONDS)
        undecided = (
            f"status = '{Status.PENDING}' AND action_url = '' AND created_at >= {cells[untried_since]}"
        )
    declined = f"status = '{Status.FAILED}' AND declined_at > {cells[now - timedelta(seconds=rate.seconds)]}"
    rows = bulk_sql.reader(Payment, (limit.column,)).rows(
        f"id >= {cells[first_id]} AND {limit.column} IN ({bulk_sql.integer_list(ids)})"
        f" AND ({declined} OR {undecided} AND card_amount > 0)",
        cells,
    )
    return Counter((limit, id) for [id] in rows)
