"""The admin of sagas: read-only, except that operators can act on unfinished ones."""

from functools import partial
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.translation import gettext, gettext_lazy as _
from unfold.widgets import UnfoldAdminTextInputWidget

from foundation import journal
from foundation.admin_base.actions import Action, ActionForm, button, calling
from foundation.admin_base.display import Context, link, status_label
from foundation.admin_base.lists import (
    EVERYTHING,
    ReadOnlyInline,
    RecordsAdmin,
    choice_filter,
    code_filter,
    column,
    key_column,
    parse_uuid,
    plain_column,
)
from foundation.admin_base.status_words import status_word
from foundation.lazy_texts import Text
from foundation.models import JournalLine
from foundation.operations import dispatch
from orders import order_numbers, selectors, tasks
from orders.admin import situations
from orders.models import Order, Refund, Saga, SagaLog
from orders.saga import operator_actions
from orders.saga.definitions import SAGA_TYPES
from orders.saga.operator_actions import LONGEST_REFERENCE, OperatorAction
from payments.models import Payment

OPERATE = ["orders.change_saga"]

NEEDS: Any = {
    "operator": (_("Stuck"), selectors.filter_needing_operator),
    "unfinished": (_("Unfinished"), Q(next_attempt_at__isnull=False)),
    EVERYTHING: (_("All"), Q()),
}
STEPS = {step.name for type in SAGA_TYPES.values() for step in type.steps}


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
    verbose_name_plural = _("Log of its steps")

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

    subjects = ()
    nothing = _("Nothing is stuck.")
    list_display = ["about", "shown_state", "deadline_at", "attempts", "shown_error"]
    exported = ["shown_kind", "order_key", "shown_state", "deadline_at", "attempts", "last_error"]
    list_filter = [choice_filter(_("needs staff"), "needs", NEEDS, opened_with=lambda: "operator")]
    list_filter_sheet = False
    search_fields = ["id"]
    search_help_text = _("The id of a saga, payment, refund or order")
    fields = [
        *("shown_kind", "order", "shown_state", "attempts", "created_at", "deadline_at"),
        *("next_attempt_at", "ended_at", "subject_id", "last_error", "failure_code", "failure_detail"),
        *("lease_token", "leased_until", "open_call", "request_id", "traceparent"),
    ]
    inlines = [SagaLogInline]
    actions_detail = ["retry", "compensate", "complete"]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """In no fold of their own: the template has all of them in one."""
        return super().get_fieldsets(request)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Saga]":
        numbers = Order.objects.filter(pk=OuterRef("about_id")).values("number")
        found = super().get_queryset(request).annotate(order_number=Subquery(numbers))
        return selectors.with_final_lines(found)

    def row_title(self, row: Saga) -> str:
        return situations.title(row)

    def journal_lines(self, row: Saga) -> "QuerySet[JournalLine]":
        return JournalLine.objects.filter(subject=f"{row.kind} {row.subject_id}")

    def search(self, rows: "QuerySet[Saga]", term: str) -> "QuerySet[Saga]":
        """The saga of an id, or those of a payment, of a refund, or of all of an order, by index."""
        id = parse_uuid(term)
        if id is None:
            return rows.none()
        subjects = [id]
        for model in (Payment, Refund):
            subjects += model.objects.filter(order_id=id).values_list("id", flat=True)
        return rows.filter(Q(pk=id) | Q(kind__in=SAGA_TYPES, subject_id__in=subjects))

    def add_context(self, request: HttpRequest, row: Saga, context: Context) -> None:
        """The situation comes first, with its one button; all others stand in the folded part."""
        may_see = request.user.has_perm("payments.view_payment")
        context |= {
            "title": situations.title(row),
            "crumb": situations.title(row),
            "situation": situations.read(row) if may_see else None,
            "acts": context.pop("actions_detail", ()),
            "saga": row,
        }

    about = column(_("what"), situations.title)
    order_key = key_column("about_id", _("order"))
    shown_error = column(_("why it waits"), situations.why_late)
    shown_kind = column(_("kind"), _kind)
    shown_state = column(
        _("state"),
        lambda saga: status_label(
            "stuck" if not saga.ended_at and selectors.late_since(saga) else saga.state
        ),
    )

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
    return Action(
        title=name,
        description=action.description,
        submit=name,
        perform=calling(action.act, saga_id=saga.id, by=journal.current_actor()),
        then=partial(dispatch.enqueue_shared, tasks.advance),
        report=lambda done: gettext("Done: %(next)s") % {"next": operator_actions.next_action(done)},
        **look,
    )


@admin.register(SagaLog)
class SagaLogAdmin(RecordsAdmin):
    list_display = ["at", "shown_step", "direction", "event", "attempt", "shown_detail"]
    exported = ["at", "saga_id", "step", "direction", "event", "attempt", "detail"]
    technical = ["saga", "step", "reference", "detail"]
    list_filter = [code_filter(_("step"), "step", STEPS), "direction", "event"]
    unindexed_filters = {"step", "direction__exact", "event__exact"}
    search_fields = ["saga_id"]
    search_help_text = _("The id of a saga")

    shown_step = SagaLogInline.shown_step
    shown_detail = SagaLogInline.shown_detail
