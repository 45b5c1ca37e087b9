"""Orders with their lines and refunds, and the sagas that pay and refund them."""

import secrets
from datetime import datetime

from django.db import models
from django.db.models import CheckConstraint, F, Index, Q, TextChoices, UniqueConstraint
from django.utils.translation import gettext, gettext_lazy as _

from foundation.fields import ExactCharField, account_key, optional_instant, protected_key, uuid_key
from foundation.money import format_amount
from orders import order_numbers, order_states


class Order(models.Model):
    """A purchase of an account. Amounts are in the currency's minor unit.

    Unpaid past `expires_at` an order counts as expired; the sweep only records it.
    """

    class Status(TextChoices):
        AWAITING_PAYMENT = order_states.Status.AWAITING_PAYMENT, _("awaiting payment")
        PAYING = order_states.Status.PAYING, _("paying")
        PAID = order_states.Status.PAID, _("paid")
        REFUNDING = order_states.Status.REFUNDING, _("refunding")
        REFUNDED = order_states.Status.REFUNDED, _("refunded")
        PAYMENT_FAILED = order_states.Status.PAYMENT_FAILED, _("payment failed")
        CANCELLED = order_states.Status.CANCELLED, _("cancelled")
        EXPIRED = order_states.Status.EXPIRED, _("expired")

    id = uuid_key()
    number = ExactCharField(
        _("number"),
        max_length=8,
        null=True,
        editable=False,
        help_text=_("Its short name for people; none until an order of an earlier release gets one."),
    )
    account = account_key(_("account"), db_index=False, related_name="orders")
    status = models.CharField(_("status"), max_length=20, choices=Status, default=Status.AWAITING_PAYMENT)
    items_amount = models.PositiveBigIntegerField(_("items amount"))
    discount_amount = models.PositiveBigIntegerField(_("discount amount"), default=0)
    points_amount = models.PositiveBigIntegerField(_("points amount"), default=0)
    card_amount = models.PositiveBigIntegerField(_("card amount"))
    total_amount = models.PositiveBigIntegerField(_("total amount"))
    refunded_amount = models.PositiveBigIntegerField(_("refunded amount"), default=0)
    currency = models.CharField(_("currency"), max_length=3)
    coupon_code = ExactCharField(_("coupon code"), max_length=64, blank=True)
    units = models.PositiveIntegerField(_("units"), help_text=_("Of all its lines together."))
    placed_at = models.DateTimeField(_("placed at"))
    expires_at = models.DateTimeField(_("expires at"))
    paid_at = optional_instant(_("paid at"))
    ended_at = optional_instant(_("ended at"), help_text=_("When it was cancelled, expired or failed."))
    failure_code = models.CharField(_("failure code"), max_length=64, blank=True)
    failure_detail = models.CharField(_("failure detail"), max_length=255, blank=True)
    metadata = models.JSONField(
        _("metadata"),
        null=True,
        blank=True,
        help_text=_("What programs keep with it: texts by their keys; none: empty."),
    )

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        constraints = [
            UniqueConstraint(fields=["number"], name="orders_order_number_is_unique"),
            CheckConstraint(
                condition=Q(items_amount=F("total_amount") + F("discount_amount")),
                name="orders_order_total_is_items_less_discount",
            ),
            CheckConstraint(
                condition=Q(total_amount=F("points_amount") + F("card_amount")),
                name="orders_order_points_and_card_make_total",
            ),
            CheckConstraint(
                condition=Q(refunded_amount__lte=F("total_amount")), name="orders_order_refunded_within_total"
            ),
            CheckConstraint(
                condition=Q(status__in=["paid", "refunding", "refunded"], paid_at__isnull=False)
                | (~Q(status__in=["paid", "refunding", "refunded"]) & Q(paid_at__isnull=True)),
                name="orders_order_paid_at_says_paid",
            ),
        ]
        indexes = [
            Index(fields=["account", "id"], name="orders_order_of_account"),
            # The unpaid orders and units of an account are read from this index alone.
            Index(fields=["account", "status", "id", "units"], name="orders_order_of_account_status"),
            Index(fields=["status", "expires_at"], name="orders_order_by_expiry"),
            # For reports by period, as that of the refunds below.
            Index(fields=["paid_at"], name="orders_order_by_payment"),
            # For the lists of staff, as that of the lines below.
            Index(fields=["status", "id"], name="orders_order_by_status"),
            Index(fields=["placed_at", "id"], name="orders_order_by_placing"),
            Index(fields=["coupon_code", "id"], name="orders_order_by_coupon"),
        ]

    def __str__(self) -> str:
        return order_numbers.shown(self.number) or f"…{self.pk.hex[-8:]}"

    def status_at(self, now: datetime) -> str:
        """Its status by the clock, which may be ahead of what is recorded."""
        return order_states.status_at(self.status, self.expires_at, now)


def _new_key() -> str:
    return secrets.token_hex(32)


class NumberState(models.Model):
    """The one row of the order numbers: the counter's next value, and the key of its permutation."""

    next_value = models.BigIntegerField(_("next value"), default=0)
    key = models.CharField(_("key"), max_length=64, default=_new_key)

    class Meta:
        verbose_name = _("state of the order numbers")
        verbose_name_plural = _("states of the order numbers")

    def __str__(self) -> str:
        return f"{self.next_value} numbers taken"


class OrderLine(models.Model):
    """One product of an order, at the name and price it had when the order was placed."""

    order = protected_key(Order, _("order"), db_index=False, related_name="lines")
    product = models.ForeignKey(
        "inventory.Product",
        verbose_name=_("product"),
        on_delete=models.PROTECT,
        db_index=False,
        related_name="order_lines",
    )
    sku = ExactCharField(_("SKU"), max_length=64)
    name = models.CharField(_("name"), max_length=255)
    quantity = models.PositiveIntegerField(_("quantity"))
    unit_price = models.PositiveBigIntegerField(_("unit price"))
    line_amount = models.PositiveBigIntegerField(_("line amount"))
    discount_amount = models.PositiveBigIntegerField(_("discount amount"), default=0)
    refunded_quantity = models.PositiveIntegerField(
        _("refunded quantity"),
        default=0,
        help_text=_("Units of the quantity that are refunded, or about to be."),
    )
    limit_per_account = models.PositiveIntegerField(
        _("limit per account"),
        null=True,
        blank=True,
        help_text=_("The product's limit when the order was placed; empty: none."),
    )
    # Neither index nor foreign key: most lines have none, and would pay for both.
    sale = models.ForeignKey(
        "sales.Sale",
        verbose_name=_("sale"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        db_index=False,
        db_constraint=False,
        related_name="+",
        help_text=_("The sale with a waiting room under which it was placed; empty: none."),
    )

    class Meta:
        verbose_name = _("order line")
        verbose_name_plural = _("order lines")
        constraints = [
            UniqueConstraint(fields=["order", "product"], name="orders_orderline_product_once_per_order"),
            CheckConstraint(
                condition=Q(quantity__gte=1, quantity__lte=1000), name="orders_orderline_quantity_in_bounds"
            ),
            CheckConstraint(
                condition=Q(line_amount=F("quantity") * F("unit_price")),
                name="orders_orderline_amount_is_quantity_times_price",
            ),
            CheckConstraint(
                condition=Q(discount_amount__lte=F("line_amount")),
                name="orders_orderline_discount_within_amount",
            ),
            CheckConstraint(
                condition=Q(refunded_quantity__lte=F("quantity")),
                name="orders_orderline_refunded_within_quantity",
            ),
        ]
        indexes = [Index(fields=["product", "order"], name="orders_orderline_of_product")]

    def __str__(self) -> str:
        return f"{self.quantity} x {self.sku}"

    @property
    def left_quantity(self) -> int:
        """Its units that are neither refunded nor about to be."""
        return self.quantity - self.refunded_quantity


class Refund(models.Model):
    """A refund of a part of a paid order, or of all that was left. It may be delayed, and is never given up.

    It is `failed` once the gateway has taken back what it had given to the card: that is refundable again.
    """

    class Status(TextChoices):
        PENDING = "pending", _("pending")
        SUCCEEDED = "succeeded", _("succeeded")
        STUCK = "stuck", _("stuck")
        FAILED = "failed", _("failed")

    class Source(TextChoices):
        STAFF = "staff", _("staff")
        GATEWAY = "gateway", _("gateway")
        LATE_CHARGE = "late_charge", _("late charge")

    id = uuid_key()
    order = protected_key(Order, _("order"), related_name="refunds")
    status = models.CharField(_("status"), max_length=16, choices=Status, default=Status.PENDING)
    amount = models.PositiveBigIntegerField(_("amount"))
    points_amount = models.PositiveBigIntegerField(_("points amount"))
    card_amount = models.PositiveBigIntegerField(_("card amount"))
    reason = models.CharField(_("reason"), max_length=255)
    restock = models.BooleanField(
        _("restock"), default=True, help_text=_("Whether the goods are put back in stock.")
    )
    source = models.CharField(
        _("source"), max_length=16, choices=Source, default=Source.STAFF, help_text=_("Where it began.")
    )
    is_reduced = models.BooleanField(
        _("is reduced"),
        default=False,
        help_text=_("The gateway had less left of the charge than was to be refunded."),
    )
    refusal_code = models.CharField(
        _("refusal code"),
        max_length=64,
        blank=True,
        default="",
        db_default="",
        help_text=_("Why the gateway refused the last attempt, if it did."),
    )
    by_hand_amount = models.PositiveBigIntegerField(
        _("amount by hand"),
        default=0,
        db_default=0,
        help_text=_(
            "What was refunded at the gateway by hand when an operator had this one made besides it."
        ),
    )
    created_at = models.DateTimeField(_("created at"))
    settled_at = optional_instant(_("settled at"))
    failed_at = optional_instant(
        _("failed at"), help_text=_("When the gateway was found to have taken it back.")
    )

    class Meta:
        verbose_name = _("refund")
        verbose_name_plural = _("refunds")
        constraints = [
            CheckConstraint(
                condition=Q(amount=F("points_amount") + F("card_amount")),
                name="orders_refund_points_and_card_make_amount",
            ),
            CheckConstraint(
                condition=Q(status="succeeded", settled_at__isnull=False, failed_at__isnull=True)
                | Q(status="failed", settled_at__isnull=False, failed_at__isnull=False, card_amount__gt=0)
                | Q(status__in=["pending", "stuck"], settled_at__isnull=True, failed_at__isnull=True),
                name="orders_refund_times_say_status",
            ),
        ]
        indexes = [
            Index(fields=["settled_at"], name="orders_refund_by_settlement"),
            Index(fields=["failed_at"], name="orders_refund_by_failure"),
        ]

    def __str__(self) -> str:
        text = gettext("refund of %(amount)s, order %(number)s")
        return text % {"amount": format_amount(self.amount), "number": self.order}


class RefundLine(models.Model):
    """The units of one order line that are refunded, and the amount for them."""

    refund = protected_key(Refund, _("refund"), db_index=False, related_name="lines")
    line = protected_key(OrderLine, _("line"), related_name="refunds")
    quantity = models.PositiveIntegerField(_("quantity"))
    amount = models.PositiveBigIntegerField(_("amount"))

    class Meta:
        verbose_name = _("refund line")
        verbose_name_plural = _("refund lines")
        constraints = [
            UniqueConstraint(fields=["refund", "line"], name="orders_refundline_once_per_refund"),
            CheckConstraint(condition=Q(quantity__gte=1), name="orders_refundline_gives_something_back"),
        ]

    def __str__(self) -> str:
        return gettext("%(quantity)s of line %(line)s") % {"quantity": self.quantity, "line": self.line_id}


class OrderNote(models.Model):
    """What staff wrote about an order, for each other: customers don't see it."""

    order = protected_key(Order, _("order"), related_name="notes")
    # By its number: an erased account keeps that.
    author_id = models.BigIntegerField(_("author id"))
    text = models.CharField(_("text"), max_length=1000)
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        verbose_name = _("order note")
        verbose_name_plural = _("order notes")
        # They are read with the order and written by those who may change it.
        default_permissions = ()

    def __str__(self) -> str:
        return gettext("note %(id)s") % {"id": self.pk}


class Saga(models.Model):
    """One run of named steps that all happen or are compensated: the state to recover from.

    The holder of the lease advances it, `do` by `do` or, once a step was refused, `undo` by `undo`.
    `next_attempt_at` is when it is due, of a new one long ago; null once it has ended. A saga that is
    unfinished past `deadline_at` is `stuck`: operators see it, and it is still retried.
    """

    class State(TextChoices):
        RUNNING = "running", _("running")
        STUCK = "stuck", _("stuck")
        DONE = "done", _("done")
        COMPENSATED = "compensated", _("compensated")

    class Direction(TextChoices):
        DO = "do", _("do")
        UNDO = "undo", _("undo")

    class WorkClass(TextChoices):
        """What shares the workers: each class has places that the arrivals of another can't take."""

        NEW = "new", _("new payments")
        AGAIN = "again", _("due again")
        REFUND = "refund", _("refunds")
        RECOVERY = "recovery", _("recovery")

    id = uuid_key()
    kind = models.CharField(_("kind"), max_length=32)
    subject_id = models.UUIDField(_("subject id"), help_text=_("The payment or refund that the saga is for."))
    about_id = models.UUIDField(
        _("about id"), null=True, blank=True, help_text=_("The order whose journal it writes.")
    )
    request_id = models.CharField(
        _("request id"), max_length=64, blank=True, help_text=_("The request that started it.")
    )
    traceparent = models.CharField(_("traceparent"), max_length=55, blank=True, default="")
    state = models.CharField(_("state"), max_length=16, choices=State, default=State.RUNNING)
    direction = models.CharField(_("direction"), max_length=8, choices=Direction, default=Direction.DO)
    attempts = models.PositiveIntegerField(
        _("attempts"), default=0, help_text=_("Failed attempts, over all steps.")
    )
    failure_code = models.CharField(
        _("failure code"), max_length=64, blank=True, help_text=_("Why it is compensated.")
    )
    failure_detail = models.CharField(_("failure detail"), max_length=255, blank=True)
    last_error = models.CharField(_("last error"), max_length=255, blank=True)
    open_call = models.CharField(
        _("open call"),
        max_length=40,
        blank=True,
        default="",
        help_text=_("The outside call that was started and whose result is not recorded."),
    )
    is_irreversible = models.BooleanField(
        _("is irreversible"),
        default=False,
        help_text=_("A step without an undo has taken effect: steps before it are never done or undone."),
    )
    lease_token = models.CharField(_("lease token"), max_length=32, blank=True)
    leased_until = optional_instant(_("leased until"))
    next_attempt_at = optional_instant(_("next attempt at"))
    work_class = models.CharField(
        _("work class"),
        max_length=8,
        choices=WorkClass,
        default=WorkClass.AGAIN,
        db_default=WorkClass.AGAIN,
        help_text=_("Whose share of the workers it waits for."),
    )
    key_number = models.PositiveSmallIntegerField(
        _("key number"),
        default=0,
        db_default=0,
        help_text=_("How many calls had failed for good under their keys when an operator last retried it."),
    )
    deadline_at = models.DateTimeField(_("deadline at"))
    created_at = models.DateTimeField(_("created at"))
    ended_at = optional_instant(_("ended at"))

    class Meta:
        verbose_name = _("payment or refund under way")
        verbose_name_plural = _("payments and refunds under way")
        constraints = [
            UniqueConstraint(fields=["kind", "subject_id"], name="orders_saga_one_per_kind_and_subject"),
            CheckConstraint(
                condition=models.Q(state__in=["done", "compensated"], ended_at__isnull=False)
                | models.Q(state__in=["running", "stuck"], next_attempt_at__isnull=False),
                name="orders_saga_unfinished_has_next_attempt",
            ),
        ]
        indexes = [
            Index(fields=["next_attempt_at"], name="orders_saga_by_next_attempt"),
            Index(fields=["work_class", "next_attempt_at"], name="orders_saga_by_work_class"),
        ]

    def __str__(self) -> str:
        return gettext(self.kind.replace("_", " "))


class SagaLog(models.Model):
    """The log of a saga, oldest first: appended, never changed.

    A line of `attempt` 0 is final: unique per saga, step and direction, so its effect happens once
    (dtm's barrier). An undo of a step that never ran leaves a `void` line that refuses the late do.
    Lines of attempt 1, 2, ... record attempts without a final result.
    """

    class Event(TextChoices):
        DONE = "done", _("done")
        SKIPPED = "skipped", _("nothing to do")
        REFUSED = "refused", _("refused for good")
        VOID = "void", _("compensated before it was done")
        FAILED = "failed", _("failed attempt")
        PENDING = "pending", _("the other system is working on it")
        FORCED = "forced", _("confirmed by an operator")
        REQUIRES_ACTION = "requires_action", _("waits for the customer")

    saga = protected_key(Saga, _("saga"), db_index=False, related_name="log")
    step = models.CharField(_("step"), max_length=32)
    direction = models.CharField(_("direction"), max_length=8, choices=Saga.Direction.choices)
    attempt = models.PositiveIntegerField(_("attempt"), default=0)
    event = models.CharField(_("event"), max_length=16, choices=Event)
    detail = models.CharField(_("detail"), max_length=255, blank=True)
    reference = models.CharField(
        _("reference"), max_length=96, blank=True, help_text=_("The other system's id of it.")
    )
    amount = models.PositiveBigIntegerField(
        _("amount"),
        null=True,
        blank=True,
        help_text=_("What it moved at the other system, if that is known."),
    )
    at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("saga log")
        verbose_name_plural = _("saga logs")
        constraints = [
            UniqueConstraint(
                fields=["saga", "step", "direction", "attempt"],
                name="orders_sagalog_once_per_step_and_direction",
            )
        ]

    def __str__(self) -> str:
        return f"{self.step} {self.direction} {self.event}".replace("_", " ")
