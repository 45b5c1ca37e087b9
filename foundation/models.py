"""Models that all apps use: idempotency keys, marks, the journal, laws' status."""

from datetime import timedelta

from django.db import models
from django.db.models import CheckConstraint, Index, TextChoices, UniqueConstraint
from django.utils.translation import gettext, gettext_lazy as _, pgettext_lazy

from foundation import approval_models  # noqa: F401
from foundation.fields import ExactCharField, account_key, optional_instant


class IdempotencyKey(models.Model):
    """A call with an idempotency key that had an effect, and its recorded answer.

    `status` is null while the answer depends on the state of `reference`, an order or payment that is not
    settled. The key is stored as its SHA-256, so that collations and lengths don't matter.
    """

    account = account_key(_("account"), db_index=False, related_name="+")
    key_hash = ExactCharField(_("key hash"), max_length=64)
    fingerprint = ExactCharField(_("fingerprint"), max_length=64)
    reference = models.UUIDField(_("reference"), null=True, blank=True)
    status = models.PositiveSmallIntegerField(_("status"), null=True, blank=True)
    body = models.TextField(_("body"), blank=True)
    location = models.CharField(_("location"), max_length=255, blank=True)
    created_at = models.DateTimeField(_("created at"), db_index=True)

    class Meta:
        verbose_name = _("idempotency key")
        verbose_name_plural = _("idempotency keys")
        constraints = [
            UniqueConstraint(fields=["account", "key_hash"], name="shop_idempotencykey_one_effect_per_key"),
            CheckConstraint(
                condition=models.Q(status__isnull=False) | models.Q(reference__isnull=False),
                name="shop_idempotencykey_has_answer_or_reference",
            ),
        ]

    def __str__(self) -> str:
        return gettext("idempotency key %(id)s") % {"id": self.pk}


class CommittedTransaction(models.Model):
    """The mark of a transaction that must be committed once: it exists if and only if that has committed."""

    id = models.UUIDField(primary_key=True)
    at = models.DateTimeField(_("at"), db_index=True)

    class Meta:
        verbose_name = _("committed transaction")
        verbose_name_plural = _("committed transactions")

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S}"


class JournalLine(models.Model):
    """One change of money, stock or coupons: its actor, what happened, before and after. Append-only.

    Some lines are also events (`foundation.journal.EVENTS`). Nothing of a line changes, but where an
    account is erased the names and addresses of the person (`foundation.pseudonyms`).
    """

    class Actor(TextChoices):
        ACCOUNT = "account", _("Account")
        STAFF = "staff", _("Staff")
        SYSTEM = "system", pgettext_lazy("an actor", "System")
        ANON = "anon", _("not signed in")

    at = models.DateTimeField(_("at"))
    actor = models.CharField(_("actor"), max_length=8, choices=Actor)
    # No foreign keys: the log outlives the rows it refers to, and an insert must not lock a parent row.
    actor_id = models.BigIntegerField(_("actor id"), null=True, blank=True)
    actor_name = models.CharField(_("actor name"), max_length=150, blank=True)
    request_id = models.CharField(_("request id"), max_length=64, blank=True)
    what = models.CharField(_("what"), max_length=64, help_text=_("Such as `coupon.issued`."))
    subject = ExactCharField(_("subject"), max_length=96, help_text=_("Such as `product 7`."))
    order_id = models.UUIDField(_("order id"), null=True, blank=True)
    before = models.JSONField(_("before"), null=True, blank=True)
    after = models.JSONField(_("after"), null=True, blank=True)
    detail = models.CharField(_("detail"), max_length=255, blank=True)
    reference = models.CharField(
        _("reference"), max_length=96, blank=True, help_text=_("The outside system's name for it.")
    )
    # Other systems know an event by this id: a promoted database server may assign a row's id again.
    event_id = models.UUIDField(
        _("event id"), null=True, blank=True, help_text=_("Of an event: its name outside.")
    )
    is_internal = models.BooleanField(_("is internal"), default=False, help_text=_("For staff only."))

    class Meta:
        verbose_name = _("journal line")
        verbose_name_plural = _("who did what")
        # The admin's lists are of all apps, and each export is a line here.
        permissions = [("export_list", "Can export the lists that it can view as CSV")]
        indexes = [
            Index(fields=["order_id", "what"], name="shop_journalline_of_order_what"),
            Index(fields=["subject", "id"], name="shop_journalline_of_subject"),
            # For the operators' searches; pages show the newest lines first.
            Index(fields=["actor_id", "id"], name="shop_journalline_of_actor"),
            Index(fields=["what", "id"], name="shop_journalline_of_what"),
            Index(fields=["at"], name="shop_journalline_by_instant"),
        ]

    def __str__(self) -> str:
        return self.what.replace("_", " ")


class LawStatus(models.Model):
    """What the scheduled audit last found out about a law. No row: not audited yet.

    `suspects` are the chunks of rows in which it was found broken, which each audit checks again;
    `is_incomplete` if they were too many to keep, so that only a full audit can find the law repaired.
    """

    law = models.CharField(_("law"), max_length=8, primary_key=True)
    holds = models.BooleanField(_("holds"))
    checked = models.PositiveBigIntegerField(
        _("checked"), default=0, help_text=_("How many rows the latest audit looked at.")
    )
    offenders = models.JSONField(
        _("offenders"), default=list, blank=True, help_text=_("At most 100 of those that break it.")
    )
    suspects = models.JSONField(_("suspects"), default=list, blank=True)
    is_incomplete = models.BooleanField(_("is incomplete"), default=False)
    since = models.DateTimeField(_("since"), help_text=_("Since when it holds, or is broken."))
    checked_at = optional_instant(_("checked at"), help_text=_("The start of the latest audit of it."))
    full_at = optional_instant(_("full at"), help_text=_("The start of the latest full audit of it."))
    took = models.DurationField(
        _("took"), default=timedelta(0), help_text=_("How long the latest audit checked it.")
    )
    not_checked = models.CharField(
        _("not checked"), max_length=255, blank=True, help_text=_("Why the latest audit could not check it.")
    )

    class Meta:
        verbose_name = _("law status")
        verbose_name_plural = _("law statuses")

    def __str__(self) -> str:
        return self.law


class AuditState(models.Model):
    """The one row of the scheduled audit: its lease, its marks, and how far the full audit is.

    `marks` are, for each kind of row, the last keys that the two latest audits looked at: newer rows are new.
    `progress` is of a full audit that has not ended.
    """

    lease_token = models.CharField(_("lease token"), max_length=32, blank=True)
    leased_until = optional_instant(_("leased until"))
    marks = models.JSONField(_("marks"), default=list, blank=True)
    audited_at = optional_instant(_("audited at"), help_text=_("The start of the latest audit."))
    full_at = optional_instant(_("full at"), help_text=_("The start of the latest full audit."))
    progress = models.JSONField(_("progress"), null=True, blank=True)

    class Meta:
        verbose_name = _("audit state")
        verbose_name_plural = _("audit states")

    def __str__(self) -> str:
        return gettext("scheduled audit")


class ProcessLease(models.Model):
    """Which one of several processes of a kind acts: its holder, until the lease lapses or is renewed."""

    name = models.CharField(_("name"), max_length=32, primary_key=True)
    holder = models.CharField(_("holder"), max_length=200)
    leased_until = models.DateTimeField(_("leased until"))

    class Meta:
        verbose_name = _("process lease")
        verbose_name_plural = _("process leases")


class ArchivedPaidEvent(models.Model):
    """An order whose delivered event `order.paid` release 2.0 archived: L12 counts it.

    No row is written any more.
    """

    order_id = models.UUIDField(_("order id"), primary_key=True)

    class Meta:
        verbose_name = _("archived paid event")
        verbose_name_plural = _("archived paid events")
