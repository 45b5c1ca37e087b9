"""Admin pages of idempotency keys, transactions, laws and the journal."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext, gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminSelectWidget

from foundation import literals
from foundation.admin_base import history
from foundation.admin_base.classes import ReadOnlyMixin
from foundation.admin_base.display import actor_text, instant_text, status_label
from foundation.admin_base.lists import (
    EVERYTHING,
    DaysFilter,
    RecordsAdmin,
    WordFilter,
    choice_filter,
    column,
)
from foundation.http import keyset_pages
from foundation.journal import Actor
from foundation.models import CommittedTransaction, IdempotencyKey, JournalLine, LawStatus
from foundation.operations.audits import laws


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(RecordsAdmin):
    list_display = ["id", "account", "status", "created_at"]
    exported = ["account", "status", "reference", "created_at"]
    technical = ["reference", "key_hash", "fingerprint", "body", "headers"]
    list_filter = ["created_at"]
    ordering_of_filters = {"created_at__gte": ["-created_at", "-id"]}
    list_prefetch_related = ["account"]
    search_fields = ["account__username"]
    search_help_text = _("An account's name")


@admin.register(CommittedTransaction)
class CommittedTransactionAdmin(RecordsAdmin):
    """Marks of the last day's transactions that must be committed once."""

    list_display = ["at"]
    list_filter = ["at"]
    search_fields = ["id"]
    ordering = ["-at"]


@admin.register(LawStatus)
class LawStatusAdmin(ReadOnlyMixin, ModelAdmin):
    """The laws, as the scheduled audit last found them."""

    list_display = ["law", "says", "answer", "since", "checked_at", "full_at", "not_checked"]
    list_filter = ["holds"]
    ordering = ["holds", "law"]
    fields = ["law", "says", "answer", "since", "offender_list", "checked_at", "full_at"]
    fields += ["checked", "took", "not_checked"]

    answer = column(_("answer"), lambda status: status_label("holds" if status.holds else "broken"))

    says = column(_("says"), lambda status: gettext(laws.LAWS[status.law]) if status.law in laws.LAWS else "")
    offender_list = column(
        _("offenders"),
        lambda status: (
            format_html_join(mark_safe("<br>"), "{}", ([one] for one in status.offenders)) or gettext("none")
        ),
    )


JournalLines = QuerySet[JournalLine]
FEW_LINES = 1_000
"""As many as can be sorted for a page."""


class ActorFilter(WordFilter):
    """An account by its name or number; an unknown name is matched against the OS users of commands."""

    title = _("Actor: name or number of an account")
    parameter_name = "by"

    def narrow(self, request: HttpRequest, lines: JournalLines, word: str) -> JournalLines:
        named = User.objects.filter(username=User.normalize_username(word)).first()
        if named:
            return lines.filter(actor_id=named.pk)
        if User.objects.filter(pk=(id := literals.row_number(word) or 0)).exists():
            return lines.filter(actor_id=id)
        text = gettext(
            "No account has the name or number “%(word)s”. The list shows commands that an OS user of this "
            "name ran on a server."
        )
        messages.warning(request, text % {"word": word})
        keyset_pages.mark_unindexed(request)
        return lines.filter(actor=Actor.STAFF, actor_id=None, actor_name=word)


class WhatFilter(WordFilter):
    """What happened, chosen from a list; an address may have a prefix, `product.` for all of products.

    The lines of a name are sorted by their index. Those of a prefix have to be sorted, if they are few.
    """

    title = _("What happened")
    parameter_name = "happened"

    def choices(self, changelist: Any) -> Iterator[Any]:
        known = dict(history.choices())
        used = self.value() or ""
        listed = [("", gettext("All")), *known.items(), *([(used, used)] if used not in known else [])]
        form = forms.Form({self.parameter_name: used})
        form.fields[self.parameter_name] = forms.ChoiceField(
            choices=listed, required=False, label=self.title, widget=UnfoldAdminSelectWidget
        )
        yield {"form": form}

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


ACTOR_KINDS: Any = {
    kind.value: (kind.label, Q(actor=kind)) for kind in (Actor.STAFF, Actor.SYSTEM, Actor.ACCOUNT, Actor.ANON)
} | {EVERYTHING: (_("All"), Q())}


@admin.register(JournalLine)
class JournalLineAdmin(RecordsAdmin):
    """The journal, newest first, with what staff did. It is large, so all filters use indexes."""

    list_display = ["moment", "shown_what", "shown_subject", "actor_label", "shown_detail"]
    exported = ["at", "what", "subject", "actor_label", "order_id", "detail"]
    technical = ["what", "subject", "reference", "request_id", "traceparent"]
    list_filter = [
        ActorFilter,
        WhatFilter,
        ("at", DaysFilter),
        choice_filter(_("who"), "actor__exact", ACTOR_KINDS, opened_with=lambda: Actor.STAFF.value),
    ]
    unindexed_filters = {"actor__exact"}
    ordering_of_filters = dict.fromkeys(["at_from", "at_to"], ("-at", "-id"))
    list_filter_submit = True
    list_before_template = "admin_base/chips.html"
    search_fields = ["order_id", "subject"]
    search_help_text = _("An order's number, an account, or a product, campaign or sale by its name")

    moment = column(_("at"), lambda line: instant_text(line.at))
    actor_label = column(_("by"), actor_text)
    shown_what = column(_("what"), lambda line: history.happened_text(line.what))
    shown_subject = column(_("about"), lambda line: getattr(line, "about", line.subject))
    shown_detail = column(_("detail"), history.reason_text)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        found = super().get_changelist_instance(request)
        lines = history.name_actors(request, getattr(found, "result_list", ()))
        history.name_subjects(request, lines)
        found.chips = list(found.filter_specs[-1].choices(found))
        return found

    def row_title(self, row: JournalLine) -> str:
        return history.happened_text(row.what)

    def get_search_results(
        self, request: HttpRequest, rows: JournalLines, search_term: str
    ) -> tuple[JournalLines, bool]:
        """What is asked for of an order is all of it. A term that the journal doesn't have names rows."""
        term = search_term.strip().removeprefix("order ")
        found, _is_repeated = super().get_search_results(request, rows, term)
        if not found.query.is_empty():
            return found, False
        subjects = [one for find in history.FIND_SUBJECTS for one in find(request, term)]
        orders = [one.removeprefix("order ") for one in subjects if one.startswith("order ")]
        return rows.filter(**({"order_id__in": orders} if orders else {"subject__in": subjects})), False
