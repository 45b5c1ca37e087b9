"""The admin of refunds and their lines: read-only."""

from uuid import UUID

from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display

from orders.models import Refund, RefundLine
from shop.admin_site import ReadOnlyMixin
from shop.operators.lists import ExactSearchMixin, PrefetchedListMixin, ReadOnlyInline


class RefundLineInline(ReadOnlyInline):
    model = RefundLine
    fields = ["line", "quantity", "amount"]


@admin.register(Refund)
class RefundAdmin(ExactSearchMixin, PrefetchedListMixin, ReadOnlyMixin, ModelAdmin):
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
    search_fields = uuid_fields = ["id", "order_id"]
    search_help_text = _("The id of a refund or of an order")
    ordering = ["-id"]
    inlines = [RefundLineInline]

    @display(description=_("order id"), ordering="order_id")
    def order_key(self, row: Refund) -> UUID:
        """Not the column `order_id`: Django does not translate the name of such a one."""
        return row.order_id


@admin.register(RefundLine)
class RefundLineAdmin(ExactSearchMixin, PrefetchedListMixin, ReadOnlyMixin, ModelAdmin):
    list_display = ["refund_key", "line", "quantity", "amount"]
    list_prefetch_related = ["line"]
    search_fields = uuid_fields = ["refund_id"]
    search_help_text = _("The id of a refund")
    ordering = ["-id"]

    @display(description=_("refund id"), ordering="refund_id")
    def refund_key(self, row: RefundLine) -> UUID:
        """Not the column `refund_id`: Django does not translate the name of such a one."""
        return row.refund_id
