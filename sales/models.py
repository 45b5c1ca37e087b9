"""Sales, the products that they sell, and the entries of accounts in their waiting rooms."""

from datetime import datetime, timedelta
from operator import attrgetter

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import CheckConstraint, F, Index, Q, TextChoices, UniqueConstraint
from django.utils.translation import gettext, gettext_lazy as _

from foundation.fields import Dated, ExactCharField, account_key, optional_instant, protected_key, uuid_key
from inventory.models import Product
from sales import sale_states
from sales.sale_states import EntryStatus, SaleState

_state = attrgetter(*SaleState._fields)


class Sale(Dated):
    """A window in which its products can be ordered, by all accounts or by those that it admitted.

    Entries made before it opened are drawn: `drawn_at` fixes which, they have positions once `is_ordered`.
    Entries up to `passed_position` wait no more; `last_position` is the last that was given. `version` counts
    changes of what orders depend on.
    """

    class Admission(TextChoices):
        OPEN = "open", _("open to all")
        QUEUE = "queue", _("waiting room")

    class Status(TextChoices):
        SCHEDULED = sale_states.Status.SCHEDULED, _("scheduled")
        OPEN = sale_states.Status.OPEN, _("open")
        PAUSED = sale_states.Status.PAUSED, _("paused")
        CLOSED = sale_states.Status.CLOSED, _("closed")

    name = models.CharField(_("name"), max_length=255)
    opens_at = models.DateTimeField(_("opens at"))
    closes_at = models.DateTimeField(_("closes at"))
    admission = models.CharField(_("admission"), max_length=8, choices=Admission, default=Admission.OPEN)
    rate_per_minute = models.PositiveIntegerField(_("let in per minute"), validators=[MinValueValidator(1)])
    admitted_for_seconds = models.PositiveIntegerField(
        _("admitted for seconds"), validators=[MinValueValidator(1)]
    )
    paused_at = optional_instant(_("paused at"), editable=False)
    # Secret until the draw: with the entries' ids it decides their order.
    seed = ExactCharField(_("seed"), max_length=64, editable=False)
    seed_hash = ExactCharField(_("seed hash"), max_length=64, editable=False)
    entries_hash = ExactCharField(_("entries hash"), max_length=64, blank=True, editable=False)
    # Those that take part in the draw; before it, those that would.
    drawn_count = models.PositiveBigIntegerField(_("entries drawn"), default=0, editable=False)
    drawn_at = optional_instant(_("drawn at"), editable=False)
    # A process orders the draw until then, or renews this.
    ordering_until = models.DateTimeField(_("ordering until"), null=True, editable=False)
    is_ordered = models.BooleanField(_("is ordered"), default=False, editable=False)
    last_position = models.PositiveBigIntegerField(_("last position"), default=0, editable=False)
    passed_position = models.PositiveBigIntegerField(_("passed position"), default=0, editable=False)
    products_in_words = Product.names_of
    last_admitted_at = optional_instant(_("last admitted at"), editable=False)
    # By the pace, on the clock of admissions.
    next_admission_at = models.DateTimeField(_("next admission at"), null=True, editable=False)
    # Admissions are counted by a clock that never goes back, as the database's may after a failover.
    admission_clock_ahead = models.DurationField(
        _("admission clock ahead"), default=timedelta(0), editable=False
    )
    ended_at = optional_instant(
        _("ended at"), editable=False, help_text=_("Since when nobody in it can order any more.")
    )
    version = models.PositiveBigIntegerField(_("version"), default=0, editable=False)

    class Meta:
        verbose_name = _("sale event")
        verbose_name_plural = _("sale events")
        constraints = [
            CheckConstraint(
                condition=Q(closes_at__gt=F("opens_at")),
                name="sales_sale_closes_after_opening",
                violation_error_message=_("The sale must close after it opens."),
            ),
            CheckConstraint(condition=Q(rate_per_minute__gte=1), name="sales_sale_rate_positive"),
            CheckConstraint(
                condition=Q(admitted_for_seconds__gte=1), name="sales_sale_admitted_for_positive"
            ),
            CheckConstraint(
                condition=Q(passed_position__lte=F("last_position")), name="sales_sale_passed_within_last"
            ),
            CheckConstraint(
                condition=Q(drawn_at__isnull=True, entries_hash="", is_ordered=False, last_position=0)
                | (Q(drawn_at__isnull=False) & ~Q(entries_hash="")),
                name="sales_sale_positions_after_the_draw",
            ),
        ]
        indexes = [
            Index(fields=["ended_at", "opens_at"], name="sales_sale_unended"),
            Index(fields=["paused_at"], name="sales_sale_paused"),
            # Those that are not over are few.
            Index(fields=["closes_at"], name="sales_sale_by_closing"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def state(self) -> SaleState:
        """What the rules read of the row."""
        return SaleState._make(_state(self))

    @property
    def is_queued(self) -> bool:
        """Whether an order needs an admitted entry."""
        return self.state.is_queued

    def status_at(self, now: datetime) -> sale_states.Status:
        """What the sale is at this instant."""
        return self.state.status_at(now)

    @classmethod
    def in_status(cls, status: str, now: datetime) -> Q:
        """The sales with this status then, as a condition on their rows: the twin of `status_at`."""
        if status == cls.Status.CLOSED:
            return Q(closes_at__lte=now)
        running = Q(closes_at__gt=now, paused_at__isnull=status != cls.Status.PAUSED)
        if status == cls.Status.PAUSED:
            return running
        return running & (Q(opens_at__lte=now) if status == cls.Status.OPEN else Q(opens_at__gt=now))


class SaleProduct(models.Model):
    """A product of a sale. `inventory.Product.sale` says which sale's terms hold for it now."""

    sale = protected_key(Sale, _("sale"), db_index=False, related_name="sale_products")
    product = models.ForeignKey(
        "inventory.Product", verbose_name=_("product"), on_delete=models.PROTECT, related_name="sale_products"
    )

    class Meta:
        verbose_name = _("product of a sale")
        verbose_name_plural = _("products of sales")
        constraints = [UniqueConstraint(fields=["sale", "product"], name="sales_saleproduct_once_per_sale")]


class SaleEntry(models.Model):
    """An account's place in the waiting room of a sale.

    `position` is null until the draw. `is_current` is true for the account's newest entry of the sale, and
    null for those that it replaced. `rate_per_minute` is the sale's when it was admitted. A used entry keeps
    its order, and holds the account's place until that has ended unpaid and the account joins again.
    """

    class Status(TextChoices):
        WAITING = EntryStatus.WAITING, _("waiting")
        ADMITTED = EntryStatus.ADMITTED, _("admitted")
        USED = EntryStatus.USED, _("used")
        EXPIRED = EntryStatus.EXPIRED, _("expired")
        OVER = EntryStatus.OVER, _("over")

    id = uuid_key()
    sale = protected_key(Sale, _("sale"), db_index=False, related_name="entries")
    account = account_key(_("account"), related_name="+")
    status = models.CharField(_("status"), max_length=8, choices=Status, default=Status.WAITING)
    position = models.PositiveBigIntegerField(_("position"), null=True, blank=True)
    is_current = models.BooleanField(_("is current"), null=True, default=True)
    # True or null. Processes of the release before leave null here, and true in entries that they replace.
    holds_place = models.BooleanField(_("holds the place"), null=True, editable=False)
    created_at = models.DateTimeField(_("created at"))
    admitted_at = optional_instant(_("admitted at"))
    admitted_until = optional_instant(_("admitted until"))
    rate_per_minute = models.PositiveIntegerField(_("let in per minute"), null=True, blank=True)
    # An order of products of two sales uses an entry of each.
    order = models.ForeignKey(
        "orders.Order",
        verbose_name=_("order"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        db_index=False,
        related_name="+",
    )

    class Meta:
        verbose_name = _("sale entry")
        verbose_name_plural = _("sale entries")
        constraints = [
            UniqueConstraint(
                fields=["sale", "account", "is_current"], name="sales_saleentry_one_current_per_account"
            ),
            UniqueConstraint(
                fields=["sale", "account", "holds_place"], name="sales_saleentry_one_place_per_account"
            ),
            UniqueConstraint(fields=["sale", "position"], name="sales_saleentry_position_once"),
            UniqueConstraint(fields=["order", "sale"], name="sales_saleentry_one_per_order_and_sale"),
            CheckConstraint(
                condition=Q(status__in=["admitted", "used", "expired"], admitted_at__isnull=False)
                | Q(status__in=["waiting", "over"]),
                name="sales_saleentry_only_admitted_ones_are_used_or_expire",
            ),
            CheckConstraint(
                condition=Q(
                    admitted_at__isnull=True, admitted_until__isnull=True, rate_per_minute__isnull=True
                )
                | Q(
                    admitted_at__isnull=False,
                    admitted_until__isnull=False,
                    rate_per_minute__isnull=False,
                    position__isnull=False,
                ),
                name="sales_saleentry_admission_is_whole",
            ),
            CheckConstraint(
                condition=Q(status="used", order__isnull=False) | (~Q(status="used") & Q(order__isnull=True)),
                name="sales_saleentry_used_by_an_order",
            ),
        ]
        indexes = [
            Index(fields=["sale", "status", "position"], name="sales_saleentry_queue"),
            Index(fields=["sale", "admitted_at"], name="sales_saleentry_admissions"),
        ]

    def __str__(self) -> str:
        return gettext("entry of %(at)s") % {"at": f"{self.created_at:%Y-%m-%d %H:%M:%S}"}

    def status_at(self, now: datetime) -> EntryStatus:
        """Its status by the clock, which may be ahead of what is recorded."""
        return self.sale.state.status_of_entry(self.status, self.admitted_until, now)
