"""Members of staff buy neither by a coupon of a campaign nor at a price that they have set lately."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from foundation.errors import NotAllowed
from foundation.lazy_texts import mark as _
from foundation.models import JournalLine

CAMPAIGN_PERIOD = timedelta(days=30)
PRICE_PERIOD = timedelta(days=1)
OF_CAMPAIGN = ("campaign.created", "campaign.changed")
OF_PRODUCT = ("product.created", "product.changed")
OwnTerms = set[tuple[int, str]]
"""Accounts, each with a campaign or product, as the journal names it, whose terms or price it set lately."""


def read(account_ids: Iterable[int], subjects: Iterable[str], *, now: datetime) -> OwnTerms:
    """Which of these accounts set the terms of which of these campaigns and products, by the journal.

    Exact for rows that are locked, or whose version is compared later.
    """
    lines = JournalLine.objects.filter(
        actor_id__in=account_ids,
        subject__in=subjects,
        what__in=OF_CAMPAIGN + OF_PRODUCT,
        at__gte=now - CAMPAIGN_PERIOD,
    )
    return {
        (line.actor_id or 0, line.subject)
        for line in lines
        if line.what in OF_CAMPAIGN or ("price" in (line.after or {}) and line.at >= now - PRICE_PERIOD)
    }


def check(own: OwnTerms, account_id: int, subjects: Iterable[str]) -> None:
    """Raise `NotAllowed` `own_account` if the account set the terms of one of these."""
    if any((account_id, subject) in own for subject in subjects):
        raise NotAllowed(
            _("You have set the price, or the coupon's terms, yourself lately: another account may buy."),
            code="own_account",
        )
