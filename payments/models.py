"""Payments, webhook events, reconciliations, and the double-entry ledger with its wallets."""

from django.conf import settings
from django.db import models
from django.db.models import Case, CheckConstraint, F, Index, Q, TextChoices, UniqueConstraint, When
from django.utils.translation import gettext, gettext_lazy as _, ngettext

from foundation import clock
from foundation.fields import ExactCharField, account_key, optional_instant, protected_key, uuid_key
from foundation.money import format_amount
from payments import gateways, transitions
from payments.gateways.contract import Books, ExpectedCharge
from payments.transfers import GATEWAY_CLEARING, HOLDING, PROMOTIONS, SALES

REQUIRES_ACTION = "requires_action"
"""What the API shows of a pending payment whose card's owner must act."""


class LedgerAccount(models.Model):
    """One account of the ledger. A wallet belongs to a user and caches its balance.

    A wallet has its owner's id, the shop's own accounts fixed ids below zero: no query looks an account up,
    and locking wallets by id is locking them by user. The shop's own accounts cache no balance: they take
    part in every transfer, and each would wait for the one before.
    """

    class Kind(TextChoices):
        WALLET = "wallet", _("wallet")
        HOLDING = "holding", _("holding")
        SALES = "sales", _("sales")
        GATEWAY_CLEARING = "gateway_clearing", _("gateway clearing")
        PROMOTIONS = "promotions", _("promotions")

    id = models.BigIntegerField(_("id"), primary_key=True)
    kind = models.CharField(_("kind"), max_length=24, choices=Kind)
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="wallet",
    )
    balance_amount = models.BigIntegerField(_("balance amount"), default=0)

    class Meta:
        verbose_name = _("ledger account")
        verbose_name_plural = _("ledger accounts")
        constraints = [
            CheckConstraint(
                condition=Q(balance_amount__gte=0), name="payments_ledgeraccount_balance_not_negative"
            ),
            CheckConstraint(
                condition=Q(kind="wallet", user__isnull=False, user=F("id"))
                | Q(user__isnull=True, balance_amount=0)
                & (
                    Q(kind="holding", id=HOLDING)
                    | Q(kind="sales", id=SALES)
                    | Q(kind="gateway_clearing", id=GATEWAY_CLEARING)
                    | Q(kind="promotions", id=PROMOTIONS)
                ),
                name="payments_ledgeraccount_only_wallets_have_owner_and_balance",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.user_id or ''}".strip()


SHOP_ACCOUNTS = {
    HOLDING: LedgerAccount.Kind.HOLDING,
    SALES: LedgerAccount.Kind.SALES,
    GATEWAY_CLEARING: LedgerAccount.Kind.GATEWAY_CLEARING,
    PROMOTIONS: LedgerAccount.Kind.PROMOTIONS,
}


class GrantsOfDay(models.Model):
    """An operator's grants of points in a day of the shop: within the limit, and above with an approval."""

    operator_id = models.BigIntegerField(_("operator id"))
    day = models.DateField(_("day"), db_index=True)
    amount = models.BigIntegerField(_("amount"), default=0)
    approved_amount = models.BigIntegerField(_("approved amount"), default=0)

    class Meta:
        verbose_name = _("grants of a day")
        verbose_name_plural = _("grants of days")
        constraints = [
            UniqueConstraint(
                fields=["operator_id", "day"], name="payments_grantsofday_one_per_operator_and_day"
            )
        ]

    def __str__(self) -> str:
        return f"{self.operator_id} {self.day}"


class Transfer(models.Model):
    """A movement of money whose entries sum to zero: appended, never changed."""

    class Kind(TextChoices):
        HOLD = "hold", _("points held for an order")
        RELEASE = "release", _("held points released")
        SALE = "sale", _("an order settled")
        REFUND = "refund", _("an order refunded")
        TOP_UP = "top_up", _("points bought by card")
        GRANT = "grant", _("points granted by staff")
        FORFEIT = "forfeit", _("points forfeited by an erased account")
        LOSS = "loss", _("lost in a dispute")

    id = uuid_key()
    kind = models.CharField(_("kind"), max_length=16, choices=Kind)
    # The id of the order, payment or refund, or another reference, so that no transfer happens twice.
    reference = ExactCharField(_("reference"), max_length=96)
    order = models.ForeignKey(
        "orders.Order",
        verbose_name=_("order"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="transfers",
    )
    reason = models.CharField(_("reason"), max_length=255, blank=True)
    at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("transfer")
        verbose_name_plural = _("transfers")
        constraints = [
            UniqueConstraint(
                fields=["kind", "reference"], name="payments_transfer_once_per_kind_and_reference"
            )
        ]
        # For reports by period: the ids are of each host's clock, the instants of the database's.
        indexes = [Index(fields=["at"], name="payments_transfer_by_instant")]

    def __str__(self) -> str:
        return str(self.get_kind_display())


class Entry(models.Model):
    """One account's part of a transfer; `balance_after_amount` is known for wallets."""

    transfer = protected_key(Transfer, _("transfer"), db_index=False, related_name="entries")
    account = protected_key(LedgerAccount, _("account"), related_name="entries")
    amount = models.BigIntegerField(_("amount"), help_text=_("Signed: positive is credited."))
    balance_after_amount = models.BigIntegerField(_("balance after amount"), null=True, blank=True)

    class Meta:
        verbose_name = _("entry")
        verbose_name_plural = _("entries")
        constraints = [
            UniqueConstraint(
                fields=["transfer", "account"], name="payments_entry_one_per_transfer_and_account"
            ),
            CheckConstraint(condition=~Q(amount=0), name="payments_entry_moves_something"),
            CheckConstraint(
                condition=Q(balance_after_amount__isnull=True) | Q(balance_after_amount__gte=0),
                name="payments_entry_balance_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount:+d}"


class Payment(models.Model):
    """A payment of an order, or of a top-up of the wallet (then `order` is null).

    An order has one payment that is not failed at most: with `keep_on_decline` a declined one leaves the
    order to be paid by another, its `number` 2 and so on. `charge_key` is the idempotency key of the charge
    and never changes; the card's token is deleted when it settles. While the card's owner must act it is
    `pending` with an `action_url`, and shows as `requires_action` until `action_expires_at`.
    """

    class Status(TextChoices):
        PENDING = transitions.Status.PENDING, _("pending")
        IN_DOUBT = transitions.Status.IN_DOUBT, _("in doubt")
        SUCCEEDED = transitions.Status.SUCCEEDED, _("succeeded")
        FAILED = transitions.Status.FAILED, _("failed")
        REVERSED = transitions.Status.REVERSED, _("reversed")

    id = uuid_key()
    account = account_key(_("account"), db_index=False, related_name="payments")
    order = models.ForeignKey(
        "orders.Order",
        verbose_name=_("order"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="payments",
    )
    status = models.CharField(_("status"), max_length=16, choices=Status, default=Status.PENDING)
    points_amount = models.PositiveBigIntegerField(_("points amount"), default=0)
    card_amount = models.PositiveBigIntegerField(_("card amount"), default=0)
    refunding_amount = models.PositiveBigIntegerField(
        _("refunding amount"), default=0, help_text=_("Of the card's amount: the refund is under way.")
    )
    refunded_amount = models.PositiveBigIntegerField(
        _("refunded amount"), default=0, help_text=_("Of the card's amount: refunded.")
    )
    currency = models.CharField(_("currency"), max_length=3)
    token = models.CharField(_("token"), max_length=255, blank=True)
    gateway = models.CharField(
        _("gateway"),
        max_length=16,
        blank=True,
        default="",
        db_default="",
        help_text=_("The one that takes the card, by its name."),
    )
    gateway_account = models.CharField(
        _("gateway account"),
        max_length=64,
        blank=True,
        default="",
        db_default="",
        help_text=_("Whose books at that gateway the charge is in."),
    )
    charge_key = ExactCharField(_("charge key"), max_length=96)
    charge_reference = models.CharField(
        _("charge reference"), max_length=96, blank=True, help_text=_("The gateway's id of the charge.")
    )
    failure_code = models.CharField(_("failure code"), max_length=64, blank=True)
    failure_detail = models.CharField(_("failure detail"), max_length=255, blank=True)
    created_at = models.DateTimeField(_("created at"))
    settled_at = optional_instant(_("settled at"))
    number = models.PositiveSmallIntegerField(
        _("number"), default=1, help_text=_("Of the order's payments, from 1 on.")
    )
    keep_on_decline = models.BooleanField(
        _("keep on decline"),
        default=False,
        help_text=_("A refused card leaves the order to be paid with another one."),
    )
    action_url = models.CharField(
        _("action URL"),
        max_length=2000,
        blank=True,
        default="",
        help_text=_("The page on which the card's owner confirms the charge."),
    )
    action_expires_at = optional_instant(
        _("action expires at"), help_text=_("When the charge is cancelled unless it is confirmed.")
    )
    api_key_id = models.BigIntegerField(
        _("API key id"), null=True, blank=True, help_text=_("The API key that started it, if one did.")
    )
    declined_at = optional_instant(
        _("declined at"), help_text=_("When the gateway refused the card, if it did.")
    )
    # The order, while the payment is not failed: a unique index on it works on every database.
    unfailed_order_id = models.GeneratedField(
        expression=Case(When(status="failed", then=None), default=F("order")),
        output_field=models.UUIDField(null=True),
        db_persist=False,
        verbose_name=_("order, unless failed"),
    )

    class Meta:
        verbose_name = _("payment")
        verbose_name_plural = _("payments")
        constraints = [
            UniqueConstraint(fields=["charge_key"], name="payments_payment_one_charge_key"),
            UniqueConstraint(fields=["unfailed_order_id"], name="payments_payment_one_not_failed_per_order"),
            CheckConstraint(
                condition=Q(order__isnull=False) | Q(points_amount=0, card_amount__gte=1),
                name="payments_payment_topup_is_by_card",
            ),
            CheckConstraint(
                condition=Q(status__in=["pending", "in_doubt"], settled_at__isnull=True)
                | Q(status__in=["succeeded", "failed", "reversed"], settled_at__isnull=False, token=""),
                name="payments_payment_settled_has_time_and_no_token",
            ),
            CheckConstraint(
                condition=~Q(status="succeeded") | Q(card_amount=0) | ~Q(charge_reference=""),
                name="payments_payment_success_names_its_charge",
            ),
            CheckConstraint(
                condition=Q(card_amount__gte=F("refunding_amount") + F("refunded_amount")),
                name="payments_payment_refunds_within_charge",
            ),
        ]
        indexes = [
            Index(fields=["account", "id"], name="payments_payment_of_account"),
            Index(fields=["created_at"], name="payments_payment_by_beginning"),
            Index(fields=["status", "id"], name="payments_payment_by_status"),
            # For which there are: one look each.
            Index(fields=["gateway", "gateway_account"], name="payments_payment_by_gateway"),
            # For the limit of declined payments that a key started.
            Index(fields=["api_key_id", "status", "declined_at"], name="payments_payment_of_api_key"),
        ]

    def __str__(self) -> str:
        amount = format_amount(self.points_amount + self.card_amount, self.currency)
        if self.order is None:
            return gettext("payment of %(amount)s") % {"amount": amount}
        return gettext("payment of %(amount)s, order %(number)s") % {"amount": amount, "number": self.order}

    @property
    def books(self) -> Books:
        """Those that its charge is in; of one that the release before started, those of today."""
        return Books(self.gateway, self.gateway_account) if self.gateway else gateways.current_books()

    @property
    def expected_charge(self) -> ExpectedCharge:
        """Its charge as the gateway has to have it."""
        order = str(self.order_id) if self.order_id else None
        return ExpectedCharge(self.charge_key, self.card_amount, self.currency, order, self.books)

    @property
    def requires_action(self) -> bool:
        """Whether it waits now for the card's owner, at `action_url`."""
        expires_at = self.action_expires_at
        is_open = self.status == self.Status.PENDING and bool(self.action_url)
        return is_open and expires_at is not None and expires_at > clock.now()

    @property
    def shown_status(self) -> str:
        """The status as the API shows it."""
        return REQUIRES_ACTION if self.requires_action else self.status


class Dispute(models.Model):
    """A dispute that a card owner has begun at the bank. While it is open its amount is not refunded."""

    class Status(TextChoices):
        OPEN = "open", _("open")
        WON = "won", _("won")
        LOST = "lost", _("lost")

    payment = protected_key(Payment, _("payment"), db_index=False, related_name="disputes")
    reference = ExactCharField(_("reference"), max_length=96, help_text=_("The gateway's id of the dispute."))
    status = models.CharField(_("status"), max_length=8, choices=Status)
    amount = models.PositiveBigIntegerField(_("amount"))
    due_at = optional_instant(_("due at"), help_text=_("When the shop's answer is due at the gateway."))
    opened_at = models.DateTimeField(_("opened at"))
    closed_at = optional_instant(_("closed at"))

    class Meta:
        verbose_name = _("dispute")
        verbose_name_plural = _("disputes")
        constraints = [
            UniqueConstraint(
                fields=["payment", "reference"], name="payments_dispute_once_per_payment_and_reference"
            ),
            CheckConstraint(
                condition=Q(status="open", closed_at__isnull=True)
                | Q(status__in=["won", "lost"], closed_at__isnull=False),
                name="payments_dispute_closed_at_says_closed",
            ),
        ]
        indexes = [Index(fields=["status"], name="payments_dispute_by_status")]

    def __str__(self) -> str:
        return self.reference


class WebhookEvent(models.Model):
    """An event that a gateway sent, with the gateway's own id; not handled while `handled_at` is null."""

    gateway = models.CharField(_("gateway"), max_length=16)
    event_id = ExactCharField(_("event id"), max_length=255)
    type = models.CharField(_("type"), max_length=64)
    charge_key = ExactCharField(_("charge key"), max_length=96, blank=True)
    charge_reference = models.CharField(
        _("charge reference"),
        max_length=96,
        blank=True,
        default="",
        help_text=_("The gateway's id of the charge, where the event has no key."),
    )
    received_at = models.DateTimeField(_("received at"))
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    next_attempt_at = optional_instant(_("next attempt at"))
    handled_at = optional_instant(_("handled at"))
    outcome = models.CharField(_("outcome"), max_length=255, blank=True)

    class Meta:
        verbose_name = _("webhook event")
        verbose_name_plural = _("webhook events")
        constraints = [
            UniqueConstraint(
                fields=["gateway", "event_id"], name="payments_webhookevent_once_per_gateway_and_id"
            ),
            CheckConstraint(
                condition=Q(handled_at__isnull=True, next_attempt_at__isnull=False)
                | Q(handled_at__isnull=False, next_attempt_at__isnull=True),
                name="payments_webhookevent_unhandled_has_next_attempt",
            ),
        ]
        indexes = [
            Index(fields=["next_attempt_at"], name="payments_webhookevent_by_next"),
            Index(fields=["charge_key"], name="payments_webhookevent_by_key"),
        ]

    def __str__(self) -> str:
        return f"{self.gateway} {self.type}"


class Reconciliation(models.Model):
    """One comparison of our payments with the gateway's book: its period and what it found."""

    started_at = models.DateTimeField(_("started at"))
    ended_at = models.DateTimeField(_("ended at"))
    since_at = optional_instant(_("since at"))
    until_at = optional_instant(_("until at"))
    checked = models.PositiveBigIntegerField(_("checked"))
    differences = models.PositiveIntegerField(_("differences"))
    refunded = models.PositiveIntegerField(_("refunded"), help_text=_("Orphaned charges that were refunded."))
    findings = models.JSONField(
        _("findings"), default=list, blank=True, help_text=_("What differs and why, in words.")
    )
    unread = models.CharField(
        _("unread"), max_length=255, blank=True, help_text=_("Why the gateway's book could not be read.")
    )

    class Meta:
        verbose_name = _("reconciliation")
        verbose_name_plural = _("reconciliations")

    def __str__(self) -> str:
        text = ngettext("%(at)s %(count)s difference", "%(at)s %(count)s differences", self.differences)
        return text % {"at": f"{clock.local(self.ended_at):%Y-%m-%d %H:%M}", "count": self.differences}
