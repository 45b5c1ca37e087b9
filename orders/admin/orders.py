"""The admin of orders, refunds and their lines: the page of an order, and what operators may do with it.

A refund asks which units, then shows the amount, and then refunds exactly what was shown.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext, gettext_lazy as _
from pydantic import TypeAdapter, ValidationError
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldBooleanSwitchWidget,
)

from coupons.models import Coupon
from events.webhooks import deliveries
from foundation import clock, form_fields
from foundation.admin_base.actions import Action, ActionForm, ActionPreview, FormData, button
from foundation.admin_base.display import amount, status_label
from foundation.admin_base.forms import reason_field
from foundation.admin_base.lists import ReadOnlyInline, RecordsAdmin, choice_filter, column, key_column
from foundation.errors import FirstcomeError
from foundation.idempotency.recorded_answers import KeyedCall, Replay
from foundation.operations import dispatch
from inventory.availability import Line
from orders import cancellation, order_numbers, order_states, tasks
from orders.admin import order_page
from orders.models import Order, OrderLine, Refund, RefundLine
from orders.payment import refunding
from orders.payment.refunding import RefundPreview, StartedRefund

REASON_HELP = _("Why, in 255 characters at most. The customer sees it, and the journal keeps it.")
ALL = "all"
SOME = "some"
OWED = "owed"
SHOWN = TypeAdapter(RefundPreview)
NOTHING = RefundPreview({}, {}, amount=0, points_amount=0, card_amount=0)
# Unpaid orders that should have expired and still hold stock; the journal has the reason.
OVERDUE = {
    "overdue": (_("Overdue: unpaid and not expired"), lambda rows: rows.filter(cancellation.is_overdue()))
}


FOR_WHAT = [(ALL, _("All that is left")), (SOME, _("These units:"))]


class RefundForm(ActionForm):
    """Which units of the order are refunded, and why: a field `units_<line>` for each line. Or what is owed
    besides the units that are left, if something is.

    A hidden field carries what was shown.
    """

    what = forms.ChoiceField(
        choices=FOR_WHAT, initial=ALL, widget=UnfoldAdminRadioSelectWidget, label=_("What to refund")
    )
    restock = forms.BooleanField(
        required=False, initial=True, widget=UnfoldBooleanSwitchWidget, label=_("Put the goods back in stock")
    )
    reason = reason_field(REASON_HELP)
    shown = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, lines: Sequence[OrderLine], owed: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lines = lines
        what = self.fields["what"]
        if owed and isinstance(what, forms.ChoiceField):
            text = gettext("Only what is owed besides the units that are left: %(amount)s") % {"amount": owed}
            what.choices = [*FOR_WHAT, (OWED, text)]
        for line in lines:
            left = line.quantity - line.refunded_quantity
            self.fields[f"units_{line.pk}"] = form_fields.WholeNumberField(
                # The domain refuses more than is left: it knows what was refunded meanwhile.
                required=False,
                min_value=0,
                max_value=line.quantity,
                initial=0,
                label=gettext("Units of %(sku)s, of %(left)s left") % {"sku": line.sku, "left": left},
                help_text=line.name,
                widget=UnfoldAdminIntegerFieldWidget(attrs={"min": 0, "max": left}),
            )
        self.order_fields(["what", *(f"units_{line.pk}" for line in lines), "restock", "reason"])

    def check(self, data: FormData) -> FormData:
        counts = {line.product_id: data[f"units_{line.pk}"] or 0 for line in self.lines}
        units = [Line(product_id=id, quantity=count) for id, count in counts.items() if count]
        if data["what"] == SOME and not units:
            raise forms.ValidationError(gettext("Enter the units of one product at least."))
        if data["what"] != SOME and units:
            text = gettext("Either choose “These units:”, or enter 0 units to refund all that is left.")
            raise forms.ValidationError(text)
        return data | {"wanted": None if data["what"] == ALL else units}


@admin.register(Order)
class OrderAdmin(RecordsAdmin):
    """Orders are read-only; the buttons call the domain functions that the API calls."""

    list_display = [
        "id",
        "shown_number",
        "account",
        "shown_status",
        "total_amount",
        "points_amount",
        "card_amount",
        "placed_at",
        "expires_at",
    ]
    only_exported = ["metadata_text"]
    list_filter = ["status", choice_filter(_("expiry"), "expiry", OVERDUE)]
    linked_lookups = ["account__id__exact"]
    list_prefetch_related = ["account"]
    search_fields = ["id", "account__username"]
    search_help_text = _("An order's number or id, a coupon's code, or an account's name")
    # Its own template shows everything: a form with all fields would only repeat it.
    fields = ["id"]
    actions_detail = ["refund", "cancel", "resend_events"]

    shown_number = column(_("number"), lambda order: order_numbers.shown(order.number), ordering="number")
    shown_status = column(_("status"), lambda order: status_label(order.status), ordering="status")
    metadata_text = column(_("metadata"), lambda order: json.dumps(order.metadata or {}))

    def search(self, rows: "QuerySet[Order]", term: str) -> "QuerySet[Order]":
        """The order of a number, one that holds a coupon, or the orders of an account, all by index."""
        number = order_numbers.parse(term)
        if number and (order := rows.filter(number=number).first()):
            return rows.filter(pk=order.pk)
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
        is_useful=lambda request, order: order.status in order_states.REFUNDABLE,
    )
    def refund(self, request: HttpRequest, order: Order) -> Action:
        """Which units, then the amount, then the refund of exactly what was shown."""
        lines = list(order.lines.order_by("id"))

        def perform(data: FormData, keyed: KeyedCall) -> StartedRefund | Replay:
            with _naming_left_units(lines):
                return refunding.start_refund(
                    order_id=order.pk,
                    wanted=data["wanted"],
                    reason=data["reason"],
                    restock=data["restock"],
                    keyed=keyed,
                    expected=_expected(data["shown"]),
                )

        return Action(
            title=gettext("Refund order %(id)s") % {"id": order.pk},
            description=_left(order),
            submit=gettext("Refund"),
            form_class=partial(RefundForm, lines, _owed(order)),
            preview=partial(_preview, order, lines),
            perform_keyed=perform,
            then=partial(dispatch.enqueue_shared, tasks.advance),
            once=f"refund {order.pk}",
            report=partial(_done, order),
            is_dangerous=True,
        )

    @button(
        description=_("Cancel"),
        icon="block",
        permissions=["orders.change_order"],
        is_useful=lambda request, order: (
            order_states.status_at(order.status, order.expires_at, clock.now())
            == Order.Status.AWAITING_PAYMENT
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
            perform=lambda data: deliveries.resend_order(order_id=order.pk, reason=data["reason"]),
            report=lambda count: queued % {"count": count},
            once=f"resend events of {order.pk}",
        )


def _left(order: Order) -> str:
    """The amount of all that is left, or why nothing is."""
    try:
        preview = refunding.preview_refund(order_id=order.pk, wanted=None)
    except FirstcomeError as error:
        return str(error.detail)
    return gettext("All that is left is %(amount)s.") % {"amount": amount(preview.amount, order.currency)}


def _owed(order: Order) -> str:
    owed_amount = refunding.owed_amount(order) if order.status in order_states.REFUNDABLE else 0
    return amount(owed_amount, order.currency) if owed_amount else ""


def _preview(order: Order, lines: Sequence[OrderLine], data: FormData) -> ActionPreview:
    with _naming_left_units(lines):
        preview = refunding.preview_refund(order_id=order.pk, wanted=data["wanted"])
    quantities = preview.quantities
    currency = order.currency
    goods = gettext("are put back in stock") if data["restock"] else gettext("are not put back in stock")
    return ActionPreview(
        gettext("Refund %(amount)s?") % {"amount": amount(preview.amount, currency)},
        facts=[
            (gettext("In points"), amount(preview.points_amount, currency)),
            (gettext("By card"), amount(preview.card_amount, currency)),
            (gettext("Goods"), goods),
        ],
        warning=gettext("It can't be undone."),
        carried={"shown": SHOWN.dump_json(preview).decode()},
        table={
            "headers": [gettext("SKU"), gettext("Name"), gettext("Units"), gettext("Amount")],
            "rows": [
                [line.sku, line.name, quantities[id], amount(preview.line_amounts[id], currency)]
                for line in lines
                if (id := line.product_id) in quantities
            ],
        },
    )


def _expected(shown: str) -> RefundPreview:
    """What was shown. A form that doesn't say it was shown nothing, which is never what is refunded."""
    try:
        return SHOWN.validate_json(shown)
    except ValidationError:
        return NOTHING


def _done(order: Order, started: StartedRefund) -> str:
    refund = started.refund
    return gettext(
        "The refund of %(amount)s has started: %(points)s in points, %(card)s by card. This page shows "
        "how far it is."
    ) % {
        "amount": amount(refund.amount, order.currency),
        "points": amount(refund.points_amount),
        "card": amount(refund.card_amount),
    }


@contextmanager
def _naming_left_units(lines: Sequence[OrderLine]) -> Iterator[None]:
    """Have refusals say the units that are left of each product that they name."""
    names = {line.product_id: line.sku for line in lines}
    text = gettext("%(requested)s × %(product)s requested, %(left)s left")
    try:
        yield
    except FirstcomeError as error:
        if items := error.extra.get("items"):
            short = [
                text
                % {"requested": one["requested"], "product": names[one["product"]], "left": one["refundable"]}
                for one in items
            ]
            error.detail = f"{error.detail} {'; '.join(short)}."
        raise


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
