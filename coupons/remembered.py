"""What this process remembers of campaigns for a second: a request needs no query for its campaign, and a
refusal by one that is sold out no transaction.

A campaign that was released a slot, or changed, is known in all processes within a second, and at once in the
one that changed it. A stale one costs time or a refusal, never a law: each strategy reads the campaign again.
"""

from functools import lru_cache, partial

from coupons import CAMPAIGNS_AT_ONCE, gate, pool_list
from coupons.models import Campaign
from foundation.concurrency.shared_read import SharedRead
from foundation.db import transactions
from foundation.errors import required
from foundation.lazy_texts import mark

SECONDS = 1.0
# While the database can't be read.
LONGEST_SECONDS = 60.0
NOT_FOUND = "campaign_not_found"


@lru_cache(maxsize=CAMPAIGNS_AT_ONCE)
def campaign(campaign_id: int) -> SharedRead[Campaign]:
    """The campaign as it was read a moment ago. Reading it raises `NotFound` `campaign_not_found`."""
    read = partial(require, campaign_id)
    return SharedRead(
        read,
        name=f"campaign {campaign_id}",
        # In a crowd one request has the campaign read again in time, and none waits for that.
        seconds=SECONDS / 2,
        recent_seconds=SECONDS,
        max_age_seconds=LONGEST_SECONDS,
    )


def is_known(campaign_id: int) -> bool:
    """Whether this process has read the campaign: it exists."""
    return campaign(campaign_id).is_known()


def note_sold_out(campaign_id: int) -> None:
    """Read the campaign again after it refused a request as sold out, unless that is known.

    One request reads, and the others go on: a pool may run out while slots are left, so that each comes here.
    """
    shared = campaign(campaign_id)
    if shared.recent().has_left(1):
        shared.read_unless_busy()


def slot_released(*, campaign_id: int, user_id: int, code: str) -> None:
    """The account's slot was released: the slot and its code are available to others, in Redis as well.

    Call this and `terms_changed` after the commit. A crash may lose their updates: the sweepers correct them.
    """
    pool_list.return_code(campaign_id, code=code)
    gate.remove_member(campaign_id=campaign_id, user_id=user_id)
    campaign(campaign_id).forget()


def terms_changed(*, campaign_id: int) -> None:
    """The campaign's quantity, times or strategy have changed, or its pool has new codes."""
    pool_list.drop(campaign_id)
    gate.refresh(campaign_id=campaign_id)
    campaign(campaign_id).forget()


def require(campaign_id: int) -> Campaign:
    """The campaign as it is now. Raises `NotFound` `campaign_not_found`."""
    read = transactions.read(Campaign.objects.filter(pk=campaign_id).first)
    return required(
        read, mark("There is no campaign {campaign_id}.", campaign_id=campaign_id), code=NOT_FOUND
    )
