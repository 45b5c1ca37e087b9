"""The list of a campaign whose coupons are for listed accounts: adding accounts, and removing them.

Every change locks the campaign's row and changes its version: so no strategy decides by an old list.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from django.contrib.auth.models import User
from django.db.models import F

from coupons import pool
from coupons.models import Campaign, EligibleAccount
from shop import clock, own_account
from shop.db import bulk_sql, transactions
from shop.errors import Invalid
from shop.journal import journal
from shop.lazy_texts import mark as _

# The campaign is locked while a chunk is written: short enough for issuing to go on in between.
CHUNK = 1_000
UNKNOWN_SHOWN = 100
ROWS = bulk_sql.Table(EligibleAccount, ("campaign_id", "account_id", "added_at"))


@dataclass(frozen=True, slots=True)
class ListedAccounts:
    """How many accounts are new in the list, those that were in it, and how many are in it now."""

    added: int
    skipped: list[int]
    total: int


def add(
    *,
    campaign_id: int,
    account_ids: Sequence[int],
    reason: str = "",
    progress: Callable[[int], None] = lambda listed: None,
) -> ListedAccounts:
    """Add these accounts to the campaign's list; those that are in it are skipped, so repeating is safe.

    Each chunk is durable by itself, also when `progress`, called with its size, raises. Raises `NotFound`
    without the campaign; `Invalid` with the accounts that don't exist, and `NotAllowed` `own_account`: then
    none is added.
    """
    own_account.refuse_own(*account_ids)
    pool.require_campaign(campaign_id)
    _require_known(account_ids)
    skipped: list[int] = []
    for start in range(0, len(account_ids), CHUNK):
        chunk = account_ids[start : start + CHUNK]
        skipped += transactions.run(partial(_add_chunk, campaign_id, chunk, reason), transactions.ONCE)
        progress(len(chunk))
    return ListedAccounts(added=len(account_ids) - len(skipped), skipped=skipped, total=count(campaign_id))


def remove(*, campaign_id: int, account_ids: Collection[int], reason: str = "") -> int:
    """Remove these accounts from the campaign's list; returns how many were in it.

    Durable on return; from then on they get no new coupon of a campaign whose accounts are listed. Raises
    `NotFound` without the campaign.
    """
    pool.require_campaign(campaign_id)
    ids, removed = sorted(set(account_ids)), 0
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        removed += transactions.run(partial(_remove_chunk, campaign_id, chunk, reason), transactions.ONCE)
    return removed


def listed(*, campaign_id: int, account_ids: Collection[int]) -> set[int]:
    """Those of these accounts that are in the campaign's list."""
    rows = EligibleAccount.objects.filter(campaign_id=campaign_id, account_id__in=set(account_ids))
    return set(rows.values_list("account_id", flat=True))


def unknown(account_ids: Collection[int]) -> set[int]:
    """Those of these accounts that don't exist."""
    ids = sorted(set(account_ids))
    known: set[int] = set()
    for start in range(0, len(ids), CHUNK):
        known.update(User.objects.filter(pk__in=ids[start : start + CHUNK]).values_list("pk", flat=True))
    return set(ids) - known


def count(campaign_id: int) -> int:
    """How many accounts are in the campaign's list."""
    return EligibleAccount.objects.filter(campaign_id=campaign_id).count()


def _add_chunk(campaign_id: int, account_ids: Sequence[int], reason: str) -> list[int]:
    """Add one chunk; returns the accounts that were in the list, or come twice."""
    _lock(campaign_id)
    seen = listed(campaign_id=campaign_id, account_ids=account_ids)
    skipped: list[int] = []
    new: list[int] = []
    for account_id in account_ids:
        (skipped if account_id in seen else new).append(account_id)
        seen.add(account_id)
    if new:
        now = clock.now()
        bulk_sql.insert(ROWS, [(campaign_id, account_id, now) for account_id in new])
        _note("campaign.accounts_listed", campaign_id, new, reason)
    return skipped


def _remove_chunk(campaign_id: int, account_ids: Sequence[int], reason: str) -> int:
    _lock(campaign_id)
    removed = sorted(listed(campaign_id=campaign_id, account_ids=account_ids))
    if removed:
        EligibleAccount.objects.filter(campaign_id=campaign_id, account_id__in=removed).delete()
        _note("campaign.accounts_unlisted", campaign_id, removed, reason)
    return len(removed)


def _lock(campaign_id: int) -> None:
    """What has read the campaign without a lock finds it changed."""
    Campaign.objects.filter(pk=campaign_id).update(version=F("version") + 1)


def _note(what: str, campaign_id: int, account_ids: Sequence[int], reason: str) -> None:
    """Note which accounts: an operator may have listed one that gets its coupon by it."""
    journal.note(
        what=what,
        subject=f"campaign {campaign_id}",
        after={"accounts": len(account_ids), "ids": list(account_ids)},
        detail=reason,
        is_internal=True,
    )


def _require_known(account_ids: Sequence[int]) -> None:
    missing = sorted(unknown(account_ids))
    if not missing:
        return
    errors = [
        {
            "field": f"users.{account_ids.index(account_id)}",
            "code": "unknown",
            "detail": _("There is no account {account_id}.", account_id=account_id),
        }
        for account_id in missing[:UNKNOWN_SHOWN]
    ]
    raise Invalid(_("Nothing was done: some of these accounts don't exist."), errors=errors)
