"""Campaigns, their pools of codes, the coupons they issue, confirmations, queue tickets and restrictions."""

from datetime import datetime
from typing import TYPE_CHECKING

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import CheckConstraint, F, Index, Q, TextChoices, UniqueConstraint
from django.utils.translation import gettext, gettext_lazy as _, pgettext_lazy

from coupons import eligibility, redemption
from coupons.eligibility import CampaignState
from coupons.redemption import Discount
from foundation.fields import (
    CreatedAtField,
    Dated,
    ExactCharField,
    account_key,
    optional_instant,
    protected_key,
    uuid_key,
)
from inventory.models import Product

if TYPE_CHECKING:
    from django.contrib.auth.models import User

LONGEST_CODE = 64
# A hundred years: enough for any campaign, and every date that results can be stored.
LONGEST_VALIDITY_DAYS = 36_500


class Campaign(Dated):
    """An offer of `quantity` coupons, first come, first served; without a quantity it is for everybody.

    `issued` counts the issued coupons, and is the last position; `confirming` counts the slots that its
    partner has not confirmed yet; `codes_added` counts the codes of its pool. `version` counts changes, for
    optimistic locks. With a `shared_code` orders of any account name that one code, and each gets a coupon of
    its own. If it `is_limited_to_products`, its discount counts over their lines alone.
    """

    class CodeSource(TextChoices):
        GENERATED = "generated", _("generated")
        POOL = "pool", _("pool")
        SHARED = "shared", pgettext_lazy("code source", "shared")

    class Eligible(TextChoices):
        ALL = "all", _("all accounts")
        LISTED = "listed", _("listed accounts")

    class DiscountType(TextChoices):
        AMOUNT = "amount", pgettext_lazy("discount", "amount")
        PERCENT = "percent", pgettext_lazy("discount", "percent")

    class Status(TextChoices):
        SCHEDULED = "scheduled", _("scheduled")
        AWAITING_CODES = "awaiting_codes", _("awaiting codes")
        OPEN = "open", _("open")
        SOLD_OUT = "sold_out", _("sold out")
        PAUSED = "paused", _("paused")
        CLOSED = "closed", _("closed")

    name = models.CharField(_("name"), max_length=255)
    strategy = models.CharField(_("strategy"), max_length=32, default="group_commit")
    quantity = models.PositiveBigIntegerField(
        _("quantity"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    issued = models.PositiveBigIntegerField(_("issued"), default=0, editable=False)
    confirming = models.PositiveBigIntegerField(_("confirming"), default=0, editable=False)
    version = models.PositiveBigIntegerField(_("version"), default=0, editable=False)
    opens_at = models.DateTimeField(_("opens at"))
    closes_at = optional_instant(_("closes at"))
    paused_at = optional_instant(_("paused at"), editable=False)
    code_source = models.CharField(
        _("code source"), max_length=16, choices=CodeSource, default=CodeSource.GENERATED
    )
    codes_added = models.PositiveBigIntegerField(_("codes added"), default=0, editable=False)
    shared_code = ExactCharField(_("shared code"), max_length=LONGEST_CODE, null=True, blank=True)
    eligible = models.CharField(_("who may get it"), max_length=16, choices=Eligible, default=Eligible.ALL)
    first_order_only = models.BooleanField(_("first order only"), default=False)
    is_limited_to_products = models.BooleanField(_("is limited to products"), default=False, editable=False)
    partner = models.CharField(_("partner"), max_length=64, blank=True)
    discount_type = models.CharField(_("discount type"), max_length=16, choices=DiscountType)
    discount_value = models.PositiveBigIntegerField(_("discount value"))
    min_order_amount = models.PositiveBigIntegerField(_("min order amount"), default=0)
    max_discount_amount = models.PositiveBigIntegerField(_("max discount amount"), null=True, blank=True)
    coupon_valid_for_days = models.PositiveIntegerField(
        _("coupon valid for days"),
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_VALIDITY_DAYS)],
    )

    class Meta:
        verbose_name = _("campaign")
        verbose_name_plural = _("campaigns")
        constraints = [
            CheckConstraint(
                condition=Q(quantity__gte=F("issued") + F("confirming")),
                name="coupons_campaign_issued_within_quantity",
                violation_error_message=_("The quantity can't be below what is issued."),
            ),
            CheckConstraint(
                condition=Q(quantity__gte=1),
                name="coupons_campaign_quantity_positive",
                violation_error_message=_("The quantity must be 1 or more."),
            ),
            CheckConstraint(
                condition=Q(closes_at__isnull=True) | Q(closes_at__gt=F("opens_at")),
                name="coupons_campaign_closes_after_it_opens",
                violation_error_message=_("The campaign must close after it opens."),
            ),
            CheckConstraint(
                condition=Q(discount_type="amount", discount_value__gte=1)
                | Q(discount_type="percent", discount_value__gte=1, discount_value__lte=100),
                name="coupons_campaign_discount_makes_sense",
                violation_error_message=_("A discount must be 1 or more, a percentage at most 100."),
            ),
            UniqueConstraint(
                fields=["shared_code"],
                name="coupons_campaign_shared_code_is_unique",
                violation_error_message=_("Another campaign has this shared code."),
            ),
            CheckConstraint(
                condition=~Q(code_source="shared") | Q(shared_code__isnull=False),
                name="coupons_campaign_shared_one_has_its_code",
                violation_error_message=_("A campaign with a shared code needs that code."),
            ),
        ]
        # Those that are not closed are few.
        indexes = [Index(fields=["closes_at"], name="coupons_campaign_by_closing")]

    def __str__(self) -> str:
        return self.name

    @property
    def capacity(self) -> int | None:
        """How many coupons it can ever issue, None for everybody: with a pool, as it has codes for."""
        has_pool = self.code_source == self.CodeSource.POOL
        return eligibility.capacity(self.quantity, self.codes_added if has_pool else None)

    @property
    def remaining(self) -> int | None:
        """How many coupons are left to issue, None for everybody."""
        return eligibility.remaining(self.capacity, self.issued + self.confirming)

    def has_left(self, number: int) -> bool:
        """Whether so many coupons are left to issue."""
        return eligibility.has_left(self.capacity, self.issued + self.confirming, number)

    @property
    def state(self) -> CampaignState:
        """What the rules of issuing need to know of it."""
        taken = self.issued + self.confirming
        return CampaignState(self.name, self.opens_at, self.closes_at, self.paused_at, self.capacity, taken)

    products_in_words = Product.names_of

    @property
    def discount(self) -> Discount:
        """What its coupons take off."""
        is_percent = self.discount_type == self.DiscountType.PERCENT
        return Discount(self.discount_value, is_percent, self.min_order_amount, self.max_discount_amount)

    @property
    def product_ids(self) -> list[int]:
        """The products whose lines its discount counts over, in order; none: over all lines."""
        if self.pk is None or not self.is_limited_to_products:
            return []
        return sorted(row.product_id for row in self.discounted_products.all())

    @staticmethod
    def not_closed_at(instant: datetime) -> Q:
        """The campaigns that are not closed then, as a condition on their rows."""
        return Q(closes_at__isnull=True) | Q(closes_at__gt=instant)

    def status_at(self, now: datetime) -> Status:
        """Whether it issues coupons at that instant, and if not, why."""
        return self.Status(eligibility.status_at(self.state, now))


def _campaign_key(related_name: str) -> "models.ForeignKey[Campaign, Campaign]":
    """The campaign of a row, without an index of its own: another one begins with it."""
    return protected_key(Campaign, _("campaign"), db_index=False, related_name=related_name)


def _account_key(related_name: str = "+") -> "models.ForeignKey[User, User]":
    """The account of a row, without an index of its own: another one begins with it."""
    return account_key(_("account"), db_index=False, related_name=related_name)


class Coupon(models.Model):
    """One account's coupon of a campaign; "expired" is a condition on `expires_at`, not a status."""

    class Status(TextChoices):
        ISSUED = "issued", _("issued")
        HELD = "held", _("held")
        REDEEMED = "redeemed", _("redeemed")
        VOID = "void", _("void")

    # The unique keys begin with one of the foreign keys each: more indexes would only slow issuing down.
    campaign = _campaign_key("coupons")
    account = _account_key("coupons")
    code = ExactCharField(_("code"), max_length=LONGEST_CODE)
    position = models.PositiveBigIntegerField(_("position"), null=True, blank=True)
    status = models.CharField(_("status"), max_length=16, choices=Status, default=Status.ISSUED)
    order = models.ForeignKey(
        "orders.Order",
        verbose_name=_("order"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        db_index=False,
        related_name="coupons",
    )
    issued_at = models.DateTimeField(_("issued at"))
    expires_at = models.DateTimeField(_("expires at"))
    void_reason = models.CharField(_("void reason"), max_length=255, blank=True)

    class Meta:
        verbose_name = _("coupon")
        verbose_name_plural = _("coupons")
        constraints = [
            UniqueConstraint(fields=["code"], name="coupons_coupon_code_is_unique"),
            UniqueConstraint(
                fields=["account", "campaign"], name="coupons_coupon_one_per_account_and_campaign"
            ),
            UniqueConstraint(
                fields=["campaign", "position"], name="coupons_coupon_one_per_position_of_campaign"
            ),
            UniqueConstraint(fields=["order"], name="coupons_coupon_one_per_order"),
            CheckConstraint(
                condition=Q(status__in=["held", "redeemed"], order__isnull=False)
                | Q(status__in=["issued", "void"], order__isnull=True),
                name="coupons_coupon_order_says_who_holds_it",
            ),
        ]
        # For the lists of staff, which are in the order of the ids.
        indexes = [
            Index(fields=["campaign", "status", "id"], name="coupons_coupon_of_campaign"),
            Index(fields=["status", "id"], name="coupons_coupon_by_status"),
        ]

    def __str__(self) -> str:
        return self.code

    def status_at(self, now: datetime) -> str:
        """Its status as the customer sees it: an issued one past its time is `expired`."""
        return redemption.status_at(str(self.status), self.expires_at, now)


class PoolCode(models.Model):
    """A code of a campaign's pool: in flight while a partner confirms it, then with its coupon."""

    class Status(TextChoices):
        AVAILABLE = "available", pgettext_lazy("code", "available")
        IN_FLIGHT = "in_flight", _("in flight")
        ISSUED = "issued", _("issued")
        VOID = "void", _("void")

    campaign = _campaign_key("pool")
    code = ExactCharField(_("code"), max_length=LONGEST_CODE)
    status = models.CharField(_("status"), max_length=16, choices=Status, default=Status.AVAILABLE)
    coupon = models.OneToOneField(
        Coupon,
        verbose_name=_("coupon"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="pool_code",
    )
    added_at = models.DateTimeField(_("added at"))

    class Meta:
        verbose_name = _("uploaded code")
        verbose_name_plural = _("uploaded codes")
        constraints = [
            UniqueConstraint(fields=["code"], name="coupons_poolcode_code_is_unique"),
            CheckConstraint(
                condition=Q(status__in=["available", "in_flight"], coupon__isnull=True)
                | Q(status__in=["issued", "void"], coupon__isnull=False),
                name="coupons_poolcode_only_available_ones_have_no_coupon",
            ),
        ]
        indexes = [Index(fields=["campaign", "status", "id"], name="coupons_poolcode_available")]

    def __str__(self) -> str:
        return self.code


class Confirmation(models.Model):
    """A slot that is taken, with its code, but not confirmed by the campaign's partner: not a coupon yet.

    All calls to the partner use its `key`. It becomes a coupon or is released; once it `is_cancelled` it can
    only be released, so that the key may be cancelled at the partner.
    """

    key = uuid_key(_("key"))
    campaign = _campaign_key("confirmations")
    account = _account_key()
    code = ExactCharField(_("code"), max_length=LONGEST_CODE)
    taken_at = models.DateTimeField(_("taken at"))
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    next_attempt_at = models.DateTimeField(_("next attempt at"), db_index=True)
    is_cancelled = models.BooleanField(_("is cancelled"), default=False)

    class Meta:
        verbose_name = _("confirmation")
        verbose_name_plural = _("confirmations")
        constraints = [
            UniqueConstraint(
                fields=["account", "campaign"], name="coupons_confirmation_one_per_account_and_campaign"
            ),
            UniqueConstraint(fields=["code"], name="coupons_confirmation_code_is_unique"),
        ]
        indexes = [Index(fields=["campaign"], name="coupons_confirmation_campaign")]

    def __str__(self) -> str:
        return self.code


class QueueTicket(models.Model):
    """An account's position in the queue of a campaign with that strategy; `number` is its order."""

    class Status(TextChoices):
        WAITING = "waiting", _("waiting")
        ISSUED = "issued", _("issued")
        SOLD_OUT = "sold_out", _("sold out")
        FAILED = "failed", _("failed")

    id = uuid_key()
    campaign = _campaign_key("tickets")
    account = _account_key()
    number = models.PositiveBigIntegerField(_("number"))
    status = models.CharField(_("status"), max_length=16, choices=Status, default=Status.WAITING)
    # Not one to one: when a ticket is lost in Redis and drawn again, both have the same coupon.
    coupon = models.ForeignKey(
        Coupon,
        verbose_name=_("coupon"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="tickets",
    )
    traceparent = models.CharField(_("traceparent"), max_length=55, blank=True, default="")
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        verbose_name = _("queue ticket")
        verbose_name_plural = _("queue tickets")
        constraints = [
            CheckConstraint(
                condition=Q(status="issued", coupon__isnull=False)
                | Q(status__in=["waiting", "sold_out", "failed"], coupon__isnull=True),
                name="coupons_queueticket_only_issued_ones_have_a_coupon",
            )
        ]
        indexes = [
            Index(fields=["campaign", "status", "number"], name="coupons_queueticket_line"),
            Index(fields=["account", "campaign"], name="coupons_queueticket_account"),
        ]

    def __str__(self) -> str:
        return gettext("ticket %(number)s") % {"number": f"{self.number:,}"}


class CampaignProduct(models.Model):
    """A product that a campaign's discount counts over; a campaign without any counts over all lines."""

    campaign = _campaign_key("discounted_products")
    product = models.ForeignKey(
        "inventory.Product", verbose_name=_("product"), on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        verbose_name = _("product of a campaign")
        verbose_name_plural = _("products of campaigns")
        default_permissions = ()
        constraints = [
            UniqueConstraint(fields=["campaign", "product"], name="coupons_campaignproduct_once_per_campaign")
        ]


class EligibleAccount(models.Model):
    """An account that may get a coupon of a campaign whose accounts are listed.

    Rows are added and removed only while the campaign's row is locked, and its version then changes.
    """

    campaign = _campaign_key("eligible_accounts")
    account = account_key(_("account"), related_name="+")
    added_at = CreatedAtField(verbose_name=_("added at"))

    class Meta:
        verbose_name = _("eligible account")
        verbose_name_plural = _("eligible accounts")
        # One right, to change a list: the rows have no pages of their own.
        default_permissions = ("add",)
        constraints = [
            UniqueConstraint(fields=["campaign", "account"], name="coupons_eligibleaccount_once_per_campaign")
        ]


class FirstOrderUse(models.Model):
    """The order in which an account uses a coupon of a campaign for first orders.

    The unique key of the account decides between concurrent first orders. The row of an order that ended
    unpaid or was refunded stays until another order takes its place.
    """

    account = _account_key()
    order = models.ForeignKey(
        "orders.Order", verbose_name=_("order"), on_delete=models.PROTECT, db_index=False, related_name="+"
    )

    class Meta:
        verbose_name = _("first order with a coupon")
        verbose_name_plural = _("first orders with a coupon")
        default_permissions = ()
        constraints = [
            UniqueConstraint(fields=["account"], name="coupons_firstorderuse_one_per_account"),
            UniqueConstraint(fields=["order"], name="coupons_firstorderuse_one_per_order"),
        ]
