"""Replaying dead events: an action for those that match a filter, and one for selected ones.

Another action sends any selected events again.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext, ngettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextInputWidget

from shop import form_fields
from shop.errors import FirstcomeError, Rejected
from shop.events import replaying
from shop.events.replaying import MOST_REPLAYED, EventFilter
from shop.lazy_texts import mark
from shop.models import JournalLine
from shop.operators import actions
from shop.operators.actions import Action, ActionForm, ActionPreview

QueueAgain = Callable[..., Sequence[Any]]
"""Queues the events of these lines, for a reason, and returns those that it queued."""
MOST_SHOWN = 50
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
        help_text=_("When they happened, in UTC: 2026-11-21, or 2026-11-21 14:30."),
    )
    before = form_fields.DayOrInstantField(
        required=False,
        widget=UnfoldAdminTextInputWidget,
        label=_("Before"),
        help_text=_("A day or an instant, as above."),
    )
    order = forms.UUIDField(
        required=False,
        widget=UnfoldAdminTextInputWidget,
        label=_("Order"),
        help_text=_("The id of an order."),
    )
    field_order = [*NAMES, "reason"]

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if self.errors:
            return data
        what, since, before, order_id = (data[name] for name in NAMES)
        matching = EventFilter(what=what.strip(), since=since, before=before, order_id=order_id)
        return data | {"matching": matching}


def replay(request: HttpRequest) -> Action:
    """The action that replays the oldest of the events that match; the address may have the filter."""
    return Action(
        title=_("Replay dead events"),
        description=_(
            "They are queued again and delivered within seconds, with what waits behind them in their "
            "orders. Put right first why they were refused."
        ),
        submit=_("Replay"),
        form_class=ReplayForm,
        initial={name: request.GET.get(name) for name in NAMES},
        preview=lambda data: _preview(data["matching"]),
        perform=_replay,
        back=reverse("admin:shop_journalline_replay_events"),
    )


def replay_selected(request: HttpRequest, selected: "QuerySet[JournalLine]") -> HttpResponse | None:
    """Ask for the reason, then replay those of the selected events that are dead."""
    return actions.run_for_selected(
        request,
        selected,
        "replay",
        partial(_queue_rows, replaying.replay),
        title=ngettext_lazy("Replay %(count)s event", "Replay %(count)s events", "count"),
        description=_("Receivers get them again, with the same ids. Lines that are no dead events are left."),
        submit=_("Replay"),
        note=lambda line: "" if line.delivery == replaying.DEAD else gettext("not a dead event: left"),
    )


def resend_selected(request: HttpRequest, selected: "QuerySet[JournalLine]") -> HttpResponse | None:
    """Ask for the reason, then send the selected events to the data platform again, delivered ones too."""
    return actions.run_for_selected(
        request,
        selected,
        "resend",
        partial(_queue_rows, replaying.resend),
        title=ngettext_lazy("Send %(count)s event again", "Send %(count)s events again", "count"),
        description=_("Receivers get them again, with the same ids. Lines that are no events are left."),
        submit=_("Send again"),
        note=lambda line: "" if line.delivery else gettext("not an event of the data platform: left"),
    )


def _queue_rows(queue_again: QueueAgain, rows: Sequence[JournalLine], reason: str) -> str:
    return _queued_text(len(queue_again([line.pk for line in rows], reason=reason)))


def _queued_text(count: int) -> str:
    return gettext("%(count)s queued again: they are delivered within seconds.") % {"count": count}


def _preview(matching: EventFilter) -> ActionPreview:
    """The events of each type, and the oldest of them. Raises `Rejected` without any."""
    counts = replaying.counts_by_type(matching)
    total = sum(counts.values())
    if not total:
        raise Rejected(mark("Nothing to replay."))
    question = ngettext("Replay %(count)s dead event?", "Replay %(count)s dead events?", total)
    if total > MOST_REPLAYED:
        question = gettext("Replay the oldest %(most)s of %(count)s dead events?")
    oldest = matching.lines()[:MOST_SHOWN]
    return ActionPreview(
        question % {"count": total, "most": MOST_REPLAYED},
        facts=[(type, str(count)) for type, count in counts.items()],
        table={
            "headers": [
                gettext("At"),
                gettext("Type"),
                gettext("Subject"),
                gettext("Attempts"),
                gettext("Last answer"),
            ],
            "rows": [
                [f"{line.at:%Y-%m-%d %H:%M:%S}", line.what, line.subject, line.attempts, line.last_error]
                for line in oldest
            ],
        },
    )


def _replay(data: Mapping[str, Any]) -> str:
    """Replay at most `MOST_REPLAYED`, and say what is left: a repeat finds those that are still dead."""
    queued = 0
    try:
        for count in replaying.replay_matching(data["matching"], reason=data["reason"]):
            queued += count
    except FirstcomeError as error:
        before = gettext("%(count)s were queued again before that.") % {"count": queued}
        error.detail = f"{error.detail} {before}"
        raise
    text = _queued_text(queued)
    if left := sum(replaying.counts_by_type(data["matching"]).values()):
        more = gettext("%(left)s are still dead: replay again for the next %(next)s.")
        text += " " + more % {"left": left, "next": min(left, MOST_REPLAYED)}
    return text
