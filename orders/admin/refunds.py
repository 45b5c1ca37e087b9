"""The admin of refunds and their lines: read-only."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from orders.models import Refund, RefundLine
from shop.operators.lists import ReadOnlyInline, RecordsAdmin, key_column


class RefundLineInline(ReadOnlyInline):
    model = RefundLine
    fields = ["line", "quantity", "amount"]


@admin.register(Refund)
class RefundAdmin(RecordsAdmin):
    list_display = [
        "id",
        "order_key",
        "status",
        "amount",
        "points_amount",
        "card_amount",
        "restock",
        "source",
        "created_at",
    ]
    list_filter = ["status", "restock", "source"]
    search_fields = ["id", "order_id"]
    search_help_text = _("The id of a refund or of an order")
    inlines = [RefundLineInline]

    order_key = key_column("order_id", _("order id"))


@admin.register(RefundLine)
class RefundLineAdmin(RecordsAdmin):
    list_display = ["refund_key", "line", "quantity", "amount"]
    list_prefetch_related = ["line"]
    search_fields = ["refund_id"]
    search_help_text = _("The id of a refund")

    refund_key = key_column("refund_id", _("refund id"))
