"""The admin of orders, refunds and their lines: the page of an order, and what operators may do with it."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext, gettext_lazy as _
from unfold.enums import ActionVariant

from coupons.models import Coupon
from events.webhooks import deliveries
from orders import cancellation, order_states, selectors
from orders.admin import order_page, refund_page
from orders.models import Order, OrderLine, Refund, RefundLine
from orders.payment import refunding
from shop.admin_base import actions
from shop.admin_base.actions import Action, button
from shop.admin_base.classes import SalesReportLinkMixin
from shop.admin_base.display import status_label
from shop.admin_base.lists import ReadOnlyInline, RecordsAdmin, choice_filter, column, key_column

# Unpaid orders that should have expired and still hold stock; the journal has the reason.
OVERDUE = {
    "overdue": (_("Overdue: unpaid and not expired"), lambda rows: rows.filter(cancellation.is_overdue()))
}


@admin.register(Order)
class OrderAdmin(SalesReportLinkMixin, RecordsAdmin):
    """Orders are read-only; the buttons call the domain functions that the API calls."""

    list_display = [
        "id",
        "account",
        "shown_status",
        "total_amount",
        "points_amount",
        "card_amount",
        "placed_at",
        "expires_at",
    ]
    list_filter = ["status", choice_filter(_("expiry"), "expiry", OVERDUE)]
    linked_lookups = ["account__id__exact"]
    list_prefetch_related = ["account"]
    search_fields = ["id", "account__username"]
    search_help_text = _("An order's id, a coupon's code, or an account's name")
    # Its own template shows everything: a form with all fields would only repeat it.
    fields = ["id"]
    actions_detail = ["refund", "cancel", "resend_events"]

    shown_status = column(_("status"), lambda order: status_label(order.status), ordering="status")

    def search(self, rows: "QuerySet[Order]", term: str) -> "QuerySet[Order]":
        """The order that holds a coupon, one order, or the orders of an account, all by index."""
        holders = Coupon.objects.filter(code=term, order__isnull=False)
        if order_id := holders.values_list("order_id", flat=True).first():
            return rows.filter(pk=order_id)
        return super().search(rows, term)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        order: Order | None = kwargs.get("obj")
        if order is not None:
            context |= {
                "order_page": order_page.read(order, request),
                "order": order,
                "title": gettext("Order %(id)s") % {"id": order.pk},
            }
        return super().render_change_form(request, context, *args, **kwargs)

    # The domain refuses what the buttons don't offer all the same.
    @button(
        description=_("Refund"),
        icon="undo",
        permissions=["orders.add_refund"],
        variant=ActionVariant.PRIMARY,
        is_useful=lambda request, order: order.status in refunding.REFUNDABLE,
    )
    def refund(self, request: HttpRequest, order: Order) -> Action:
        return refund_page.refund(order)

    @button(
        description=_("Cancel"),
        icon="block",
        permissions=["orders.change_order"],
        is_useful=lambda request, order: (
            order.status == Order.Status.AWAITING_PAYMENT and not order_states.is_lapsed(order)
        ),
    )
    def cancel(self, request: HttpRequest, order: Order) -> Action:
        return Action(
            title=_("Cancel this order"),
            description=_(
                "It can't be undone: the stock and the coupon that the order holds are released at once, and "
                "its customer can't pay it any more."
            ),
            submit=_("Cancel the order"),
            perform=lambda data: cancellation.cancel(
                order_id=order.pk, account_id=None, reason=data["reason"]
            ),
            report=lambda _: gettext("The order is cancelled: what it held is released."),
            back=actions.page_of(order),
            is_dangerous=True,
        )

    @button(
        description=_("Replay events"),
        icon="send",
        permissions=["shop.change_journalline"],
        is_useful=lambda request, order: order.status in (*order_states.PAID, Order.Status.CANCELLED),
    )
    def resend_events(self, request: HttpRequest, order: Order) -> Action:
        queued = _("%(count)s queued: they are delivered within seconds, in sequence.")
        return Action(
            title=_("Replay the events of this order"),
            description=_(
                "All its events go to the data platform again, in sequence and with the same ids: a receiver "
                "that knows them already drops them."
            ),
            submit=_("Replay"),
            perform=lambda data: deliveries.resend_order(
                order_id=order.pk,
                reason=data["reason"],
                settled_refunds=selectors.count_settled_refunds(order.pk),
            ),
            report=lambda count: queued % {"count": count},
            once=f"resend events of {order.pk}",
            back=actions.page_of(order),
        )


@admin.register(OrderLine)
class OrderLineAdmin(RecordsAdmin):
    list_display = ["order_key", "sku", "name", "quantity", "line_amount"]
    search_fields = ["order_id", "product__sku"]
    search_help_text = _("The id of an order, or a product's SKU")

    order_key = key_column("order_id", _("order id"))


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
