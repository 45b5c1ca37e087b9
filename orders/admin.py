"""Orders and sagas as operators see them: everything is read, nothing is edited by hand."""

from django.contrib import admin
from unfold.admin import ModelAdmin, TabularInline

from orders.models import Order, OrderLine, Refund, RefundLine, Saga, SagaLog
from shop.operators import ReadOnly


class OrderLineInline(ReadOnly, TabularInline):
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


class RefundInline(ReadOnly, TabularInline):
    model = Refund
    fields = ["id", "status", "amount", "points_amount", "card_amount", "reason", "created_at"]
    ordering = ["id"]
    show_change_link = True


class RefundLineInline(ReadOnly, TabularInline):
    model = RefundLine
    fields = ["line", "quantity", "amount"]


class SagaLogInline(ReadOnly, TabularInline):
    model = SagaLog
    fields = ["at", "step", "direction", "event", "attempt", "detail", "reference"]
    ordering = ["at", "id"]


@admin.register(Order)
class OrderAdmin(ReadOnly, ModelAdmin):
    list_display = ["id", "account", "status", "total_amount", "points_amount", "card_amount", "placed_at"]
    list_filter = ["status"]
    list_select_related = ["account"]
    search_fields = ["id", "account__username", "coupon_code"]
    ordering = ["-id"]
    inlines = [OrderLineInline, RefundInline]
    show_full_result_count = False


@admin.register(OrderLine)
class OrderLineAdmin(ReadOnly, ModelAdmin):
    list_display = ["order", "sku", "name", "quantity", "line_amount"]
    search_fields = ["sku", "order__id"]
    ordering = ["-id"]
    show_full_result_count = False


@admin.register(Refund)
class RefundAdmin(ReadOnly, ModelAdmin):
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
class RefundLineAdmin(ReadOnly, ModelAdmin):
    list_display = ["refund", "line", "quantity", "amount"]
    list_select_related = ["line"]
    search_fields = ["refund__id", "line__sku"]
    ordering = ["-id"]
    show_full_result_count = False


@admin.register(Saga)
class SagaAdmin(ReadOnly, ModelAdmin):
    list_display = ["id", "kind", "subject_id", "state", "direction", "attempts", "last_error", "created_at"]
    list_filter = ["state", "kind", "direction"]
    search_fields = ["id", "subject_id"]
    ordering = ["-id"]
    inlines = [SagaLogInline]
    show_full_result_count = False


@admin.register(SagaLog)
class SagaLogAdmin(ReadOnly, ModelAdmin):
    list_display = ["at", "saga", "step", "direction", "event", "attempt", "detail"]
    list_filter = ["step", "direction", "event"]
    search_fields = ["saga__id"]
    ordering = ["-id"]
    show_full_result_count = False
