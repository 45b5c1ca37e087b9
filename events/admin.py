"""The operators' pages of the event feed, and of what is delivered to webhook endpoints."""

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy as _, ngettext
from unfold.widgets import UnfoldAdminTextInputWidget

from events.feed import runs
from events.feed.reading import READ_EVENTS
from events.models import FeedEvent, WebhookDelivery
from events.webhooks import deliveries, ranges
from events.webhooks.endpoints_admin import CHANGE_ENDPOINT  # registers its pages too
from foundation import form_fields
from foundation.admin_base.actions import (
    Action,
    ActionForm,
    ActionPreview,
    FormData,
    button,
    calling,
    list_action,
)
from foundation.admin_base.display import instant_text
from foundation.admin_base.lists import RecordsAdmin, column, plain_column
from foundation.admin_base.status_words import plain_text
from foundation.errors import FirstcomeError, Rejected

MOST_SHOWN = 50
MOST_SENT_AGAIN = 500
"""Events by one use of the list; a range has no more."""
NAMES = ["type", "since", "before", "order"]


class ReplayForm(ActionForm):
    """Which dead events. Empty fields choose all."""

    type = forms.CharField(
        required=False,
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        label=_("Type"),
        help_text=_("Such as order.paid, or order. for all events of orders."),
    )
    since = form_fields.DayOrInstantField(
        required=False,
        widget=UnfoldAdminTextInputWidget,
        label=_("Since"),
        help_text=_("When they happened, in the shop's time zone: 2026-11-21, or 2026-11-21 14:30."),
    )
    before = form_fields.DayOrInstantField(
        required=False,
        widget=UnfoldAdminTextInputWidget,
        label=_("Before"),
        help_text=_("A day or a time, as above."),
    )
    order = forms.UUIDField(
        required=False,
        widget=UnfoldAdminTextInputWidget,
        label=_("Order"),
        help_text=_("The id of an order."),
    )

    def check(self, data: FormData) -> FormData:
        type, since, before, order_id = (data[name] for name in NAMES)
        dead = deliveries.find_dead(type=type.strip(), since=since, before=before, order_id=order_id)
        return data | {"dead": dead}


def _preview(dead: "QuerySet[WebhookDelivery]") -> ActionPreview:
    """The events of each type, and the oldest of them. Raises `Rejected` without any."""
    counts = dict(sorted(dead.order_by().values_list("type").annotate(number=Count("pk"))))
    total = sum(counts.values())
    if not total:
        raise Rejected(gettext("Nothing matches, so nothing is sent again. Choose fewer conditions."))
    question = ngettext("Send %(count)s event again?", "Send %(count)s events again?", total)
    if total > deliveries.MOST_RESENT:
        question = gettext("Send the oldest %(most)s of %(count)s events again?")
    return ActionPreview(
        question % {"count": total, "most": deliveries.MOST_RESENT},
        facts=[(type, str(count)) for type, count in counts.items()],
        table={
            "headers": [
                gettext("At"),
                gettext("Type"),
                gettext("Order"),
                gettext("Attempts"),
                gettext("Last answer"),
            ],
            "rows": [
                [instant_text(row.created_at), row.type, row.order_id or "", row.attempts, row.error]
                for row in dead[:MOST_SHOWN]
            ],
        },
    )


def _replay(data: FormData) -> str:
    """Replay at most `MOST_RESENT`, and say what is left: a repeat finds those that are still dead."""
    ids = data["dead"].values_list("id", flat=True)[: deliveries.MOST_RESENT]
    queued = len(deliveries.resend_dead(list(ids), reason=data["reason"]))
    text = gettext("Events that are sent again: %(count)s. They arrive within seconds.") % {"count": queued}
    if left := data["dead"].count():
        more = gettext("Not delivered yet: %(left)s. Press the button again for the next %(next)s.")
        text += " " + more % {"left": left, "next": min(left, deliveries.MOST_RESENT)}
    return text


@admin.register(FeedEvent)
class FeedEventAdmin(RecordsAdmin):
    """The events that programs read, newest first. One without a position was committed a moment ago."""

    list_display = ["at", "shown_type", "feed_position"]
    exported = ["at", "type", "feed_position", "order_id", "event_id"]
    technical = ["type"]
    fields = ["type", "at", "feed_position", "event_id", "order_id", "data"]

    shown_type = plain_column("type", _("type"))
    feed_position = column(_("position"), attrgetter("feed_position"))

    def get_queryset(self, request: HttpRequest) -> "QuerySet[FeedEvent]":
        return runs.with_positions()


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(RecordsAdmin):
    """The log of deliveries, newest first; a range, with as many attempts as events, is a line."""

    list_display = ["created_at", "endpoint", "what", "shown_status", "attempts", "response_status", "error"]
    list_filter = ["status"]
    list_prefetch_related = ["endpoint"]
    linked_lookups = ["endpoint__exact"]
    fields = [
        "endpoint",
        "type",
        "event_id",
        "first_position",
        "position",
        "patterns",
        "status",
        "attempts",
        "response_status",
        "error",
        "created_at",
        "next_attempt_at",
        "refused_at",
        "delivered_at",
        "payload",
    ]
    technical = ["type", "patterns", "payload", "error"]
    search_fields = ["order_id"]
    search_help_text = _("An order's id")
    actions = ["resend"]
    actions_list = ["replay_events"]

    what = column(_("type"), lambda row: plain_text(row.type or str(row)))

    @list_action(description=_("Send the selected deliveries again"), permissions=["resend"])
    def resend(self, request: HttpRequest, rows: Sequence[WebhookDelivery]) -> Action:
        opened = list(chain.from_iterable(map(ranges.open_row, rows)))
        title = ngettext("Send %(count)s delivery again", "Send %(count)s deliveries again", len(opened))
        return Action(
            title=title % {"count": len(opened)},
            description=_("Each is sent at once. One that fails is tried again by itself."),
            submit=_("Send again"),
            perform=calling(self._resend_rows, request=request, rows=opened),
            rows=[(row, "") for row in rows],
        )

    def _resend_rows(self, request: HttpRequest, rows: Sequence[WebhookDelivery], reason: str) -> str:
        if len(rows) > MOST_SENT_AGAIN:
            text = gettext("Nothing was done: that is too many. Send at most %(most)s events at a time.")
            raise Rejected(text % {"most": MOST_SENT_AGAIN}, code="too_many_deliveries")
        sent = 0
        for row in rows:
            try:
                deliveries.resend(endpoint_id=row.endpoint_id, delivery_id=row.pk, reason=reason)
                sent += 1
            except FirstcomeError as error:
                messages.error(request, f"{row}: {error.detail}")
                if error.code == "endpoint_disabled":
                    break
        return gettext("Sent again: %(count)s.") % {"count": sent}

    def get_fields(self, request: HttpRequest, obj: WebhookDelivery | None = None) -> list[str]:
        """Without the event, unless the operator may read events."""
        is_reader = request.user.has_perm(READ_EVENTS)
        return [name for name in self.fields if name != "payload" or is_reader]

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(CHANGE_ENDPOINT)

    @button(
        description=_("Send undelivered events again"), icon="replay", permissions=["shop.change_journalline"]
    )
    def replay_events(self, request: HttpRequest) -> Action:
        """The oldest of those that match; the address may have the filter."""
        return Action(
            title=_("Send undelivered events again"),
            description=_(
                "The data platform gets them again within seconds, and later events of the same orders "
                "too. First find out why it refused them."
            ),
            submit=_("Send again"),
            form_class=ReplayForm,
            initial={name: request.GET.get(name) for name in NAMES},
            preview=lambda data: _preview(data["dead"]),
            perform=_replay,
            back=reverse("admin:events_webhookdelivery_replay_events"),
        )
