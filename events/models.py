"""Models of events: the feed, the row that gives it positions, webhook endpoints, and their deliveries."""

from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import CheckConstraint, Index, TextChoices, UniqueConstraint
from django.utils.translation import gettext, gettext_lazy as _, pgettext_lazy

from events import retries
from foundation.fields import ExactCharField, optional_instant, uuid_key

BUILT_IN = UUID(int=1)
"""The key of the endpoint that is the data platform, whose address and secret are settings."""


class FeedEvent(models.Model):
    """Something that happened, for programs that follow `GET /events` and for webhook endpoints.

    The sequencer gives it its position after the transaction of its effect has committed
    (`events.feed.sequencing`), and nothing of it changes afterwards. `position` is that of the first event of
    a run (`events.feed.runs`), which has `run_length` events; `run_offset` is how many of them come before.
    """

    position = models.BigIntegerField(_("position"), null=True, blank=True)
    run_offset = models.SmallIntegerField(_("events before it in its run"), default=0, db_default=0)
    run_length = models.SmallIntegerField(_("events of its run"), default=1, db_default=1)
    event_id = models.UUIDField(_("event id"))
    type = models.CharField(_("type"), max_length=64, help_text=_("Such as `order.paid`."))
    # No foreign key, as in the journal: an insert must not lock a parent row.
    order_id = models.UUIDField(_("order id"), null=True, blank=True)
    at = models.DateTimeField(_("at"))
    data = models.JSONField(_("data"))

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        constraints = [
            # By it the sequencer finds what has no position yet.
            UniqueConstraint(fields=["position", "run_offset"], name="events_feedevent_one_run_per_position"),
            UniqueConstraint(fields=["event_id"], name="events_feedevent_one_per_event_id"),
        ]

    def __str__(self) -> str:
        return self.type.replace("_", " ")


class FeedState(models.Model):
    """The one row of the feed: its lock admits one sequencer at a time.

    Positions up to `last_position` are given; those up to `swept_position` were deleted after the retention.
    Those after `runs_after` were given to runs; None while all are given to single events, as release 2.0
    does, until `finish_upgrade`. `gaps` has, of each restore of a backup, the first and the last position
    that it left out, because cursors of readers may still name them, and its instant in milliseconds.
    """

    last_position = models.BigIntegerField(_("last position"), default=0)
    swept_position = models.BigIntegerField(_("swept position"), default=0)
    runs_after = models.BigIntegerField(_("positions of runs come after"), null=True, blank=True, default=0)
    gaps = models.JSONField(_("gaps"), default=list)

    class Meta:
        verbose_name = _("state of the event feed")
        verbose_name_plural = _("states of the event feed")
        constraints = [
            CheckConstraint(
                condition=models.Q(swept_position__gte=0)
                & models.Q(swept_position__lte=models.F("last_position")),
                name="events_feedstate_sweeps_given_positions",
            )
        ]

    def __str__(self) -> str:
        return gettext("position %(last)d") % {"last": self.last_position}

    @property
    def generation(self) -> int:
        """Which feed its positions are of: the last restore's instant in milliseconds; 0 without one."""
        return int(self.gaps[-1][2]) if self.gaps else 0


class WebhookEndpoint(models.Model):
    """An address of another system that is sent the events of some types, each signed with its secret.

    `position` is that of the last event of the feed that was taken for it. It gets events while its owner may
    read them, and the API key by which that account made or changed it last is usable. `former_secrets` are
    pairs of a secret and the instant until which it signs as well.
    """

    class Kind(TextChoices):
        PROGRAM = "program", _("program")
        DATA_PLATFORM = "data_platform", _("data platform, by a protocol of its own")

    class DisabledBy(TextChoices):
        STAFF = "staff", _("staff")
        FAILURES = "failures", _("days of failures")
        RIGHTS = "rights", _("a right that its owner lost")

    id = uuid_key()
    kind = models.CharField(_("kind"), max_length=16, choices=Kind, default=Kind.PROGRAM)
    url = ExactCharField(_("url"), max_length=500)
    events = models.JSONField(_("events"))
    description = models.CharField(_("description"), max_length=255, blank=True)
    secret = ExactCharField(_("secret"), max_length=64, blank=True)
    former_secrets = models.JSONField(_("former secrets"), null=True, blank=True)
    # Numbers alone: a key is deleted with its maker's data. The data platform has no owner.
    owner_id = models.BigIntegerField(
        _("owner id"), null=True, blank=True, help_text=_("The account for which it gets events.")
    )
    api_key_id = models.BigIntegerField(_("API key id"), null=True, blank=True)
    position = models.BigIntegerField(_("position"), default=0)
    created_at = models.DateTimeField(_("created at"))
    failing_since = optional_instant(_("failing since"), help_text=_("Since when nothing was delivered."))
    failures = models.PositiveIntegerField(_("failures"), default=0, help_text=_("In a row."))
    next_attempt_at = optional_instant(_("next attempt at"))
    disabled_at = optional_instant(_("disabled at"))
    disabled_by = models.CharField(_("disabled by"), max_length=8, choices=DisabledBy, blank=True, default="")
    lease_token = models.CharField(_("lease token"), max_length=32, blank=True)
    leased_until = optional_instant(_("leased until"))

    class Meta:
        verbose_name = _("webhook endpoint")
        verbose_name_plural = _("webhook endpoints")
        constraints = [
            CheckConstraint(
                condition=models.Q(kind="data_platform") | ~models.Q(secret=""),
                name="events_webhookendpoint_programs_have_a_secret",
            )
        ]

    def __str__(self) -> str:
        # No more of the URL, which may have a key in it.
        return self.description or urlsplit(self.url).hostname or self.get_kind_display()

    @property
    def is_built_in(self) -> bool:
        """Whether it is the data platform: sent batches by its own protocol, and off without its address."""
        return self.kind == self.Kind.DATA_PLATFORM

    @property
    def is_enabled(self) -> bool:
        return bool(settings.DATA_PLATFORM_URL) if self.is_built_in else self.disabled_at is None


class WebhookDelivery(models.Model):
    """An event that was sent to an endpoint, or is to be; or, as a range, several that it accepted at once.

    A range stands for the events from `first_position` to `position` that its `patterns` choose, but for
    those that have rows of their own; it has as many `attempts` as events, and its `event_id` is no event's.

    `payload` is that of a test, which is no event, and of an event that was not delivered at once: it is sent
    again also when the feed has it no more. Age and retention count from `created_at`.
    """

    class Status(TextChoices):
        PENDING = retries.Status.PENDING, _("pending")
        DELIVERED = retries.Status.DELIVERED, _("Delivered")
        FAILED = retries.Status.FAILED, pgettext_lazy("a delivery", "given up")

    endpoint = models.ForeignKey(
        WebhookEndpoint,
        verbose_name=_("webhook endpoint"),
        on_delete=models.CASCADE,
        db_index=False,
        related_name="deliveries",
    )
    first_position = models.BigIntegerField(_("first position"), null=True, blank=True)
    position = models.BigIntegerField(_("position"), null=True, blank=True)
    patterns = models.JSONField(_("patterns"), null=True, blank=True)
    event_id = models.UUIDField(_("event id"))
    order_id = models.UUIDField(_("order id"), null=True, blank=True)
    type = models.CharField(_("type"), max_length=64)
    payload = models.JSONField(_("payload"), null=True, blank=True)
    status = models.CharField(_("status"), max_length=10, choices=Status)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    next_attempt_at = optional_instant(_("next attempt at"))
    response_status = models.PositiveSmallIntegerField(_("response status"), null=True, blank=True)
    refused_at = optional_instant(
        _("refused at"),
        help_text=_("Since when the data platform refuses it for good, with the same status each time."),
    )
    error = models.CharField(_("error"), max_length=255, blank=True)
    created_at = models.DateTimeField(_("created at"), db_index=True)
    delivered_at = optional_instant(_("delivered at"))

    class Meta:
        verbose_name = _("webhook delivery")
        verbose_name_plural = _("webhook deliveries")
        constraints = [
            CheckConstraint(
                condition=models.Q(status="pending", next_attempt_at__isnull=False, delivered_at__isnull=True)
                | models.Q(status="delivered", next_attempt_at__isnull=True, delivered_at__isnull=False)
                | models.Q(status="failed", next_attempt_at__isnull=True, delivered_at__isnull=True),
                name="events_webhookdelivery_pending_has_next_attempt",
            ),
            UniqueConstraint(fields=["endpoint", "event_id"], name="events_webhookdelivery_one_per_event"),
        ]
        indexes = [
            Index(fields=["endpoint", "status", "id"], name="events_webhookdelivery_status"),
            Index(fields=["endpoint", "status", "next_attempt_at"], name="events_webhookdelivery_due"),
            Index(fields=["endpoint", "order_id"], name="events_webhookdelivery_order"),
            Index(fields=["endpoint", "position"], name="events_webhookdelivery_place"),
        ]

    def __str__(self) -> str:
        if self.first_position is None:
            return self.type.replace("_", " ")
        return gettext("positions %(first)d to %(last)d") % {
            "first": self.first_position,
            "last": self.position,
        }
