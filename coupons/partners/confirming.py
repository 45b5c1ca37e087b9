"""Confirms a slot at the campaign's partner, which turns it into the account's coupon.

If the partner doesn't answer, the account keeps the slot: a repeated request calls the partner under the same
key, and `coupons.partners.confirmation_recovery` does so for requests that don't come back. No customer has a
coupon that the partner doesn't know, and no code is lost, wherever either side crashes.
"""

from django.db.models import F
from prometheus_client import Counter

from coupons.allocation import eligibility
from coupons.allocation.writes import Issued, PendingConfirmation
from coupons.models import Campaign, Confirmation, Coupon
from coupons.partners import call_limit, confirmation
from coupons.partners.contract import NoAnswer, NotReached, PartnerReply
from shop.db import open_transaction, transactions
from shop.errors import PartnerFailed, Unavailable
from shop.lazy_texts import mark as _
from shop.observability import logs

PARTNER_ANSWERS = Counter(
    "firstcome_partner_answers_total", "Replies of partners that were asked to confirm a coupon.", ["answer"]
)


def ask_partner(confirming: PendingConfirmation) -> Issued:
    """Call the partner and return the slot's coupon; must be called outside any transaction.

    Durable on return, and safe to repeat. Raises `PartnerFailed` if the partner refused, or was not reached
    and can't know the key from an earlier call: slot and code are released. Raises `Unavailable` while the
    partner's decision is not known: the account keeps the slot, and a repeat finds out.
    """
    open_transaction.assert_outside()
    with logs.bound(campaign=confirming.campaign_id, account=confirming.user_id):
        with call_limit.call_permit():
            if not confirming.is_new and not _count_attempt(confirming):
                return _read_settled(confirming)
            answer = _register(confirming)
        if answer is PartnerReply.REGISTERED:
            return confirmation.confirm(confirming)
        if isinstance(answer, NoAnswer) or (isinstance(answer, NotReached) and not confirming.is_new):
            raise reply_unknown() from answer
        issued = confirmation.release_slot(confirming, is_unsent=isinstance(answer, NotReached))
        if issued is None:
            if isinstance(answer, NotReached):
                raise PartnerFailed(_("The partner was not reached; nothing was issued.")) from answer
            raise confirmation.refused()
        return issued


def _register(confirming: PendingConfirmation) -> PartnerReply | NotReached | NoAnswer:
    """Call the partner, and count its reply."""
    try:
        with call_limit.partner_call(confirming.partner) as partner:
            reply = partner.register(confirming.key, confirming.code)
    except (NotReached, NoAnswer) as error:
        PARTNER_ANSWERS.labels("not_reached" if isinstance(error, NotReached) else "none").inc()
        return error
    PARTNER_ANSWERS.labels(reply.value).inc()
    return reply


def _count_attempt(confirming: PendingConfirmation) -> bool:
    """Count an attempt before the partner is called again; False if the slot has been settled.

    The first call is not counted: while `attempts` is 0, only the request that took the slot may have called.
    """
    rows = Confirmation.objects.filter(pk=confirming.key, is_cancelled=False)
    return bool(transactions.run(lambda: rows.update(attempts=F("attempts") + 1), transactions.REPEATABLE))


def _read_settled(confirming: PendingConfirmation) -> Issued:
    """The coupon of a slot that another process has settled; raises if there is none."""
    campaign = Campaign.objects.get(pk=confirming.campaign_id)
    existing = eligibility.existing_coupons(campaign, [confirming.user_id]).get(confirming.user_id)
    if isinstance(existing, Coupon):
        outcome = eligibility.unwrap(eligibility.existing_coupon_result(existing))
        assert isinstance(outcome, Issued)
        return outcome
    raise reply_unknown() if existing else confirmation.refused()


def reply_unknown() -> Unavailable:
    """The error of a request that keeps its slot while the partner's decision is not known."""
    return Unavailable(_("The partner has not answered; the coupon is reserved meanwhile. Try again."))
