"""Models that all apps use: idempotency keys, transactions' marks, sign-outs, the journal, laws' status."""

from datetime import timedelta

from django.conf import settings
from django.db import models

from shop.fields import ExactCharField


class IdempotencyKey(models.Model):
    """A call with an idempotency key that had an effect, and its recorded answer.

    `status` is null while the answer depends on the state of `reference`, an order or payment that is not
    settled. The key is stored as its SHA-256, so that collations and lengths don't matter.
    """

    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_index=False, related_name="+"
    )
    key_hash = ExactCharField(max_length=64)
    fingerprint = ExactCharField(max_length=64)
    reference = models.UUIDField(null=True, blank=True)
    status = models.PositiveSmallIntegerField(null=True, blank=True)
    body = models.TextField(blank=True)
    location = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account", "key_hash"], name="shop_idempotencykey_one_effect_per_key"
            ),
            models.CheckConstraint(
                condition=models.Q(status__isnull=False) | models.Q(reference__isnull=False),
                name="shop_idempotencykey_has_answer_or_reference",
            ),
        ]


class CommittedTransaction(models.Model):
    """The mark of a transaction that must be committed once: it exists if and only if that has committed."""

    id = models.UUIDField(primary_key=True)
    at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return str(self.id)


class SignOut(models.Model):
    """When an account was signed out everywhere last: tokens issued until then are refused."""

    account = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"account {self.account_id}"


class RecordedTrace(models.Model):
    """The trace in which the saga or queue ticket with this id began, where traces are recorded."""

    id = models.UUIDField(primary_key=True)
    traceparent = models.CharField(max_length=55)
    at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return str(self.id)


class JournalLine(models.Model):
    """One change of money, stock or coupons: its actor, what happened, before and after. Append-only.

    The lines are also the outbox (`shop.events.outbox`): a line with a `delivery` is an event for other
    systems. Only the fields of its delivery ever change.
    """

    class Actor(models.TextChoices):
        ACCOUNT = "account"
        STAFF = "staff"
        SYSTEM = "system"
        ANON = "anon", "not signed in"

    class Delivery(models.TextChoices):
        QUEUED = "queued"
        DELIVERED = "delivered"
        DEAD = "dead", "dead: refused for good, or given up"

    at = models.DateTimeField()
    actor = models.CharField(max_length=8, choices=Actor.choices)
    # No foreign keys: the log outlives the rows it refers to, and an insert must not lock a parent row.
    actor_id = models.BigIntegerField(null=True, blank=True)
    actor_name = models.CharField(max_length=150, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    what = models.CharField(max_length=64, help_text="Such as `coupon.issued`.")
    subject = ExactCharField(max_length=96, help_text="Such as `product 7`.")
    order_id = models.UUIDField(null=True, blank=True)
    before = models.JSONField(null=True, blank=True)
    after = models.JSONField(null=True, blank=True)
    detail = models.CharField(max_length=255, blank=True)
    reference = models.CharField(max_length=96, blank=True, help_text="The outside system's name for it.")
    event_id = models.UUIDField(null=True, blank=True, help_text="Of an event: its name outside.")
    is_internal = models.BooleanField(default=False, help_text="For staff only.")
    delivery = models.CharField(max_length=10, choices=Delivery.choices, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=255, blank=True)
    refused_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when it is refused for good, with the same answer each time."
    )
    requeued_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When an operator had it replayed or sent again: its age begins anew.",
    )

    class Meta:
        # The admin's lists are of all apps, and each export is a line here.
        permissions = [("export_list", "Can export the lists that it can view as CSV")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(
                    delivery="queued", next_attempt_at__isnull=False, delivered_at__isnull=True
                )
                | models.Q(delivery="delivered", next_attempt_at__isnull=True, delivered_at__isnull=False)
                | models.Q(
                    delivery__in=["", "dead"], next_attempt_at__isnull=True, delivered_at__isnull=True
                ),
                name="shop_journalline_queued_has_next_attempt",
            ),
        ]
        indexes = [
            models.Index(fields=["order_id", "what"], name="shop_journalline_of_order_what"),
            models.Index(fields=["subject", "id"], name="shop_journalline_of_subject"),
            models.Index(fields=["delivery", "next_attempt_at"], name="shop_journalline_by_delivery"),
            # For the operators' searches; pages show the newest lines first.
            models.Index(fields=["actor_id", "id"], name="shop_journalline_of_actor"),
            models.Index(fields=["what", "id"], name="shop_journalline_of_what"),
            models.Index(fields=["at"], name="shop_journalline_by_instant"),
        ]

    def __str__(self) -> str:
        return f"{self.what} {self.subject}"


class LawStatus(models.Model):
    """What the scheduled audit last found out about a law. No row: not audited yet.

    `suspects` are the chunks of rows in which it was found broken, which each audit checks again;
    `is_incomplete` if they were too many to keep, so that only a full audit can find the law mended.
    """

    law = models.CharField(max_length=8, primary_key=True)
    holds = models.BooleanField()
    checked = models.PositiveBigIntegerField(default=0, help_text="How many rows the latest audit looked at.")
    offenders = models.JSONField(default=list, blank=True, help_text="At most 100 of those that break it.")
    suspects = models.JSONField(default=list, blank=True)
    is_incomplete = models.BooleanField(default=False)
    since = models.DateTimeField(help_text="Since when it holds, or is broken.")
    checked_at = models.DateTimeField(null=True, blank=True, help_text="The start of the latest audit of it.")
    full_at = models.DateTimeField(
        null=True, blank=True, help_text="The start of the latest full audit of it."
    )
    took = models.DurationField(default=timedelta(0), help_text="How long the latest audit checked it.")
    not_checked = models.CharField(
        max_length=255, blank=True, help_text="Why the latest audit could not check it."
    )

    class Meta:
        verbose_name_plural = "law statuses"

    def __str__(self) -> str:
        return self.law


class AuditState(models.Model):
    """The one row of the scheduled audit: its lease, its marks, and how far the full audit is.

    `marks` are the highest keys of tables at recent instants, by which an audit finds new rows. `progress` is
    of a full audit that has not ended.
    """

    lease_token = models.CharField(max_length=32, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    marks = models.JSONField(default=list, blank=True)
    audited_at = models.DateTimeField(null=True, blank=True, help_text="The start of the latest audit.")
    full_at = models.DateTimeField(null=True, blank=True, help_text="The start of the latest full audit.")
    progress = models.JSONField(null=True, blank=True)

    def __str__(self) -> str:
        return "scheduled audit"
