"""The admin of sagas: read-only, except that operators can act on unfinished ones."""

from functools import partial
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.text import capfirst
from django.utils.translation import gettext, gettext_lazy as _
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from foundation import journal
from foundation.admin_base.actions import Action, ActionForm, FormData, button
from foundation.admin_base.display import instant_text, link, status_label
from foundation.admin_base.lists import (
    EVERYTHING,
    ReadOnlyInline,
    RecordsAdmin,
    choice_filter,
    column,
    key_column,
    parse_uuid,
    plain_column,
)
from foundation.admin_base.status_words import status_word
from foundation.approval_models import Approval
from foundation.lazy_texts import Text
from foundation.models import JournalLine
from foundation.operations import dispatch
from orders import order_numbers, selectors, tasks
from orders.admin import situations
from orders.models import Order, Refund, Saga, SagaLog
from orders.saga import operator_actions
from orders.saga.definitions import SAGA_TYPES, UNFINISHED
from orders.saga.operator_actions import LONGEST_REFERENCE, OperatorAction
from payments.models import Payment

OPERATE = ["orders.change_saga"]

NEEDS: dict[str, Any] = {
    "operator": (capfirst(operator_actions.NEEDS_OPERATOR), selectors.filter_needing_operator),
    "unfinished": (_("Unfinished"), Q(next_attempt_at__isnull=False)),
    EVERYTHING: (_("All"), Q()),
}
STATES = {
    state.value: (
        state.label,
        Q(state=state, next_attempt_at__isnull=False) if state in UNFINISHED else Q(state=state),
    )
    for state in Saga.State
}
"""The index on the next attempt finds the unfinished sagas."""
# Django's own filters would read the tables for them.
KINDS = {name: (status_word(name), Q(kind=name)) for name in sorted(SAGA_TYPES)}
STEPS = {
    name: (status_word(name), Q(step=name))
    for name in sorted({step.name for type in SAGA_TYPES.values() for step in type.steps})
}


class CompleteForm(ActionForm):
    """The reason, and the other system's id of what was done there."""

    reference = forms.CharField(
        label=_("Reference"),
        required=False,
        max_length=LONGEST_REFERENCE,
        widget=UnfoldAdminTextInputWidget,
        help_text=operator_actions.REFERENCE_HELP,
    )
    field_order = ["reason", "reference"]


class SagaLogInline(ReadOnlyInline):
    model = SagaLog
    fields = ["at", "shown_step", "direction", "event", "attempt", "shown_detail", "reference"]
    readonly_fields = ["shown_step", "shown_detail"]
    ordering = ["at", "id"]
    # What is shown as its title would be the step's code again.
    classes = ["collapse"]
    verbose_name_plural = _("Technical details")

    shown_step = plain_column("step", _("step"))
    shown_detail = plain_column("detail", _("detail"))


def _kind(saga: Saga) -> str:
    """The kind in words; one of another release as it is."""
    shown = selectors.shown_kind(saga)
    return status_word(shown) if saga.kind in SAGA_TYPES else shown


def _is_unfinished(request: HttpRequest, saga: Saga) -> bool:
    return not saga.ended_at and saga.kind in SAGA_TYPES


@admin.register(Saga)
class SagaAdmin(RecordsAdmin):
    """Sagas are read-only; the buttons on an unfinished one call `operator_actions`."""

    list_display = ["about", "shown_state", "step", "deadline_at", "attempts", "shown_error"]
    exported = ["shown_kind", "order_key", "shown_state", "step", "deadline_at", "attempts", "last_error"]
    list_filter = [
        choice_filter(_("need of an operator"), "needs", NEEDS, opened_with=lambda: "operator"),
        choice_filter(_("kind"), "kind", KINDS),
        choice_filter(_("state"), "state__exact", STATES),
    ]
    # No index supports these choices of states.
    unindexed_filters = {f"state__exact={state}" for state in Saga.State if state not in UNFINISHED}
    list_filter_sheet = False
    search_fields = ["id"]
    search_help_text = _("The id of a saga, payment, refund or order")
    fieldsets = [
        (
            None,
            {
                "fields": [
                    "shown_kind",
                    "order",
                    "subject_id",
                    "shown_state",
                    "step",
                    "attempts",
                    "last_error",
                ]
            },
        ),
        (_("Why it is compensated"), {"fields": ["failure_code", "failure_detail"]}),
        (_("Operators"), {"fields": ["operators"]}),
        (_("Times"), {"fields": ["created_at", "deadline_at", "next_attempt_at", "ended_at"]}),
        (_("Worker"), {"fields": ["lease_token", "leased_until", "open_call", "request_id", "traceparent"]}),
    ]
    readonly_fields = ["shown_kind", "order", "shown_state", "step", "operators"]
    inlines = [SagaLogInline]
    technical = [
        *("subject_id", "last_error", "failure_code", "failure_detail", "lease_token", "leased_until"),
        *("open_call", "request_id", "traceparent"),
    ]
    actions_detail = ["retry", "compensate", "complete"]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Saga]":
        numbers = Order.objects.filter(pk=OuterRef("about_id")).values("number")
        found = super().get_queryset(request).annotate(order_number=Subquery(numbers))
        return selectors.with_final_lines(found)

    def search(self, rows: "QuerySet[Saga]", term: str) -> "QuerySet[Saga]":
        """The saga of an id, or those of a payment, of a refund, or of all of an order, by index."""
        id = parse_uuid(term)
        if id is None:
            return rows.none()
        subjects = [id]
        for model in (Payment, Refund):
            subjects += model.objects.filter(order_id=id).values_list("id", flat=True)
        return rows.filter(Q(pk=id) | Q(kind__in=SAGA_TYPES, subject_id__in=subjects))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """The situation comes first, with its one button; all others stand in the folded part."""
        saga: Saga | None = kwargs.get("obj")
        if saga is not None:
            may_see = request.user.has_perm("payments.view_payment")
            context |= {
                "title": situations.title(saga),
                "situation": situations.read(saga) if may_see else None,
                "acts": context.pop("actions_detail", ()),
                "saga": saga,
            }
        return super().render_change_form(request, context, *args, **kwargs)

    about = column(_("saga"), lambda saga: f"{_kind(saga)} {order_numbers.shown(saga.order_number)}")
    order_key = key_column("about_id", _("order"))
    shown_error = plain_column("last_error", _("last error"))
    shown_kind = column(_("kind"), _kind)
    shown_state = column(_("state"), lambda saga: status_label(saga.state))

    @display(description=_("current step"))
    def step(self, saga: Saga) -> str:
        step = selectors.step_name(saga)
        return status_word(operator_actions.position(saga.direction, step)) if step else ""

    order = column(
        _("order"),
        lambda saga: (
            link(
                order_numbers.shown(saga.order_number) or gettext("Open"),
                "admin:orders_order_change",
                saga.about_id,
            )
            if saga.about_id
            else ""
        ),
    )

    @display(description=_("operator actions"))
    def operators(self, saga: Saga) -> str:
        """The operators' actions on the saga, with name, time and reason."""
        subject = f"{saga.kind} {saga.subject_id}"
        lines = JournalLine.objects.filter(subject=subject, what__startswith="saga.").order_by("id")
        rows = ((instant_text(line.at), line.actor_name, line.what, line.detail) for line in lines)
        return format_html_join("", "<div>{} {}: {}, “{}”</div>", rows)

    @button(description=_("Go on from here"), icon="refresh", permissions=OPERATE, is_useful=_is_unfinished)
    def retry(self, request: HttpRequest, saga: Saga) -> Action:
        return _forcing(request, saga, operator_actions.RETRY)

    @button(description=_("Undo all steps"), icon="undo", permissions=OPERATE, is_useful=_is_unfinished)
    def compensate(self, request: HttpRequest, saga: Saga) -> Action:
        return _forcing(request, saga, operator_actions.COMPENSATE)

    @button(
        description=_("Record this step as done"), icon="check", permissions=OPERATE, is_useful=_is_unfinished
    )
    def complete(self, request: HttpRequest, saga: Saga) -> Action:
        return _forcing(request, saga, operator_actions.COMPLETE, form_class=CompleteForm)


def _forcing(request: HttpRequest, saga: Saga, action: OperatorAction, **look: Any) -> Action:
    """The action that is called with the form's values, named by the outcome whose button led here."""
    outcome = situations.OUTCOMES.get(request.GET.get("outcome", ""))
    name: Text = outcome.button if outcome and outcome.button else action.title

    def perform(data: FormData) -> Saga | Approval:
        arguments = {name: value for name, value in data.items() if name != "form_id"}
        return action.act(saga_id=saga.id, by=journal.current_actor(), **arguments)

    return Action(
        title=name,
        description=action.description,
        submit=name,
        perform=perform,
        then=partial(dispatch.enqueue_shared, tasks.advance),
        report=lambda done: gettext("Recorded: %(next)s") % {"next": operator_actions.next_action(done)},
        **look,
    )


@admin.register(SagaLog)
class SagaLogAdmin(RecordsAdmin):
    list_display = ["at", "shown_step", "direction", "event", "attempt", "shown_detail"]
    exported = ["at", "saga_key", "step", "direction", "event", "attempt", "detail"]
    technical = ["saga", "step", "reference", "detail"]
    list_filter = [choice_filter(_("step"), "step", STEPS), "direction", "event"]
    unindexed_filters = {"step", "direction__exact", "event__exact"}
    search_fields = ["saga_id"]
    search_help_text = _("The id of a saga")

    saga_key = key_column("saga_id", _("saga id"))
    shown_step = plain_column("step", _("step"))
    shown_detail = plain_column("detail", _("detail"))
