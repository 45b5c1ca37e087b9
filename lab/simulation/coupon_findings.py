"""What must hold of coupons in the end: every answer is true, nothing is open, no slot or code is lost."""

from django.contrib.auth.models import User

from coupons import tasks
from coupons.allocation.writes import Queued
from coupons.codes import eligible_accounts
from coupons.issuing import issuing
from coupons.models import Campaign, Confirmation, Coupon, PoolCode, QueueTicket
from coupons.queue import worker
from lab.simulation import offers
from lab.simulation.clients import Shop
from lab.simulation.determinism import chance
from lab.simulation.partner import Book
from shop.errors import FirstcomeError

HEALING_SECONDS = 40.0
"""After so long the sweep takes every code and slot back that a crash left in flight."""


def open_now() -> list[str]:
    """Tickets that wait, and slots that their partner has not confirmed."""
    waiting = QueueTicket.objects.filter(status=QueueTicket.Status.WAITING).order_by("id")
    found = [f"ticket {id}" for id in waiting.values_list("id", flat=True)[:5]]
    return found + [
        f"slot {key}" for key in Confirmation.objects.order_by("pk").values_list("pk", flat=True)[:5]
    ]


def of_run(shop: Shop, book: Book) -> list[str]:
    """The answers against the rows and the partner's book; then each campaign issues what it has left."""
    wrong = [*offers.findings(shop.offers, shop.sold_out), *_answers(shop), *_at_partner(book)]
    return [*shop.contradictions, *wrong, *_sell_the_rest(shop)]


def _answers(shop: Shop) -> list[str]:
    rows = {
        (account, campaign): code
        for account, campaign, code in Coupon.objects.values_list("account_id", "campaign_id", "code")
    }
    lost = [
        f"account {account} was answered {code} of campaign {campaign}, has {rows.get((account, campaign))}"
        for (account, campaign), code in shop.coupons.items()
        if rows.get((account, campaign)) != code
    ]
    lost += [
        f"account {account} has {code} of campaign {campaign}, of which it knows nothing"
        for (account, campaign), code in rows.items()
        if account in shop.accounts and (account, campaign) not in shop.coupons
    ]
    known = set(QueueTicket.objects.values_list("id", flat=True))
    return lost + [f"lost: ticket {id}" for id in sorted(shop.tickets - known)]


def _at_partner(book: Book) -> list[str]:
    """A customer's coupon is registered there, and no other code is."""
    codes = set(Coupon.objects.exclude(campaign__partner="").values_list("code", flat=True))
    return [f"code {code} is at one side only" for code in sorted(codes ^ book.registered_codes())]


def _sell_the_rest(shop: Shop) -> list[str]:
    """Each campaign still issues as many coupons as it has left, and no more."""
    chance.pass_time(HEALING_SECONDS)
    tasks.sweep()
    for number in range(max(Campaign.objects.values_list("quantity", flat=True)) + 1):
        account = User.objects.create(username=f"late-{number}").pk
        for campaign_id, offer in shop.offers.items():
            if offer.listed is not None:
                eligible_accounts.add(campaign_id=campaign_id, account_ids=[account])
            _request(campaign_id, account)
    left = Campaign.objects.order_by("pk").values_list("pk", "strategy", "quantity", "issued")
    codes = PoolCode.objects.filter(status=PoolCode.Status.IN_FLIGHT).count()
    found = [f"{codes} codes are in flight for ever"] if codes else []
    return found + [
        f"campaign {id} ({strategy}): {issued} of {quantity} are issued, and it issues no more"
        for id, strategy, quantity, issued in left
        if issued != quantity
    ]


def _request(campaign_id: int, account: int) -> None:
    """Have the account ask for its coupon; a refusal shows in the campaign's count."""
    try:
        outcome = issuing.issue(campaign_id=campaign_id, user_id=account)
    except FirstcomeError:
        return
    if isinstance(outcome, Queued):
        worker.serve_once()
