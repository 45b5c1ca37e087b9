"""Models of what restricts a campaign: the products that its discount counts over, its listed accounts, and
the first orders that used a coupon. `coupons.models` has them, beside the campaign itself.
"""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from shop.fields import CreatedAtField


class CampaignProduct(models.Model):
    """A product that a campaign's discount counts over; a campaign without any counts over all lines."""

    campaign = models.ForeignKey(
        "coupons.Campaign",
        verbose_name=_("campaign"),
        on_delete=models.PROTECT,
        db_index=False,
        related_name="discounted_products",
    )
    product = models.ForeignKey(
        "inventory.Product", verbose_name=_("product"), on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        verbose_name = _("product of a campaign")
        verbose_name_plural = _("products of campaigns")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["campaign", "product"], name="coupons_campaignproduct_once_per_campaign"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id}: {self.product_id}"


class EligibleAccount(models.Model):
    """An account that may get a coupon of a campaign whose accounts are listed.

    Rows are added and removed only while the campaign's row is locked, and its version then changes: so each
    strategy decides by the list as it is when the coupon is written.
    """

    campaign = models.ForeignKey(
        "coupons.Campaign",
        verbose_name=_("campaign"),
        on_delete=models.PROTECT,
        db_index=False,
        related_name="eligible_accounts",
    )
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("account"), on_delete=models.PROTECT, related_name="+"
    )
    added_at = CreatedAtField(verbose_name=_("added at"))

    class Meta:
        verbose_name = _("eligible account")
        verbose_name_plural = _("eligible accounts")
        # One right, to change a list: the rows have no pages of their own.
        default_permissions = ("add",)
        constraints = [
            models.UniqueConstraint(
                fields=["campaign", "account"], name="coupons_eligibleaccount_once_per_campaign"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id}: {self.account_id}"


class FirstOrderUse(models.Model):
    """The order in which an account uses a coupon of a campaign for first orders.

    The unique key of the account decides between concurrent first orders. The row of an order that ended
    unpaid or was refunded stays until another order takes its place.
    """

    account = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("account"),
        on_delete=models.PROTECT,
        db_index=False,
        related_name="+",
    )
    order = models.ForeignKey(
        "orders.Order", verbose_name=_("order"), on_delete=models.PROTECT, db_index=False, related_name="+"
    )

    class Meta:
        verbose_name = _("first order with a coupon")
        verbose_name_plural = _("first orders with a coupon")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["account"], name="coupons_firstorderuse_one_per_account"),
            models.UniqueConstraint(fields=["order"], name="coupons_firstorderuse_one_per_order"),
        ]

    def __str__(self) -> str:
        return f"{self.account_id}: {self.order_id}"
