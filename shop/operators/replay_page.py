"""Replaying dead events: a page for those that match a filter, and an action for selected ones.

Another action sends any selected events again.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextInputWidget

from shop import form_fields
from shop.errors import FirstcomeError
from shop.events import dead_events, requeuing
from shop.events.dead_events import MOST_REPLAYED, EventFilter
from shop.models import JournalLine
from shop.operators import selected_rows
from shop.operators.forms import reason_field
from shop.operators.selected_rows import SelectedAction

QueueAgain = Callable[..., Sequence[Any]]
"""Queues the events of these lines, for a reason, and returns those that it queued."""
PAGE = "admin:shop_journalline_replay_events"
TEMPLATE = "admin/shop/journalline/replay.html"
MOST_SHOWN = 50
NAMES = ("type", "since", "before", "order")


class FilterForm(forms.Form):
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

    def filter(self) -> EventFilter:
        data = self.cleaned_data
        return EventFilter(
            what=data["type"].strip(), since=data["since"], before=data["before"], order_id=data["order"]
        )


class ReplayForm(FilterForm):
    """The filter that was shown, and why its events are replayed."""

    reason = reason_field()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in NAMES:
            self.fields[name].widget = forms.HiddenInput()


def serve(pages: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """GET shows how many match the filter in the address; POST replays the oldest of them."""
    if request.method == "POST":
        form = ReplayForm(request.POST)
        if form.is_valid():
            return _replay(request, form)
        return _render(pages, request, FilterForm(request.POST), form)
    given = FilterForm(request.GET)
    return _render(pages, request, given, ReplayForm(initial={name: request.GET.get(name) for name in NAMES}))


def replay_selected(
    pages: ModelAdmin, request: HttpRequest, selected: "QuerySet[JournalLine]"
) -> HttpResponse | None:
    """Ask for the reason, then replay those of the selected events that are dead."""
    action = SelectedAction(
        name="replay",
        title=_selected_title,
        description=_("Receivers get them again, with the same ids. Lines that are no dead events are left."),
        submit=_("Replay"),
        note=lambda line: "" if line.delivery == dead_events.DEAD else gettext("not a dead event: left"),
        perform=partial(_queue_rows, request, dead_events.replay),
    )
    return selected_rows.run(pages, request, selected, action)


def resend_selected(
    pages: ModelAdmin, request: HttpRequest, selected: "QuerySet[JournalLine]"
) -> HttpResponse | None:
    """Ask for the reason, then send the selected events to the data platform again, delivered ones too."""
    action = SelectedAction(
        name="resend",
        title=_resend_title,
        description=_("Receivers get them again, with the same ids. Lines that are no events are left."),
        submit=_("Send again"),
        note=lambda line: "" if line.delivery else gettext("not an event of the data platform: left"),
        perform=partial(_queue_rows, request, requeuing.resend),
    )
    return selected_rows.run(pages, request, selected, action)


def _resend_title(count: int) -> str:
    title = ngettext("Send %(count)s event again", "Send %(count)s events again", count)
    return title % {"count": count}


def _selected_title(count: int) -> str:
    title = ngettext("Replay %(count)s event", "Replay %(count)s events", count)
    return title % {"count": count}


def _queue_rows(
    request: HttpRequest, queue_again: QueueAgain, rows: Sequence[JournalLine], reason: str
) -> None:
    try:
        queued = queue_again([line.pk for line in rows], reason=reason)
    except FirstcomeError as error:
        messages.error(request, error.detail)
        return
    text = gettext("%(count)s queued again: they are delivered within seconds.") % {"count": len(queued)}
    messages.add_message(request, messages.SUCCESS if queued else messages.WARNING, text)


def _replay(request: HttpRequest, form: ReplayForm) -> HttpResponse:
    """Replay at most `MOST_REPLAYED`, and show what is left: a repeat finds those that are still dead."""
    matching = form.filter()
    query = {name: form.data[name] for name in NAMES if form.data.get(name)}
    page = f"{reverse(PAGE)}?{urlencode(query)}" if query else PAGE
    progress: list[int] = []
    try:
        dead_events.replay_matching(matching, reason=form.cleaned_data["reason"], progress=progress.append)
    except FirstcomeError as error:
        before = gettext("%(count)s were queued again before that.") % {"count": sum(progress)}
        messages.error(request, f"{error.detail} {before}")
        return redirect(page)
    replayed, left = sum(progress), sum(dead_events.counts_by_type(matching).values())
    text = gettext("%(count)s queued again: they are delivered within seconds.") % {"count": replayed}
    if left:
        more = gettext("%(left)s are still dead: replay again for the next %(next)s.")
        text += " " + more % {"left": left, "next": min(left, MOST_REPLAYED)}
    messages.add_message(request, messages.SUCCESS if replayed else messages.WARNING, text)
    return redirect(page)


def _render(pages: ModelAdmin, request: HttpRequest, given: FilterForm, replay: ReplayForm) -> HttpResponse:
    matching = given.filter() if given.is_valid() else None
    counts = dead_events.counts_by_type(matching) if matching else {}
    total = sum(counts.values())
    context = {
        "title": gettext("Replay dead events"),
        "opts": pages.opts,
        "filter": given,
        "form": replay,
        "is_valid": matching is not None,
        "counts": counts,
        "total": total,
        "at_once": min(total, MOST_REPLAYED),
        "oldest": matching.lines()[:MOST_SHOWN] if matching else [],
        "show_back_button": True,
    }
    return TemplateResponse(request, TEMPLATE, pages.admin_site.each_context(request) | context)
