"""The journal's admin pages: its list, filters that have indexes, and actions that send its events again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy as _, ngettext, ngettext_lazy
from unfold.contrib.filters.admin import TextFilter
from unfold.widgets import UnfoldAdminTextInputWidget

from shop import form_fields, literals
from shop.accounts import accounts
from shop.errors import FirstcomeError, Rejected
from shop.events import replaying
from shop.events.journal import Actor
from shop.events.replaying import MOST_REPLAYED, EventFilter
from shop.http import keyset_pages
from shop.lazy_texts import mark
from shop.models import JournalLine
from shop.operators import actions
from shop.operators.actions import Action, ActionForm, ActionPreview, button
from shop.operators.display import actor_text, status_label
from shop.operators.lists import RecordsAdmin, choice_filter, column

JournalLines = QuerySet[JournalLine]
FEW_LINES = 1_000
"""As many as can be sorted for a page."""


class JournalTextFilter(TextFilter):
    """A text filter whose label is its title, without unfold's prefix."""

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:
        name = self.parameter_name
        yield {"form": self.form_class(name=name, label=self.title, data={name: self.value()})}

    def queryset(self, request: HttpRequest, lines: JournalLines) -> JournalLines:
        word = (self.value() or "").strip()
        return self.narrow(request, lines, word) if word else lines

    def narrow(self, request: HttpRequest, lines: JournalLines, word: str) -> JournalLines:
        """The lines that match the word, which is not empty."""
        raise NotImplementedError


class ActorFilter(JournalTextFilter):
    """An account by its name or number; an unknown name is matched against the OS users of commands."""

    title = _("Actor: name or number of an account")
    parameter_name = "by"

    def narrow(self, request: HttpRequest, lines: JournalLines, word: str) -> JournalLines:
        if account_id := accounts.find_id_by_username(word):
            return lines.filter(actor_id=account_id)
        is_number = word.isascii() and word.isdecimal() and len(word) < 19
        if is_number and User.objects.filter(pk=int(word)).exists():
            return lines.filter(actor_id=int(word))
        text = gettext(
            "No account has the name or number “%(word)s”. The list shows commands that an OS user of this "
            "name ran on a server."
        )
        messages.warning(request, text % {"word": word})
        keyset_pages.mark_unindexed(request)
        return lines.filter(actor=Actor.STAFF, actor_id=None, actor_name=word)


class WhatFilter(JournalTextFilter):
    """What happened: a whole name, or a prefix, `product.` for all changes of products.

    The lines of a name are sorted by their index. Those of a prefix have to be sorted, if they are few.
    """

    title = _("What happened: order.paid, or order. for everything about orders")
    parameter_name = "happened"

    def narrow(self, request: HttpRequest, lines: JournalLines, word: str) -> JournalLines:
        table = JournalLine.objects.using(lines.db)
        if table.filter(what=word).exists():
            return lines.filter(what=word)
        # Case matters to `startswith`, by which MariaDB uses no index of the column.
        begins = {"what__istartswith": word}
        few = table.filter(**begins).order_by("what", "id").values_list("pk")[: FEW_LINES + 1]
        if len(few) > FEW_LINES:
            keyset_pages.mark_unindexed(request)
        return lines.filter(**begins)


class SinceFilter(JournalTextFilter):
    """A day or an instant in UTC. Other text doesn't filter, and a message says so."""

    title = _("Since: 2026-11-21, or 2026-11-21 14:30 (UTC)")
    parameter_name = "since"
    lookup = "at__gte"

    def narrow(self, request: HttpRequest, lines: JournalLines, word: str) -> JournalLines:
        try:
            return lines.filter(**{self.lookup: literals.instant_in_utc(word)})
        except literals.NotOfTheForm:
            text = gettext("“%(word)s” is not a time and was ignored: write 2026-11-21 or 2026-11-21 14:30.")
            messages.warning(request, text % {"word": word})
            return lines


class BeforeFilter(SinceFilter):
    title = _("Before: a day or an instant, as above")
    parameter_name = "before"
    lookup = "at__lt"


ACTOR_KINDS = {kind.value: (kind.label, Q(actor=kind)) for kind in JournalLine.Actor}
DELIVERIES = {one.value: (one.label, Q(delivery=one)) for one in JournalLine.Delivery}


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


@admin.register(JournalLine)
class JournalLineAdmin(RecordsAdmin):
    """The journal, newest first. It is large, so all filters use indexes."""

    list_display = ["at", "what", "subject", "actor_label", "order_id", "delivery_status", "detail"]
    list_filter = [
        ActorFilter,
        WhatFilter,
        SinceFilter,
        BeforeFilter,
        choice_filter(_("kind of actor"), "actor__exact", ACTOR_KINDS),
        choice_filter(_("delivery of the event"), "delivery__exact", DELIVERIES),
    ]
    unindexed_filters = {"actor__exact"}
    ordering_of_filters = {"since": ["-at", "-id"], "before": ["-at", "-id"]}
    list_filter_submit = True
    search_fields = ["order_id", "subject"]
    search_help_text = _("An order's id, or a subject: product 7")
    actions = ["replay", "resend"]
    actions_list = ["replay_events"]

    actor_label = column(_("by"), actor_text)
    delivery_status = column(_("event"), lambda line: status_label(line.delivery) if line.delivery else "")

    @admin.action(description=_("Replay the selected dead events"), permissions=["replay"])
    def replay(self, request: HttpRequest, selected: "QuerySet[JournalLine]") -> HttpResponse | None:
        return actions.run_for_selected(
            request,
            selected,
            "replay",
            partial(_queue_rows, replaying.replay),
            title=ngettext_lazy("Replay %(count)s event", "Replay %(count)s events", "count"),
            description=_(
                "Receivers get them again, with the same ids. Lines that are no dead events are left."
            ),
            submit=_("Replay"),
            note=lambda line: "" if line.delivery == replaying.DEAD else gettext("not a dead event: left"),
        )

    @admin.action(description=_("Send the selected events again"), permissions=["replay"])
    def resend(self, request: HttpRequest, selected: "QuerySet[JournalLine]") -> HttpResponse | None:
        """To the data platform, delivered ones too."""
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

    @button(description=_("Replay dead events"), icon="replay", permissions=["replay"])
    def replay_events(self, request: HttpRequest) -> Action:
        """The oldest of those that match; the address may have the filter."""
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

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("shop.change_journalline")
