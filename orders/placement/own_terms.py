"""Members of staff buy neither by a coupon of a campaign nor at a price that they have set lately."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from foundation.errors import NotAllowed
from foundation.lazy_texts import mark
from foundation.values import GivenValues

CAMPAIGN_PERIOD = timedelta(days=30)
PRICE_PERIOD = timedelta(days=1)
OF_CAMPAIGN = ("campaign.created", "campaign.changed")
OF_PRODUCT = ("product.created", "product.changed")
OwnTerms = set[tuple[int, str]]
"""Accounts, each with a campaign or product, as the journal names it, whose terms or price it set lately."""


def has_set(what: str, after: GivenValues | None, at: datetime, *, now: datetime) -> bool:
    """Whether this line of the journal, of the last `CAMPAIGN_PERIOD`, set terms that still count."""
    return what in OF_CAMPAIGN or ("price" in (after or {}) and at >= now - PRICE_PERIOD)


def check(own: OwnTerms, account_id: int, subjects: Iterable[str]) -> None:
    """Raise `NotAllowed` `own_account` if the account set the terms of one of these."""
    if any((account_id, subject) in own for subject in subjects):
        raise NotAllowed(
            mark("You have set the price, or the coupon's terms, yourself lately: another account may buy."),
            code="own_account",
        )
