"""Products with their stock, deliveries and stock movements."""

from collections.abc import Collection

from django.conf import settings
from django.db import models
from django.db.models import CheckConstraint, F, Index, Q, TextChoices, UniqueConstraint
from django.utils.translation import gettext, gettext_lazy as _, pgettext_lazy

from foundation.fields import CreatedAtField, Dated, ExactCharField, optional_instant, protected_key
from foundation.lazy_texts import Text


class Product(Dated):
    """Something that is sold, with its stock.

    `on_hand` is what the warehouse has, `reserved` what open orders hold of it; available is the difference.
    """

    sku = ExactCharField(_("SKU"), max_length=64)
    name = models.CharField(_("name"), max_length=255)
    price = models.BigIntegerField(_("price"))
    on_hand = models.BigIntegerField(_("on hand"), default=0)
    reserved = models.BigIntegerField(_("reserved"), default=0)
    is_active = models.BooleanField(_("on sale"), default=True)
    paused_at = optional_instant(_("paused at"), editable=False)
    # Neither index nor foreign key: every order locks this row, and the sale finds its products by its own.
    sale = models.ForeignKey(
        "sales.Sale",
        verbose_name=_("sale"),
        null=True,
        blank=True,
        editable=False,
        on_delete=models.PROTECT,
        db_index=False,
        db_constraint=False,
        related_name="+",
        help_text=_("Whose terms hold for its orders; empty: none."),
    )
    low_stock_threshold = models.PositiveIntegerField(_("low stock threshold"), null=True, blank=True)
    limit_per_account = models.PositiveIntegerField(_("limit per account"), null=True, blank=True)
    version = models.PositiveBigIntegerField(
        _("version"), default=0, help_text=_("Counts changes of the stock.")
    )

    class Meta:
        verbose_name = _("product")
        verbose_name_plural = _("products")
        constraints = [
            UniqueConstraint(fields=["sku"], name="inventory_product_sku_is_unique"),
            CheckConstraint(condition=Q(price__gte=0), name="inventory_product_price_not_negative"),
            CheckConstraint(
                condition=Q(limit_per_account__isnull=True) | Q(limit_per_account__gte=1),
                name="inventory_product_limit_per_account_positive",
            ),
            CheckConstraint(
                condition=Q(reserved__gte=0, reserved__lte=F("on_hand")),
                name="inventory_product_reserved_within_on_hand",
            ),
        ]
        indexes = [
            # For the operators' home page. The stock is in no index: each order would change it.
            Index(fields=["low_stock_threshold"], name="inventory_product_by_threshold"),
            Index(fields=["paused_at"], name="inventory_product_paused"),
        ]

    def __str__(self) -> str:
        return f"{self.sku} {self.name}"

    @classmethod
    def names_of(cls, ids: Collection[int]) -> str:
        """What histories show of a campaign's or sale's products."""
        return ", ".join(map(str, cls.objects.filter(pk__in=ids)))

    @property
    def available(self) -> int:
        """How many units a new order may reserve."""
        return self.on_hand - self.reserved


class Delivery(models.Model):
    """Rows of stock that are imported together, under an id that exists before the first row is written;
    `rows_done` counts those that are, in the order of their skus.
    """

    id = models.UUIDField(_("id"), primary_key=True)
    fingerprint = ExactCharField(
        _("fingerprint"), max_length=64, help_text=_("Hash of its rows: the id is valid for these only.")
    )
    reason = models.CharField(_("reason"), max_length=255, blank=True)
    rows_total = models.PositiveIntegerField(_("rows total"))
    rows_done = models.PositiveIntegerField(_("rows done"), default=0)
    created = models.PositiveIntegerField(_("created"), default=0, help_text=_("Products that were new."))
    changed = models.PositiveIntegerField(
        _("changed"), default=0, help_text=_("Products whose name or price changed.")
    )
    received = models.PositiveBigIntegerField(_("received"), default=0, help_text=_("Units received."))
    archived = models.PositiveBigIntegerField(
        _("archived"),
        default=0,
        editable=False,
        help_text=_("Of the units received, those whose movements are archived."),
    )
    started_at = CreatedAtField(verbose_name=_("started at"))
    finished_at = optional_instant(_("finished at"))

    class Meta:
        verbose_name = pgettext_lazy("stock", "delivery")
        verbose_name_plural = pgettext_lazy("stock", "deliveries")
        constraints = [
            CheckConstraint(
                condition=Q(finished_at__isnull=True, rows_done__lt=F("rows_total"))
                | Q(finished_at__isnull=False, rows_done=F("rows_total")),
                name="inventory_delivery_finished_when_all_rows_are_done",
            )
        ]

    def __str__(self) -> str:
        return self.reason or f"{self.started_at:%Y-%m-%d %H:%M}"


class StockMovement(models.Model):
    """One change of what is on hand. Rows are appended and never changed."""

    class Kind(TextChoices):
        RECEIVED = "received", _("received")
        ADJUSTED = "adjusted", _("adjusted")
        SOLD = "sold", _("sold")
        RETURNED = "returned", _("returned")

    product = protected_key(Product, _("product"), related_name="movements")
    kind = models.CharField(_("kind"), max_length=16, choices=Kind)
    delta = models.BigIntegerField(_("change"))
    on_hand_after = models.BigIntegerField(_("on hand after"))
    order = models.ForeignKey(
        "orders.Order",
        verbose_name=_("order"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="stock_movements",
    )
    # Neither index nor foreign key: most movements are sales, which would pay for both.
    delivery = models.ForeignKey(
        Delivery,
        verbose_name=pgettext_lazy("stock", "delivery"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        db_index=False,
        db_constraint=False,
        related_name="movements",
    )
    reason = models.CharField(_("reason"), max_length=255, blank=True)
    at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("stock movement")
        verbose_name_plural = _("stock movements")
        constraints = [
            CheckConstraint(
                condition=Q(on_hand_after__gte=0), name="inventory_stockmovement_on_hand_not_negative"
            ),
            CheckConstraint(condition=~Q(delta=0), name="inventory_stockmovement_moves_something"),
        ]

    def __str__(self) -> str:
        return gettext("%(kind)s %(delta)s of product %(product)s") % {
            "kind": self.get_kind_display(),
            "delta": f"{self.delta:+d}",
            "product": self.product_id,
        }


def _number(name: Text) -> "models.BigIntegerField[int, int]":
    return models.BigIntegerField(name, default=0, db_default=0)


class ProductDay(models.Model):
    """What was sold, refunded and lost of a product on a day of the shop's time zone.

    Units and amounts are of payments and refunds of that day; what a refund that fails takes back is
    subtracted on the day on which it fails, so a number may be negative. `rebuild_product_days` computes it
    again from orders and refunds. What was lost counts accounts by the first reason, and once each
    (`LostDemand`); it can't be computed again.
    """

    pk = models.CompositePrimaryKey("day", "product_id")
    day = models.DateField(_("day"))
    # No foreign key in the database: its check would lock the product, for which orders wait.
    product = protected_key(Product, _("product"), db_constraint=False, related_name="days")
    units_sold = _number(_("units sold"))
    sold_amount = _number(_("sold amount"))
    units_refunded = _number(_("units refunded"))
    refunded_amount = _number(_("refunded amount"))

    lost_units = _number(_("lost units"))
    lost_amount = _number(_("lost amount"))
    lost_sold_out = _number(_("lost as sold out"))
    lost_over_limit = _number(_("lost as over a limit"))
    lost_expired = _number(_("lost as expired"))
    lost_declined = _number(_("lost as declined"))
    lost_given_up = _number(_("lost as given up"))

    class Meta:
        verbose_name = _("product's day")
        verbose_name_plural = _("products' days")


class LostDemand(models.Model):
    """That an account asked for a product on a day and did not get it: counted in `ProductDay`, and kept for
    two days so that it counts once.
    """

    class Reason(TextChoices):
        SOLD_OUT = "sold_out", _("sold out")
        OVER_LIMIT = "over_limit", _("over a limit")
        EXPIRED = "expired", _("expired")
        DECLINED = "declined", _("declined")
        GIVEN_UP = "given_up", _("given up")

    day = models.DateField(_("day"))
    # Nothing is checked by these keys: what a crowd is refused must lock neither products nor accounts.
    product = protected_key(Product, _("product"), db_constraint=False, db_index=False, related_name="+")
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("account"),
        on_delete=models.CASCADE,
        db_constraint=False,
        related_name="+",
    )
    reason = models.CharField(_("reason"), max_length=12, choices=Reason)
    units = models.BigIntegerField(_("units"))
    amount = models.BigIntegerField(_("amount"))

    class Meta:
        verbose_name = _("lost demand")
        verbose_name_plural = _("lost demand")
        constraints = [
            UniqueConstraint(
                fields=["day", "product", "account"], name="inventory_lostdemand_once_an_account_and_day"
            )
        ]


class CarriedStock(models.Model):
    """The sum of a product's movements that release 2.0 archived: L5 adds it to those that are here.

    No row is written any more.
    """

    # No foreign key in the database: its check would lock the product, for which orders wait.
    product = models.OneToOneField(
        Product,
        verbose_name=_("product"),
        on_delete=models.PROTECT,
        primary_key=True,
        db_constraint=False,
        related_name="carried",
    )
    delta = models.BigIntegerField(_("change"), default=0)

    class Meta:
        verbose_name = _("carried stock")
        verbose_name_plural = _("carried stock")
