"""Personal data of coupons: how its rows belong to accounts, and what an erasure does to them."""

from accounts.personal_data.erasure import PARTS, Part, named
from accounts.personal_data.registry import REGISTRY, Erasure, PersonalData, kept_for_good
from coupons.models import Confirmation, QueueTicket

REGISTRY.update(
    {
        "coupons.Coupon": kept_for_good("account"),
        "coupons.PoolCode": kept_for_good("coupon__account"),
        "coupons.Confirmation": PersonalData("account", Erasure.OPEN, "until the partner has answered"),
        "coupons.EligibleAccount": PersonalData(
            "account", Erasure.DELETED, "until staff remove it from the list"
        ),
        "coupons.FirstOrderUse": kept_for_good("account"),
        "coupons.QueueTicket": kept_for_good("account"),
        "coupons.Campaign": "what the shop offers, to everyone",
        "coupons.CampaignProduct": "which products a campaign is for, to everyone",
    }
)


def _open_rows(account_id: int) -> list[str]:
    waiting = QueueTicket.objects.filter(account_id=account_id, status=QueueTicket.Status.WAITING)
    confirmations = Confirmation.objects.filter(account_id=account_id)
    return [*named("confirmation", confirmations), *named("queue ticket", waiting)]


PARTS.append(Part(_open_rows))
