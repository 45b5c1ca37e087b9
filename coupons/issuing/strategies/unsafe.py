"""`unsafe`: read, decide, write, and no lock on what was read. The control that must fail; only with LAB=1.

Two requests read the same count, and both write it plus one, so it issues too many; positions stay empty. It
obeys a pause, which its UPDATE requires.
"""

from coupons import codes
from coupons.allocation import eligibility, writes
from coupons.allocation.writes import Issued
from coupons.models import Campaign, Coupon, PoolCode
from shop import clock
from shop.db import transactions
from shop.errors import Rejected
from shop.events import journal


def issue(*, campaign_id: int, user_id: int) -> Issued:
    """Issue as if there were no other request."""
    campaign = Campaign.objects.get(pk=campaign_id)
    now = clock.now()
    outcome = _existing_result(campaign, user_id) or eligibility.refusal(campaign, user_id, now)
    if outcome is None:
        outcome = _write(campaign, writes.new_coupon(campaign, user_id, _next_code(campaign), None, now))
    if isinstance(outcome, Issued):
        return outcome
    raise outcome


def _existing_result(campaign: Campaign, user_id: int) -> Issued | Rejected | None:
    coupon = Coupon.objects.filter(campaign_id=campaign.pk, account_id=user_id).first()
    if coupon is None:
        return None
    coupon.campaign = campaign
    return eligibility.existing_coupon_result(coupon)


def _next_code(campaign: Campaign) -> str:
    """A new code, or the pool's first one, which another request may be taking as well."""
    if campaign.code_source == Campaign.CodeSource.GENERATED:
        return codes.make()
    available = PoolCode.objects.filter(campaign_id=campaign.pk, status=PoolCode.Status.AVAILABLE)
    code = available.order_by("id").values_list("code", flat=True).first()
    if code is None:
        raise eligibility.sold_out(campaign)
    return code


def _write(campaign: Campaign, coupon: Coupon) -> Issued:
    """Write the coupon, with a count that may be out of date by now; raises the refusal while paused.

    One transaction, because a pause must not commit between the UPDATE, which requires that there is none,
    and the coupon.
    """

    def work() -> None:
        not_paused = Campaign.objects.filter(pk=campaign.pk, paused_at__isnull=True)
        if not not_paused.update(issued=campaign.issued + 1):
            raise eligibility.paused(campaign)
        writes.write_coupons([coupon], by={coupon.account_id: journal.current_actor()})

    transactions.run(work, transactions.ONCE)
    return Issued(coupon, is_new=True)
