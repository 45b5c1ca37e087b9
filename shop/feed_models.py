"""Models of the event feed: its events, and the one row that gives them positions. `shop.models` has them."""

from django.db import models
from django.utils.translation import gettext, gettext_lazy as _


class FeedEvent(models.Model):
    """Something that happened, for programs that follow `GET /events` and for webhook endpoints.

    The sequencer gives it its `position` after the transaction of its effect has committed
    (`shop.event_feed.sequencing`), and nothing of it changes afterwards.
    """

    position = models.BigIntegerField(_("position"), null=True, blank=True)
    event_id = models.UUIDField(_("event id"))
    type = models.CharField(_("type"), max_length=64, help_text=_("Such as `order.paid`."))
    # No foreign key, as in the journal: an insert must not lock a parent row.
    order_id = models.UUIDField(_("order id"), null=True, blank=True)
    at = models.DateTimeField(_("at"))
    data = models.JSONField(_("data"))

    class Meta:
        verbose_name, verbose_name_plural = _("event"), _("events")
        constraints = [
            models.UniqueConstraint(fields=["position"], name="shop_feedevent_one_per_position"),
            models.UniqueConstraint(fields=["event_id"], name="shop_feedevent_one_per_event_id"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"


class FeedState(models.Model):
    """The one row of the feed: its lock admits one sequencer at a time.

    Positions up to `last_position` are given; those up to `swept_position` were deleted after the retention.
    `gaps` has, of each restore of a backup, the first and the last position that it left out, because cursors
    of readers may still name them, and its instant in milliseconds.
    """

    last_position = models.BigIntegerField(_("last position"), default=0)
    swept_position = models.BigIntegerField(_("swept position"), default=0)
    gaps = models.JSONField(_("gaps"), default=list)

    class Meta:
        verbose_name, verbose_name_plural = _("state of the event feed"), _("states of the event feed")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(swept_position__gte=0)
                & models.Q(swept_position__lte=models.F("last_position")),
                name="shop_feedstate_sweeps_given_positions",
            ),
        ]

    def __str__(self) -> str:
        return gettext("position %(last)d") % {"last": self.last_position}

    @property
    def generation(self) -> int:
        """Which feed its positions are of: the last restore's instant in milliseconds; 0 without one."""
        return int(self.gaps[-1][2]) if self.gaps else 0
