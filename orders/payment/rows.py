"""The declined cards that limit which cards an account, or its API key, may try.

A transaction that starts payments locks the rows of the accounts that pay, then of their API keys, and counts
the declined payments. Those that may still be declined count as declined: of an account all that have not
settled, but for those long overdue; of a key those of the last seconds that the gateway was not asked about
yet.
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
from foundation.rates.rate import Rate
from foundation.rates.rate_limits import Usage
from orders.limits import OF_ACCOUNT, OF_KEY, Counts, Payer, card_limits_of
from payments.models import Payment
from payments.transitions import UNSETTLED, Status

# For so long a payment of a key counts that the gateway was not asked about yet.
UNTRIED_SECONDS = 30
# Ids contain the time of the hosts' clocks; they only narrow down the rows to read.
MAX_CLOCK_SKEW = timedelta(hours=1)


class Owners(NamedTuple):
    """Whose payments a limit counts: its setting, the column, and the rows that are locked."""

    setting: str
    column: str
    model: type[Model]


OWNERS = {
    OF_ACCOUNT: Owners("RATE_DECLINES", "account_id", User),
    OF_KEY: Owners("RATE_DECLINES_PER_KEY", "api_key_id", ApiKey),
}


def card_rates() -> dict[str, Rate]:
    """The rates of the limits that apply."""
    return {name: rate for name, owners in OWNERS.items() if (rate := getattr(settings, owners.setting))}


def lock_and_count_declines(payers: Sequence[Payer | None]) -> Counts:
    """Lock the rows of these payers, None without a limit, and count what counts against their limits.

    Must be called inside the transaction that starts the payments, before it inserts a row of the account.
    """
    open_transaction.assert_inside()
    counts: Counts = {}
    limited = {pair for payer in payers for pair in card_limits_of(payer)}
    for name, rate in card_rates().items():
        ids = [id for other, id in limited if other == name]
        if ids:
            # By the trip of the count, which sees what was committed while this waited.
            wanted = f"{OWNERS[name].model._meta.db_table} WHERE id IN ({bulk_sql.integer_list(ids)})"
            bulk_sql.execute_deferred(f"SELECT id FROM {wanted} ORDER BY id{bulk_sql.for_update()}")  # noqa: S608
            counts |= _count_declines(name, ids, rate)
    return counts


def locked_payers(payer: Payer | None) -> Iterator[Row]:
    """The rows that `lock_and_count_declines` locks, and that others may keep locked."""
    for name, id in card_limits_of(payer):
        yield Row(OWNERS[name].model, id)


def first_declined_at(limit: str, id: int, *, since: datetime) -> datetime:
    """When the first of the payments was declined that count since then; that instant if none is left."""
    owner = {OWNERS[limit].column: id}
    declined = Payment.objects.filter(**owner, status=Status.FAILED, declined_at__gt=since)
    return declined.aggregate(first_at=Min("declined_at"))["first_at"] or since


def read_declines(account_id: int) -> Usage | None:
    """What the account has used of its limit; None without one."""
    rate = card_rates().get(OF_ACCOUNT)
    if rate is None:
        return None
    count = _count_declines(OF_ACCOUNT, [account_id], rate).get((OF_ACCOUNT, account_id), 0)
    return Usage(OF_ACCOUNT, count, rate, is_shared=True)


def _count_declines(limit: str, ids: Iterable[int], rate: Rate) -> Counts:
    column = OWNERS[limit].column
    now = clock.now()
    longest = settings.PAYMENT_ACTION_SECONDS + settings.PAYMENT_GIVE_UP_SECONDS
    since = now - timedelta(seconds=max(rate.seconds, longest))
    # The smallest id of a payment that started then: ids are UUIDv7, so an index sorts them by time.
    milliseconds = (since - MAX_CLOCK_SKEW - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    first_id = UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62))
    cells = bulk_sql.SqlLiterals()
    undecided = f"status IN ({cells.listed(UNSETTLED)}) AND created_at >= {cells[since]}"
    if limit == OF_KEY:
        untried_since = now - timedelta(seconds=UNTRIED_SECONDS)
        undecided = (
            f"status = '{Status.PENDING}' AND action_url = '' AND created_at >= {cells[untried_since]}"
        )
    declined = f"status = '{Status.FAILED}' AND declined_at > {cells[now - timedelta(seconds=rate.seconds)]}"
    rows = bulk_sql.reader(Payment, (column,)).rows(
        f"id >= {cells[first_id]} AND {column} IN ({bulk_sql.integer_list(ids)})"
        f" AND ({declined} OR {undecided} AND card_amount > 0)",
        cells,
    )
    return Counter((limit, id) for [id] in rows)
