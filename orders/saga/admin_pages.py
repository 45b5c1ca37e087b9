"""Parts of the operators' pages of sagas: which are shown first, what an operator is asked, what is told."""

from typing import Any

from django import forms
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.dataclasses import ActionDialog
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from orders.models import Saga
from orders.saga import status
from orders.saga.operator_actions import LONGEST_REASON, LONGEST_REFERENCE
from shop.models import JournalLine

STATE_COLOURS = {"running": "info", "stuck": "danger", "done": "success", "compensated": "warning"}


class NeedsOperator(SimpleListFilter):
    """Whoever opens the list sees what needs them; whoever looks for something looks everywhere."""

    title = "need of an operator"
    parameter_name = "needs"

    def __init__(self, request: HttpRequest, *arguments: Any) -> None:
        # Pages and sorting are no search.
        self.default = "everything" if request.GET.keys() - {"p", "o"} else "operator"
        super().__init__(request, *arguments)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("operator", "Stuck or late"), ("time", "Unfinished"), ("everything", "All")]

    def value(self) -> str:
        return super().value() or self.default

    def choices(self, changelist: Any) -> Any:
        """As usual, but without another "All"."""
        for lookup, title in self.lookup_choices:
            query = changelist.get_query_string({self.parameter_name: lookup})
            yield {"selected": self.value() == lookup, "query_string": query, "display": title}

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Saga]") -> "QuerySet[Saga]":
        if self.value() == "operator":
            return status.needing_operator(queryset)
        if self.value() == "time":
            return queryset.filter(next_attempt_at__isnull=False)
        return queryset


class ReasonForm(BaseDialogForm):
    """Why an operator steps in."""

    reason = forms.CharField(
        max_length=LONGEST_REASON,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="Kept in the journal, with your name and the time; customers don't see it.",
    )


class CompleteForm(ReasonForm):
    """Why, and what the other system calls what was done there."""

    reference = forms.CharField(
        required=False,
        max_length=LONGEST_REFERENCE,
        widget=UnfoldAdminTextInputWidget,
        help_text="The gateway's own id. A charge needs one.",
    )


RETRY = ActionDialog(
    title="Try it again now",
    description="It gets a new deadline, and goes on in the direction it has.",
    form_class=ReasonForm,
    form_submit_text="Retry",
)
COMPENSATE = ActionDialog(
    title="Have it undone",
    description=(
        "What it holds is given back. If it is stuck while being undone at the gateway, you answer for it "
        "that nothing is charged there any more."
    ),
    form_class=ReasonForm,
    form_submit_text="Compensate",
)
COMPLETE = ActionDialog(
    title="Take its step as done",
    description=(
        "You answer for it that the other system did it: a charge or refund that you saw at the gateway, "
        "an event that the data platform has. The audit tells if that is wrong."
    ),
    form_class=CompleteForm,
    form_submit_text="Complete",
)


def current_step_text(saga: Saga) -> str:
    """The step that it is at, of a saga `status.with_final_lines`; nothing once it has ended."""
    step = status.next_step(saga)
    return f"{saga.direction} {step.name}" if step else ""


def order_link(saga: Saga) -> SafeString | str:
    """A link to the order that it is for."""
    if saga.about_id is None:
        return ""
    page = reverse("admin:orders_order_change", args=[saga.about_id])
    return format_html('<a href="{}" class="underline">{}</a>', page, saga.about_id)


def operator_actions_list(saga: Saga) -> SafeString:
    """Who stepped in, when and why."""
    lines = JournalLine.objects.filter(
        subject=f"{saga.kind} {saga.subject_id}", what__startswith="saga."
    ).order_by("id")
    rows = ((f"{line.at:%Y-%m-%d %H:%M:%S}", line.actor_name, line.what, line.detail) for line in lines)
    return format_html_join("", "<div>{} {}: {}, “{}”</div>", rows)
