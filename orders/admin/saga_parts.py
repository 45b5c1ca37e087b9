"""Parts of the admin's saga pages: the filter, the forms of the actions, links and lists."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.dataclasses import ActionDialog
from unfold.widgets import UnfoldAdminTextInputWidget

from orders.models import Saga
from orders.saga import operator_texts, status
from orders.saga.operator_actions import LONGEST_REFERENCE
from shop.models import JournalLine
from shop.operators.forms import ReasonDialog
from shop.operators.lists import PreselectingFilter

UNFINISHED = {Saga.State.RUNNING, Saga.State.STUCK}
ENDED_STATES = {f"state__exact={state}" for state in Saga.State if state not in UNFINISHED}
"""The choices of `StateFilter` that no index supports."""


class NeedsOperatorFilter(PreselectingFilter):
    """Shows the sagas that need an operator by default, and all sagas once a search or filter is used."""

    title = _("need of an operator")
    parameter_name = "needs"
    everything = "everything"

    def initial_choice(self) -> str:
        return "operator"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("operator", str(operator_texts.NEEDS_OPERATOR).capitalize()),
            ("unfinished", gettext("Unfinished")),
            ("everything", gettext("All")),
        ]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Saga]") -> "QuerySet[Saga]":
        if self.value() == "operator":
            return status.filter_needing_operator(queryset)
        if self.value() == "unfinished":
            return queryset.filter(next_attempt_at__isnull=False)
        return queryset


class StateFilter(admin.SimpleListFilter):
    """The states; those of unfinished sagas are found by the index on the next attempt."""

    title, parameter_name = _("state"), "state__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.value, str(state.label)) for state in Saga.State]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Saga]") -> "QuerySet[Saga]":
        state = self.value()
        if state in UNFINISHED:
            return queryset.filter(state=state, next_attempt_at__isnull=False)
        return queryset.filter(state=state) if state else queryset


class CompleteForm(ReasonDialog):
    """The reason, and the other system's id of what was done there."""

    reference = forms.CharField(
        label=_("Reference"),
        required=False,
        max_length=LONGEST_REFERENCE,
        widget=UnfoldAdminTextInputWidget,
        help_text=operator_texts.REFERENCE_HELP,
    )


RETRY = ActionDialog(
    title=operator_texts.RETRY.title,
    description=operator_texts.RETRY.description,
    form_class=ReasonDialog,
    form_submit_text=_("Retry"),
)
COMPENSATE = ActionDialog(
    title=operator_texts.COMPENSATE.title,
    description=operator_texts.COMPENSATE.description,
    form_class=ReasonDialog,
    form_submit_text=_("Compensate"),
)
COMPLETE = ActionDialog(
    title=operator_texts.COMPLETE.title,
    description=operator_texts.COMPLETE.description,
    form_class=CompleteForm,
    form_submit_text=_("Complete"),
)


def current_step_text(saga: Saga) -> str:
    """The current step of a saga read by `status.with_final_lines`; empty once it has ended."""
    step = status.next_step(saga)
    return operator_texts.position(saga.direction, step.name) if step else ""


def order_link(saga: Saga) -> SafeString | str:
    """A link to the saga's order."""
    if saga.about_id is None:
        return ""
    page = reverse("admin:orders_order_change", args=[saga.about_id])
    return format_html('<a href="{}" class="underline">{}</a>', page, saga.about_id)


def operator_actions_list(saga: Saga) -> SafeString:
    """The operators' actions on the saga, with name, time and reason."""
    lines = JournalLine.objects.filter(
        subject=f"{saga.kind} {saga.subject_id}", what__startswith="saga."
    ).order_by("id")
    rows = ((f"{line.at:%Y-%m-%d %H:%M:%S}", line.actor_name, line.what, line.detail) for line in lines)
    return format_html_join("", "<div>{} {}: {}, “{}”</div>", rows)
