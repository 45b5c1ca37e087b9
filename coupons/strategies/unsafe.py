"""`unsafe`: read, decide, write, and no lock on what was read. The control that must fail; only with LAB=1.

Two requests read the same count, and both write it plus one, so it issues too many; positions stay empty. It
obeys a pause, which its UPDATE requires. In the lab `UNSAFE_INSERTS_FIRST=1` has it write the coupon first:
each INSERT then shares a lock on the campaign, which each UPDATE needs for itself, so most of them deadlock.
"""

from django.conf import settings

from coupons import eligibility, rows
from coupons.allocation import allocating, outcomes
from coupons.allocation.outcomes import Issued, Slot
from coupons.codes import code_format
from coupons.models import Campaign, Coupon
from foundation import journal
from foundation.db import transactions


def issue(*, campaign_id: int, user_id: int) -> Slot:
    """Issue as if there were no other request."""
    applicants = allocating.read_campaign(campaign_id, [user_id])
    campaign = applicants.campaign
    answer = applicants.answer(user_id)
    if answer:
        return outcomes.unwrap(answer)
    return _write(campaign, rows.new_coupon(campaign, user_id, _next_code(campaign), None, applicants.now))


def _next_code(campaign: Campaign) -> str:
    """A new code, or the pool's first one, which another request may be taking as well."""
    if campaign.code_source == Campaign.CodeSource.GENERATED:
        return code_format.make_several(1)[0]
    available = rows.available_codes(campaign.pk)
    code = available.order_by("id").values_list("code", flat=True).first()
    if code is None:
        raise eligibility.sold_out(campaign.name)
    return code


def _write(campaign: Campaign, coupon: Coupon) -> Issued:
    """Write the coupon, with a count that may be out of date; raises the refusal while paused.

    One transaction, because a pause must not commit between the UPDATE and the coupon.
    """

    def count() -> None:
        not_paused = Campaign.objects.filter(pk=campaign.pk, paused_at__isnull=True)
        if not not_paused.update(issued=campaign.issued + 1):
            raise eligibility.paused(campaign.name)

    def insert() -> None:
        allocating.write_coupons([coupon], by={coupon.account_id: journal.current_actor()})

    def work() -> None:
        if getattr(settings, "UNSAFE_INSERTS_FIRST", False):
            insert()
            count()
        else:
            count()
            insert()

    transactions.run(work, transactions.ONCE)
    return Issued(coupon, is_new=True)
