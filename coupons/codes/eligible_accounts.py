"""The list of a campaign whose coupons are for listed accounts: adding accounts, and removing them.

Every change locks the campaign's row and changes its version: so no strategy decides by an old list.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import BinaryIO

from django.contrib.auth.models import User
from django.db.models import F
from django.utils.translation import gettext

from accounts.operating import own_account
from coupons import rows
from coupons.codes import line_files, pool
from coupons.codes.line_files import BadLine, FileLine, Piece
from coupons.codes.pool import Added
from coupons.models import Campaign, EligibleAccount
from foundation import journal
from foundation.db import transactions
from foundation.errors import Invalid
from foundation.lazy_texts import mark

UNKNOWN_SHOWN = 100


def add(*, campaign_id: int, account_ids: Sequence[int], reason: str = "") -> Added:
    """Add these accounts to the campaign's list; those that are in it are skipped, so repeating is safe.

    Each chunk of them is durable by itself. Raises `NotFound` without the campaign; `Invalid` with the
    accounts that don't exist, and `NotAllowed` `own_account`: then none is added.
    """
    own_account.refuse_own(*account_ids)
    pool.require_campaign(campaign_id)
    missing = unknown(account_ids)
    if missing:
        errors = [
            {
                "field": f"users.{account_ids.index(account_id)}",
                "code": "unknown",
                "detail": mark("There is no account {account_id}.", account_id=account_id),
            }
            for account_id in sorted(missing)[:UNKNOWN_SHOWN]
        ]
        raise Invalid(mark("Nothing was done: some of these accounts don't exist."), errors=errors)
    skipped: list[int] = []
    for chunk in pool.chunks(account_ids):
        skipped += transactions.run(partial(_add_chunk, campaign_id, chunk, reason), transactions.ONCE)
    return Added(len(account_ids) - len(skipped), skipped, count(campaign_id))


def remove(*, campaign_id: int, account_ids: Collection[int], reason: str = "") -> int:
    """Remove these accounts from the campaign's list; returns how many were in it.

    Durable on return; from then on they get no new coupon of a campaign whose accounts are listed. Raises
    `NotFound` without the campaign.
    """
    pool.require_campaign(campaign_id)
    return sum(
        transactions.run(partial(_remove_chunk, campaign_id, chunk, reason), transactions.ONCE)
        for chunk in pool.chunks(sorted(set(account_ids)))
    )


def pieces(file: BinaryIO, *, column: int | None = None) -> Iterator[Piece]:
    """The accounts of a file, as `line_files.pieces`; one that doesn't exist is a bad line."""
    for piece in line_files.pieces(file, kind=line_files.PEOPLE, column=column):
        ids = _ids(piece.texts)
        detail = gettext("there is no account %(account)s")
        found = []
        for number, text in piece.lines:
            if id := ids.get(text.casefold()):
                found.append(FileLine(number, str(id)))
            else:
                piece.errors.append(BadLine(number, "unknown", detail % {"account": text}))
        yield Piece(found, piece.errors)


def _ids(texts: Collection[str]) -> dict[str, int]:
    """The accounts of these numbers, user names and e-mail addresses, each kind by its index. A text that
    several accounts have is that of none.
    """
    numbers = {text for text in texts if re.fullmatch(line_files.ACCOUNTS.pattern, text)}
    found = defaultdict[str, set[int]](set)
    for column in ("pk", "username", "email"):
        values = numbers if column == "pk" else {*texts} - numbers
        for pk, value in User.objects.filter(**{f"{column}__in": values}).values_list("pk", column):
            found[str(value).casefold()].add(pk)
    return {name: min(ids) for name, ids in found.items() if len(ids) == 1}


def listed(*, campaign_id: int, account_ids: Collection[int]) -> set[int]:
    """Those of these accounts that are in the campaign's list."""
    return rows.listed_accounts(campaign_id, account_ids)


def unknown(account_ids: Collection[int]) -> set[int]:
    """Those of these accounts that don't exist."""
    ids = set(account_ids)
    return ids - set(User.objects.filter(pk__in=ids).values_list("pk", flat=True))


def count(campaign_id: int) -> int:
    """How many accounts are in the campaign's list."""
    return EligibleAccount.objects.filter(campaign_id=campaign_id).count()


def _add_chunk(campaign_id: int, account_ids: Sequence[int], reason: str) -> list[int]:
    """Add one chunk; returns the accounts that were in the list, or come twice."""
    _lock(campaign_id)
    new, skipped = pool.split_known(account_ids, rows.listed_accounts(campaign_id, account_ids))
    if new:
        EligibleAccount.objects.bulk_create(
            EligibleAccount(campaign_id=campaign_id, account_id=account_id) for account_id in new
        )
        _note("campaign.accounts_listed", campaign_id, new, reason)
    return skipped


def _remove_chunk(campaign_id: int, account_ids: Sequence[int], reason: str) -> int:
    _lock(campaign_id)
    removed = sorted(rows.listed_accounts(campaign_id, account_ids))
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
