"""The admin of sagas: read-only, except that operators can act on unfinished ones."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display

from orders import tasks
from orders.admin import saga_parts
from orders.models import Refund, Saga, SagaLog
from orders.saga import operator_actions, operator_texts, status
from orders.saga.definitions import SAGA_TYPES
from payments.models import Payment
from shop.admin_site import ReadOnlyMixin
from shop.approval_models import Approval
from shop.errors import FirstcomeError
from shop.events import journal
from shop.http.keyset_pages import KeysetPaginator
from shop.operations import dispatch
from shop.operators.display import status_label
from shop.operators.forms import ReasonDialog, reload_page
from shop.operators.lists import ExactSearchMixin, PrefetchedListMixin, SearchMixin, parse_uuid

# Checked by `has_operate_permission`. A codename here would be looked up before the tables exist.
OPERATE = ["operate"]


class SagaLogInline(ReadOnlyMixin, TabularInline):
    model = SagaLog
    fields = ["at", "step", "direction", "event", "attempt", "detail", "reference"]
    ordering = ["at", "id"]


class KindFilter(admin.SimpleListFilter):
    """The saga types; Django's own filter would read the table for them."""

    title, parameter_name = _("kind"), "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in sorted(SAGA_TYPES)]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Saga]") -> "QuerySet[Saga]":
        return queryset.filter(kind=self.value()) if self.value() else queryset


@admin.register(Saga)
class SagaAdmin(SearchMixin, ReadOnlyMixin, ModelAdmin):
    """Sagas are read-only; the buttons on an unfinished one call `operator_actions`."""

    list_display = ["id", "kind", "order", "shown_state", "step", "deadline_at", "attempts", "last_error"]
    list_filter = [saga_parts.NeedsOperatorFilter, KindFilter, saga_parts.StateFilter]
    unindexed_filters = saga_parts.ENDED_STATES
    list_filter_sheet = False
    search_fields = ["id"]
    search_help_text = _("The id of a saga, payment, refund or order")
    ordering = ["-id"]
    paginator = KeysetPaginator
    fieldsets = [
        (None, {"fields": ["kind", "order", "subject_id", "shown_state", "step", "attempts", "last_error"]}),
        (_("Why it is compensated"), {"fields": ["failure_code", "failure_detail"]}),
        (_("Operators"), {"fields": ["operators"]}),
        (_("Times"), {"fields": ["created_at", "deadline_at", "next_attempt_at", "ended_at"]}),
        (_("Worker"), {"fields": ["lease_token", "leased_until", "open_call", "request_id", "traceparent"]}),
    ]
    readonly_fields = ["order", "shown_state", "step", "operators"]
    inlines = [SagaLogInline]
    actions_detail = ["retry", "compensate", "complete"]
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Saga]":
        return status.with_final_lines(super().get_queryset(request))

    def search(self, rows: "QuerySet[Saga]", term: str) -> "QuerySet[Saga]":
        """The saga of an id, or those of a payment, of a refund, or of all of an order, by index."""
        id = parse_uuid(term)
        if id is None:
            return rows.none()
        subjects = [id]
        for model in (Payment, Refund):
            subjects += model.objects.filter(order_id=id).values_list("id", flat=True)
        return rows.filter(Q(pk=id) | Q(kind__in=SAGA_TYPES, subject_id__in=subjects))

    def has_operate_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return request.user.has_perm("orders.change_saga")

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """A saga that has ended has no buttons."""
        saga = self.get_object(request, object_id)
        return [] if saga is None or saga.ended_at else super().get_actions_detail(request, object_id)

    @display(description=_("state"))
    def shown_state(self, saga: Saga) -> str:
        return status_label(saga.state)

    @display(description=_("current step"))
    def step(self, saga: Saga) -> str:
        return saga_parts.current_step_text(saga)

    @display(description=_("order"))
    def order(self, saga: Saga) -> str:
        return saga_parts.order_link(saga)

    @display(description=_("operator actions"))
    def operators(self, saga: Saga) -> str:
        return saga_parts.operator_actions_list(saga)

    @action(description=_("Retry"), icon="refresh", permissions=OPERATE, dialog=saga_parts.RETRY)
    def retry(self, request: HttpRequest, form: ReasonDialog, object_id: str) -> HttpResponse:
        return self._operate(request, operator_actions.retry, object_id, form)

    @action(description=_("Compensate"), icon="undo", permissions=OPERATE, dialog=saga_parts.COMPENSATE)
    def compensate(self, request: HttpRequest, form: ReasonDialog, object_id: str) -> HttpResponse:
        return self._operate(request, operator_actions.force_compensate, object_id, form)

    @action(description=_("Complete"), icon="check", permissions=OPERATE, dialog=saga_parts.COMPLETE)
    def complete(self, request: HttpRequest, form: ReasonDialog, object_id: str) -> HttpResponse:
        return self._operate(request, operator_actions.force_complete, object_id, form)

    def _operate(
        self,
        request: HttpRequest,
        operate: Callable[..., Saga | Approval],
        object_id: str,
        form: ReasonDialog,
    ) -> HttpResponse:
        """Run the action with the form's values, and show the result on the saga's page."""
        saga = self.get_object(request, object_id)
        if saga is None:
            raise Http404
        arguments = {name: form.cleaned_data[name] for name in form.fields if name in ("reason", "reference")}
        try:
            done = operate(saga_id=saga.id, by=journal.current_actor(), **arguments)
        except FirstcomeError as error:
            self.message_user(request, error.detail, level=messages.ERROR)
        else:
            dispatch.enqueue(tasks.advance, str(saga.id))
            text = gettext("Recorded: %(next)s") % {"next": operator_texts.next_action(done)}
            self.message_user(request, text)
        return reload_page("admin:orders_saga_change", object_id)


class StepFilter(admin.SimpleListFilter):
    """The steps of all saga types; Django's own filter would read every row for them."""

    title, parameter_name = _("step"), "step"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = {step.name for type in SAGA_TYPES.values() for step in type.steps}
        return [(name, name) for name in sorted(names)]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[SagaLog]") -> "QuerySet[SagaLog]":
        return queryset.filter(step=self.value()) if self.value() else queryset


@admin.register(SagaLog)
class SagaLogAdmin(ExactSearchMixin, PrefetchedListMixin, ReadOnlyMixin, ModelAdmin):
    list_display = ["at", "saga_key", "step", "direction", "event", "attempt", "detail"]
    list_filter = [StepFilter, "direction", "event"]
    unindexed_filters = {"step", "direction__exact", "event__exact"}
    search_fields = uuid_fields = ["saga_id"]
    search_help_text = _("The id of a saga")
    ordering = ["-id"]
    paginator = KeysetPaginator
    show_full_result_count = False

    @display(description=_("saga id"), ordering="saga_id")
    def saga_key(self, row: SagaLog) -> UUID:
        """Not the column `saga_id`: Django does not translate the name of such a one."""
        return row.saga_id
