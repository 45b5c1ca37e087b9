"""`group_commit`: whoever asks while a transaction is open shares the next one. The default.

How: a lane per campaign and process; its leader locks the campaign's row once and grants all that wait.
Promises: exact; positions in order of arrival within a process; needs no Redis.
Scales: one lock and one flush a batch, so the hotter the campaign, the cheaper each coupon.
"""

from functools import lru_cache

from coupons import granting
from coupons.slots import Asker, Confirming, Issued
from shop.group_commit import Lane

# Campaigns with a lane at once. Should a busy one be dropped it gets a second lane: the row's lock decides.
LANES = 1_024
# Without it the first whose answer is out leads alone, time and again, and all others share the next batch.
PACE_SECONDS = 0.01


def issue(*, campaign_id: int, user_id: int) -> Issued | Confirming:
    """Join the campaign's lane, and return with its outcome."""
    return _lane(campaign_id).submit(Asker(user_id))


@lru_cache(maxsize=LANES)
def _lane(campaign_id: int) -> Lane[Asker, Issued | Confirming]:
    return Lane(
        lambda askers: granting.grant(campaign_id=campaign_id, askers=askers),
        pace_seconds=PACE_SECONDS,
        rows_of=lambda asker: granting.locked_rows(campaign_id, asker),
    )
