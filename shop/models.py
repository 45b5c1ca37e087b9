"""What every app stands on: the idempotency keys."""

from django.conf import settings
from django.db import models

from shop.fields import ExactCharField


class IdempotencyKey(models.Model):
    """A keyed call that had an effect, with its recorded answer.

    `status` is null while the answer is still told by `reference`: an order or payment that has not
    settled. The key itself is kept as its SHA-256, for collations and lengths never to matter.
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
