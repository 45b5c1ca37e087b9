"""Acts that one operator asks for and another decides."""

from django.db import models
from django.db.models import CheckConstraint, TextChoices
from django.utils.translation import gettext, gettext_lazy as _

from foundation.fields import ExactCharField, optional_instant


class Approval(models.Model):
    """An act that an operator asked for, done once another approves it (`accounts.operating.approvals`).

    `kind` names the act, `arguments` are its own, `subject` is what the journal's lines of the act are about.
    `account_id` is the account that benefits. An operator who works by commands has a name and no account.
    """

    class Status(TextChoices):
        WAITING = "waiting", _("waiting")
        APPROVED = "approved", _("approved")
        REFUSED = "refused", _("refused")

    kind = models.CharField(_("kind"), max_length=32)
    subject = ExactCharField(_("subject"), max_length=96)
    arguments = models.JSONField(_("arguments"))
    # No foreign keys: as the journal, it outlives what it names, and an insert must not lock a parent row.
    account_id = models.BigIntegerField(_("account id"), null=True, blank=True)
    asker_id = models.BigIntegerField(_("asker id"), null=True, blank=True)
    asker_name = models.CharField(_("asked by"), max_length=150)
    reason = models.CharField(_("reason"), max_length=255)
    asked_at = models.DateTimeField(_("asked at"))
    status = models.CharField(
        _("status"), max_length=8, choices=Status, default=Status.WAITING, db_index=True
    )
    decider_id = models.BigIntegerField(_("decider id"), null=True, blank=True)
    decider_name = models.CharField(_("decided by"), max_length=150, blank=True)
    answer = models.CharField(_("answer"), max_length=255, blank=True)
    decided_at = optional_instant(_("decided at"))
    outcome = models.CharField(_("outcome"), max_length=255, blank=True)

    class Meta:
        verbose_name = _("approval")
        verbose_name_plural = _("approvals")
        constraints = [
            CheckConstraint(
                condition=models.Q(status="waiting", decided_at__isnull=True, decider_id__isnull=True)
                | models.Q(
                    status__in=["approved", "refused"], decided_at__isnull=False, decider_id__isnull=False
                ),
                name="shop_approval_decided_ones_have_a_decider",
            ),
            CheckConstraint(
                condition=~models.Q(status="approved")
                | models.Q(asker_id__isnull=True)
                | ~models.Q(decider_id=models.F("asker_id")),
                name="shop_approval_by_another_than_its_asker",
            ),
        ]

    def __str__(self) -> str:
        return gettext("approval %(id)s") % {"id": self.pk}
