"""Personal data of coupons: how its rows belong to accounts, and what an erasure does to them."""

from accounts.personal_data.erasure import PARTS, Part, named
from accounts.personal_data.registry import FOR_GOOD, REGISTRY, Erasure, PersonalData
from coupons.models import Confirmation, QueueTicket

REGISTRY.update(
    {
        "coupons.Coupon": PersonalData("account", Erasure.KEPT, FOR_GOOD),
        "coupons.PoolCode": PersonalData("coupon__account", Erasure.KEPT, FOR_GOOD),
        "coupons.Confirmation": PersonalData("account", Erasure.OPEN, "until the partner has answered"),
        "coupons.EligibleAccount": PersonalData(
            "account", Erasure.DELETED, "until staff remove it from the list"
        ),
        "coupons.FirstOrderUse": PersonalData("account", Erasure.KEPT, FOR_GOOD),
        "coupons.QueueTicket": PersonalData("account", Erasure.KEPT, FOR_GOOD),
        "coupons.Campaign": "what the shop offers, to everyone",
        "coupons.CampaignProduct": "which products a campaign is for, to everyone",
    }
)


def _open_rows(account_id: int) -> list[str]:
    waiting = QueueTicket.objects.filter(account_id=account_id, status=QueueTicket.Status.WAITING)
    confirmations = Confirmation.objects.filter(account_id=account_id)
    return [*named("confirmation", confirmations), *named("queue ticket", waiting)]


PARTS.append(Part(_open_rows))
