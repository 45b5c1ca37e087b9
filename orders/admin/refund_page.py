"""The page that refunds an order: which units, then the amount, then the refund of exactly what was shown."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldBooleanSwitchWidget,
)

from inventory.reservations import Line
from orders import schemas, tasks
from orders.models import Order, OrderLine
from orders.payment import refunding
from orders.payment.refunding import RefundPreview, StartedRefund
from shop import form_fields
from shop.errors import FirstcomeError, KeyReused
from shop.idempotency.recorded_answers import Replay
from shop.operations import dispatch
from shop.operators.actions import SENT_WITH_OTHER_VALUES
from shop.operators.display import amount
from shop.operators.forms import SENT_BEFORE, FormIdField, keyed_call, reason_field

TEMPLATE = "admin/orders/order/refund.html"
REASON_HELP = _("Why, in 255 characters at most. The customer sees it, and the journal keeps it.")
ALL, SOME = "all", "some"


class RefundForm(forms.Form):
    """Which units of the order are refunded, and why: a field `units_<line>` for each line."""

    what = forms.ChoiceField(
        choices=[(ALL, _("All that is left")), (SOME, _("These units:"))],
        initial=ALL,
        widget=UnfoldAdminRadioSelectWidget,
        label=_("What to refund"),
    )
    reason = reason_field(REASON_HELP)
    restock = forms.BooleanField(
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget,
        label=_("Put the goods back in stock"),
    )

    def __init__(self, lines: Sequence[OrderLine], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lines = lines
        for line in lines:
            left = line.quantity - line.refunded_quantity
            self.fields[_units_field(line)] = form_fields.WholeNumberField(
                # The domain refuses more than is left: it knows what was refunded meanwhile.
                required=False,
                min_value=0,
                max_value=line.quantity,
                initial=0,
                label=gettext("Units of %(sku)s, of %(left)s left") % {"sku": line.sku, "left": left},
                widget=UnfoldAdminIntegerFieldWidget(attrs={"min": 0, "max": left}),
            )

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if not self.errors and data["what"] == SOME and not self._units():
            raise forms.ValidationError(gettext("Enter the units of one product at least."))
        if not self.errors and data["what"] == ALL and self._units():
            text = gettext("Either choose “These units:”, or enter 0 units to refund all that is left.")
            raise forms.ValidationError(text)
        return data

    def wanted(self) -> list[Line] | None:
        """The units to refund, for the domain; None for all that is left."""
        if self.cleaned_data["what"] == ALL:
            return None
        return [Line(product_id=product_id, quantity=count) for product_id, count in self._units().items()]

    def rows(self) -> list[dict[str, Any]]:
        """Each line with its field."""
        return [{"line": line, "field": self[_units_field(line)]} for line in self.lines]

    def _units(self) -> dict[int, int]:
        counts = {line.product_id: self.cleaned_data.get(_units_field(line)) or 0 for line in self.lines}
        return {product_id: count for product_id, count in counts.items() if count}


class ConfirmForm(RefundForm):
    """The same, with what was shown: the amounts, the units that they are for, and those refunded before."""

    amount = form_fields.WholeNumberField(min_value=0, widget=forms.HiddenInput)
    points_amount = form_fields.WholeNumberField(min_value=0, widget=forms.HiddenInput)
    card_amount = form_fields.WholeNumberField(min_value=0, widget=forms.HiddenInput)
    form_id = FormIdField()

    def __init__(self, lines: Sequence[OrderLine], *args: Any, **kwargs: Any) -> None:
        super().__init__(lines, *args, **kwargs)
        for line in lines:
            for name in (_shown_field(line), _refunded_field(line)):
                self.fields[name] = form_fields.WholeNumberField(min_value=0)
        for field in self.fields.values():
            field.widget = forms.HiddenInput()

    def expected(self) -> RefundPreview:
        data = self.cleaned_data
        shown = [line for line in self.lines if data[_shown_field(line)]]
        return RefundPreview(
            quantities={line.product_id: data[_shown_field(line)] for line in shown},
            refunded_quantities={line.product_id: data[_refunded_field(line)] for line in shown},
            amount=data["amount"],
            points_amount=data["points_amount"],
            card_amount=data["card_amount"],
        )


def serve(pages: ModelAdmin, request: HttpRequest, order: Order) -> HttpResponse:
    """GET the form, POST it for the amount (`preview`), POST that to refund it (`confirm`)."""
    lines = list(OrderLine.objects.filter(order_id=order.pk).order_by("id"))
    if request.method != "POST":
        return _render(pages, request, order, RefundForm(lines))
    if "confirm" in request.POST:
        return _confirm(pages, request, order, lines)
    form = RefundForm(lines, request.POST)
    if "preview" not in request.POST or not form.is_valid():
        return _render(pages, request, order, form)
    return _show_amount(pages, request, order, form)


def _confirm(
    pages: ModelAdmin, request: HttpRequest, order: Order, lines: Sequence[OrderLine]
) -> HttpResponse:
    """Refund what was shown; if the order has changed, show the new amount instead."""
    form = ConfirmForm(lines, request.POST)
    if not form.is_valid():
        for problem in form.errors.get("form_id", ()):
            messages.error(request, str(problem))
        return _render(pages, request, order, RefundForm(lines, request.POST))
    try:
        outcome = _refund(request, order.pk, form)
    except KeyReused:
        messages.error(request, SENT_WITH_OTHER_VALUES)
        return redirect("admin:orders_order_change", order.pk)
    except FirstcomeError as error:
        messages.error(request, _in_words(error, lines))
        # Asked again after a refusal, the amount is that of the order as it is now.
        return _show_amount(pages, request, order, form)
    if isinstance(outcome, Replay):
        messages.info(request, SENT_BEFORE)
    else:
        dispatch.enqueue_batched(tasks.advance, str(outcome.saga_id))
        messages.success(request, _done(outcome, order.currency))
    return redirect("admin:orders_order_change", order.pk)


def _refund(request: HttpRequest, order_id: UUID, form: ConfirmForm) -> StartedRefund | Replay:
    data, wanted = form.cleaned_data, form.wanted()
    # Without the amounts: after a lost answer the form is shown with those of the order as it is now.
    meaning = (str(order_id), wanted, data["reason"], data["restock"])
    call = keyed_call(request, "refund", data["form_id"], meaning, answer=schemas.refund_answer)
    return refunding.start_refund(
        order_id=order_id,
        wanted=wanted,
        reason=data["reason"],
        restock=data["restock"],
        keyed=call,
        expected=form.expected(),
    )


def _show_amount(pages: ModelAdmin, request: HttpRequest, order: Order, form: RefundForm) -> HttpResponse:
    """The amount, with a form that carries it; the first form again if nothing can be refunded.

    A confirmation keeps its id: it may have had its effect, though its answer was lost.
    """
    lines = list(OrderLine.objects.filter(order_id=order.pk).order_by("id"))
    try:
        preview = refunding.preview_refund(order_id=order.pk, wanted=form.wanted())
    except FirstcomeError as error:
        if "preview" in request.POST:
            messages.error(request, _in_words(error, lines))
        return _render(pages, request, order, RefundForm(lines, request.POST))
    shown = {_shown_field(line): preview.quantities.get(line.product_id, 0) for line in lines}
    shown |= {_refunded_field(line): preview.refunded_quantities.get(line.product_id, 0) for line in lines}
    carried = [*RefundForm(lines).fields, "form_id"]
    given = {name: form.cleaned_data[name] for name in carried if name in form.cleaned_data}
    amounts = {
        "amount": preview.amount,
        "points_amount": preview.points_amount,
        "card_amount": preview.card_amount,
    }
    confirm = ConfirmForm(lines, initial=given | shown | amounts)
    return _render(pages, request, order, confirm, preview=preview, reason=given["reason"])


def _render(
    pages: ModelAdmin,
    request: HttpRequest,
    order: Order,
    form: RefundForm,
    *,
    preview: RefundPreview | None = None,
    reason: object = "",
) -> HttpResponse:
    context = {
        "title": gettext("Refund order %(id)s") % {"id": order.pk},
        "opts": pages.opts,
        "original": order,
        "order": order,
        "form": form,
        "left": _left(order),
        "preview": preview and _shown(preview, form.lines, order.currency),
        "reason": reason,
        "restock": form["restock"].value(),
        "show_back_button": True,
    }
    return TemplateResponse(request, TEMPLATE, pages.admin_site.each_context(request) | context)


def _left(order: Order) -> str:
    """The amount of all that is left, or why nothing is."""
    try:
        preview = refunding.preview_refund(order_id=order.pk, wanted=None)
    except FirstcomeError as error:
        return str(error.detail)
    return gettext("All that is left is %(amount)s.") % {"amount": amount(preview.amount, order.currency)}


def _shown(preview: RefundPreview, lines: Sequence[OrderLine], currency: str) -> dict[str, Any]:
    return {
        "amount": amount(preview.amount, currency),
        "points": amount(preview.points_amount, currency),
        "card": amount(preview.card_amount, currency),
        "lines": [
            {
                "sku": line.sku,
                "name": line.name,
                "quantity": preview.quantities[line.product_id],
                "amount": amount(preview.line_amounts[line.product_id], currency),
            }
            for line in lines
            if line.product_id in preview.quantities
        ],
    }


def _done(started: StartedRefund, currency: str) -> str:
    refund = started.refund
    return gettext(
        "The refund of %(amount)s has started: %(points)s in points, %(card)s by card. This page shows "
        "how far it is."
    ) % {
        "amount": amount(refund.amount, currency),
        "points": amount(refund.points_amount),
        "card": amount(refund.card_amount),
    }


def _in_words(error: FirstcomeError, lines: Sequence[OrderLine]) -> str:
    """The refusal, with the units that are left of each product that it names."""
    names = {line.product_id: line.sku for line in lines}
    short = [
        gettext("%(requested)s × %(product)s requested, %(left)s left")
        % {
            "requested": item["requested"],
            "product": names.get(item["product"], item["product"]),
            "left": item["refundable"],
        }
        for item in error.extra.get("items", ())
    ]
    return " ".join([str(error.detail), *([f"{'; '.join(short)}."] if short else [])])


def _units_field(line: OrderLine) -> str:
    return f"units_{line.pk}"


def _shown_field(line: OrderLine) -> str:
    return f"shown_{line.pk}"


def _refunded_field(line: OrderLine) -> str:
    return f"refunded_{line.pk}"
