"""The accounts for which keys act: each process remembers which exist, for no account is ever deleted."""

from collections import OrderedDict
from collections.abc import Sequence

from django.contrib.auth.models import User

from shop.accounts import disabled_accounts
from shop.concurrency.event_loop import submit_to_batcher
from shop.concurrency.group_commit import Batcher
from shop.db import transactions

MOST_REMEMBERED = 100_000
_existing: OrderedDict[int, None] = OrderedDict()


async def is_usable(account_id: int) -> bool:
    """Whether the account exists and is not disabled, as of at most four seconds ago.

    Costs a query when this process sees the account for the first time. The disabled accounts must have been
    refreshed. Raises `DatabaseUnavailable`, and what `Batcher.submit` raises.
    """
    if account_id in _existing:
        _existing.move_to_end(account_id)
    elif await submit_to_batcher(_lookups, account_id):
        _existing[account_id] = None
        if len(_existing) > MOST_REMEMBERED:
            _existing.popitem(last=False)
    else:
        return False
    return not disabled_accounts.is_known_as_disabled(account_id)


def forget() -> None:
    """Forget which accounts exist (tests, which delete them)."""
    _existing.clear()


def _find_existing(account_ids: Sequence[int]) -> Sequence[bool]:
    found = set(User.objects.filter(pk__in=account_ids).values_list("pk", flat=True))
    return [account_id in found for account_id in account_ids]


_lookups: Batcher[int, bool] = Batcher(_find_existing, name="acted_accounts", run=transactions.read)
