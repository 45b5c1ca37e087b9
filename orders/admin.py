"""The admin of orders, refunds and sagas: read-only, except that operators can act on unfinished sagas."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display

from orders import cancellation, order_states, tasks
from orders.models import Order, OrderLine, Refund, RefundLine, Saga, SagaLog
from orders.saga import admin_pages, operator_actions, operator_texts, status
from orders.saga.admin_pages import ReasonForm
from shop.admin_site import ReadOnlyMixin
from shop.errors import FirstcomeError
from shop.events import journal
from shop.operations import dispatch

# Checked by `has_operate_permission`. A codename here would be looked up before the tables exist.
OPERATE = ["operate"]


class OrderLineInline(ReadOnlyMixin, TabularInline):
    model = OrderLine
    fields = [
        "sku",
        "name",
        "quantity",
        "unit_price",
        "line_amount",
        "discount_amount",
        "refunded_quantity",
    ]


class RefundInline(ReadOnlyMixin, TabularInline):
    model = Refund
    fields = ["id", "status", "amount", "points_amount", "card_amount", "reason", "created_at"]
    readonly_fields = ["id"]
    ordering = ["id"]
    show_change_link = True


class RefundLineInline(ReadOnlyMixin, TabularInline):
    model = RefundLine
    fields = ["line", "quantity", "amount"]


class SagaLogInline(ReadOnlyMixin, TabularInline):
    model = SagaLog
    fields = ["at", "step", "direction", "event", "attempt", "detail", "reference"]
    ordering = ["at", "id"]


class Overdue(admin.SimpleListFilter):
    """Filters unpaid orders that should have expired and still hold stock; the journal has the reason."""

    title = "expiry"
    parameter_name = "expiry"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("overdue", "Overdue: unpaid and not expired")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Order]") -> "QuerySet[Order]":
        return queryset.filter(cancellation.is_overdue()) if self.value() == "overdue" else queryset


@admin.register(Order)
class OrderAdmin(ReadOnlyMixin, ModelAdmin):
    list_display = [
        "id",
        "account",
        "status",
        "total_amount",
        "points_amount",
        "card_amount",
        "placed_at",
        "expires_at",
    ]
    readonly_fields = ["cannot_expire", "journal"]
    list_filter = ["status", Overdue]
    list_select_related = ["account"]
    search_fields = ["id", "account__username", "coupon_code"]
    ordering = ["-id"]
    inlines = [OrderLineInline, RefundInline]
    show_full_result_count = False

    @display(description="why it can't expire")
    def cannot_expire(self, order: Order) -> str:
        """The last recorded reason, for an unpaid order that should have expired."""
        line = cancellation.last_failure(order.pk) if order_states.is_lapsed(order) else None
        return f"{line.at:%Y-%m-%d %H:%M:%S} {line.detail}" if line else ""

    @display(description="journal")
    def journal(self, order: Order) -> str:
        page = reverse("admin:shop_journalline_changelist")
        return format_html('<a href="{}?q={}" class="underline">Journal of this order</a>', page, order.pk)


@admin.register(OrderLine)
class OrderLineAdmin(ReadOnlyMixin, ModelAdmin):
    list_display = ["order", "sku", "name", "quantity", "line_amount"]
    search_fields = ["sku", "order__id"]
    ordering = ["-id"]
    show_full_result_count = False


@admin.register(Refund)
class RefundAdmin(ReadOnlyMixin, ModelAdmin):
    list_display = [
        "id",
        "order",
        "status",
        "amount",
        "points_amount",
        "card_amount",
        "restock",
        "created_at",
    ]
    list_filter = ["status", "restock"]
    search_fields = ["id", "order__id", "reason"]
    ordering = ["-id"]
    inlines = [RefundLineInline]
    show_full_result_count = False


@admin.register(RefundLine)
class RefundLineAdmin(ReadOnlyMixin, ModelAdmin):
    list_display = ["refund", "line", "quantity", "amount"]
    list_select_related = ["line"]
    search_fields = ["refund__id", "line__sku"]
    ordering = ["-id"]
    show_full_result_count = False


@admin.register(Saga)
class SagaAdmin(ReadOnlyMixin, ModelAdmin):
    """Sagas are read-only; the buttons on an unfinished one call `operator_actions`."""

    list_display = ["id", "kind", "order", "shown_state", "step", "deadline_at", "attempts", "last_error"]
    list_filter = [admin_pages.NeedsOperator, "kind", "state"]
    list_filter_sheet = False
    search_fields = ["id", "subject_id", "about_id"]
    ordering = ["-id"]
    fieldsets = [
        (None, {"fields": ["kind", "order", "subject_id", "shown_state", "step", "attempts", "last_error"]}),
        ("Why it is compensated", {"fields": ["failure_code", "failure_detail"]}),
        ("Operators", {"fields": ["operators"]}),
        ("Times", {"fields": ["created_at", "deadline_at", "next_attempt_at", "ended_at"]}),
        ("Worker", {"fields": ["lease_token", "leased_until", "open_call", "request_id"]}),
    ]
    readonly_fields = ["order", "shown_state", "step", "operators"]
    inlines = [SagaLogInline]
    actions_detail = ["retry", "compensate", "complete"]
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Saga]":
        return status.with_final_lines(super().get_queryset(request))

    def has_operate_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return request.user.has_perm("orders.change_saga")

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """A saga that has ended has no buttons."""
        saga = self.get_object(request, object_id)
        return [] if saga is None or saga.ended_at else super().get_actions_detail(request, object_id)

    @display(description="state", label=admin_pages.STATE_COLOURS)
    def shown_state(self, saga: Saga) -> str:
        return saga.state

    @display(description="current step")
    def step(self, saga: Saga) -> str:
        return admin_pages.current_step_text(saga)

    @display(description="order")
    def order(self, saga: Saga) -> str:
        return admin_pages.order_link(saga)

    @display(description="operator actions")
    def operators(self, saga: Saga) -> str:
        return admin_pages.operator_actions_list(saga)

    @action(description="Retry", icon="refresh", permissions=OPERATE, dialog=admin_pages.RETRY)
    def retry(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._operate(request, operator_actions.retry, object_id, form)

    @action(description="Compensate", icon="undo", permissions=OPERATE, dialog=admin_pages.COMPENSATE)
    def compensate(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._operate(request, operator_actions.force_compensate, object_id, form)

    @action(description="Complete", icon="check", permissions=OPERATE, dialog=admin_pages.COMPLETE)
    def complete(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._operate(request, operator_actions.force_complete, object_id, form)

    def _operate(
        self, request: HttpRequest, operate: Callable[..., Saga], object_id: str, form: ReasonForm
    ) -> HttpResponse:
        """Run the action with the form's values, and show the result on the saga's page."""
        saga = self.get_object(request, object_id)
        if saga is None:
            raise Http404
        arguments = {name: form.cleaned_data[name] for name in form.fields if name in ("reason", "reference")}
        try:
            saga = operate(saga_id=saga.id, by=journal.current_actor(), **arguments)
        except FirstcomeError as error:
            self.message_user(request, error.detail, level=messages.ERROR)
        else:
            dispatch.enqueue(tasks.advance, str(saga.id))
            self.message_user(request, f"Recorded: {operator_texts.next_action(saga)}")
        # The dialog is part of the page: without the redirect it would load the whole page into itself.
        return HttpResponse(headers={"HX-Redirect": reverse("admin:orders_saga_change", args=[object_id])})


@admin.register(SagaLog)
class SagaLogAdmin(ReadOnlyMixin, ModelAdmin):
    list_display = ["at", "saga", "step", "direction", "event", "attempt", "detail"]
    list_filter = ["step", "direction", "event"]
    search_fields = ["saga__id"]
    ordering = ["-id"]
    show_full_result_count = False
