"""Confirming: a campaign's partner is asked whether a slot may become its account's coupon.

A partner that doesn't answer leaves the slot the account's: whoever asks again asks by the same key, and
`coupons.partners.confirmation_recovery` asks for those who don't come back. No customer has a coupon that the
partner doesn't know of, and no code is lost, whichever of us dies where.
"""

from django.db.models import F
from prometheus_client import Counter

from coupons.allocation import eligibility
from coupons.allocation.writes import Issued, PendingConfirmation
from coupons.models import Campaign, Confirmation, Coupon
from coupons.partners import confirmation, patience
from coupons.partners.contract import NoAnswer, NotReached, PartnerReply
from shop.db import transactions
from shop.errors import PartnerFailed, Unavailable

PARTNER_ANSWERS = Counter(
    "firstcome_partner_answers_total", "What partners said when a coupon was to be confirmed.", ["answer"]
)


def ask_partner(confirming: PendingConfirmation) -> Issued:
    """Ask the partner, and return the coupon that the slot has become; outside any transaction.

    Durable when it returns, and safe to repeat. Raises `PartnerFailed` when the partner refused, or was not
    reached and can't have heard of it before: slot and code went back. Raises `Unavailable` while it is not
    known what the partner did: the slot stays the account's, and asking again tells.
    """
    transactions.assert_outside()
    with patience.call_permit():
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
            raise PartnerFailed("The partner was not reached; nothing was issued.") from answer
        raise confirmation.refused()
    return issued


def _register(confirming: PendingConfirmation) -> PartnerReply | NotReached | NoAnswer:
    """What came of asking, counted."""
    try:
        with patience.partner_call(confirming.partner) as partner:
            said = partner.register(confirming.key, confirming.code)
    except (NotReached, NoAnswer) as error:
        PARTNER_ANSWERS.labels("not_reached" if isinstance(error, NotReached) else "none").inc()
        return error
    PARTNER_ANSWERS.labels(said.value).inc()
    return said


def _count_attempt(confirming: PendingConfirmation) -> bool:
    """Note before it is asked again that the key may be known to the partner; False when that is settled.

    The first to ask needs no note: while there is none, they are the only one who may have asked.
    """
    there = Confirmation.objects.filter(pk=confirming.key, is_cancelled=False)
    return bool(transactions.run(lambda: there.update(attempts=F("attempts") + 1), transactions.REPEATABLE))


def _read_settled(confirming: PendingConfirmation) -> Issued:
    """What has become of a slot that somebody else settled."""
    campaign = Campaign.objects.get(pk=confirming.campaign_id)
    had = eligibility.existing_coupons(campaign, [confirming.user_id]).get(confirming.user_id)
    if isinstance(had, Coupon):
        outcome = eligibility.unwrap(eligibility.existing_coupon_result(had))
        assert isinstance(outcome, Issued)
        return outcome
    raise reply_unknown() if had else confirmation.refused()


def reply_unknown() -> Unavailable:
    """The refusal of a request that has its slot, while it is not known what the partner says of it."""
    return Unavailable("The partner has not answered; the coupon is kept meanwhile. Ask again.")
