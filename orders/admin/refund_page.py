"""The page that refunds an order: which units, then the amount, then the refund of exactly what was shown."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from django import forms
from django.utils.translation import gettext, gettext_lazy as _
from pydantic import TypeAdapter, ValidationError
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldBooleanSwitchWidget,
)

from inventory.reservations import Line
from orders import tasks
from orders.models import Order, OrderLine
from orders.payment import refunding
from orders.payment.refunding import RefundPreview, StartedRefund
from shop import form_fields
from shop.admin_base import actions
from shop.admin_base.actions import Action, ActionForm, ActionPreview
from shop.admin_base.display import amount
from shop.admin_base.forms import reason_field
from shop.errors import FirstcomeError
from shop.idempotency.recorded_answers import KeyedCall, Replay
from shop.operations import dispatch

REASON_HELP = _("Why, in 255 characters at most. The customer sees it, and the journal keeps it.")
ALL, SOME = "all", "some"
SHOWN = TypeAdapter(RefundPreview)
NOTHING = RefundPreview({}, {}, amount=0, points_amount=0, card_amount=0)


class RefundForm(ActionForm):
    """Which units of the order are refunded, and why: a field `units_<line>` for each line.

    A hidden field carries what was shown.
    """

    what = forms.ChoiceField(
        choices=[(ALL, _("All that is left")), (SOME, _("These units:"))],
        initial=ALL,
        widget=UnfoldAdminRadioSelectWidget,
        label=_("What to refund"),
    )
    restock = forms.BooleanField(
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget,
        label=_("Put the goods back in stock"),
    )
    reason = reason_field(REASON_HELP)
    shown = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, lines: Sequence[OrderLine], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lines = lines
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

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if self.errors:
            return data
        counts = {line.product_id: data[f"units_{line.pk}"] or 0 for line in self.lines}
        units = [Line(product_id=id, quantity=count) for id, count in counts.items() if count]
        if data["what"] == SOME and not units:
            raise forms.ValidationError(gettext("Enter the units of one product at least."))
        if data["what"] == ALL and units:
            text = gettext("Either choose “These units:”, or enter 0 units to refund all that is left.")
            raise forms.ValidationError(text)
        return data | {"wanted": None if data["what"] == ALL else units}


def refund(order: Order) -> Action:
    """The action that refunds the order, or units of it."""
    lines = list(OrderLine.objects.filter(order_id=order.pk).order_by("id"))

    def perform(data: Mapping[str, Any], keyed: KeyedCall) -> StartedRefund | Replay:
        with _naming_left_units(lines):
            done = refunding.start_refund(
                order_id=order.pk,
                wanted=data["wanted"],
                reason=data["reason"],
                restock=data["restock"],
                keyed=keyed,
                expected=_expected(data["shown"]),
            )
        if not isinstance(done, Replay):
            dispatch.enqueue_shared(tasks.advance)
        return done

    return Action(
        title=gettext("Refund order %(id)s") % {"id": order.pk},
        description=_left(order),
        submit=gettext("Refund"),
        form_class=partial(RefundForm, lines),
        preview=partial(_preview, order, lines),
        perform_keyed=perform,
        once=f"refund {order.pk}",
        report=partial(_done, order),
        back=actions.page_of(order),
        is_dangerous=True,
    )


def _left(order: Order) -> str:
    """The amount of all that is left, or why nothing is."""
    try:
        preview = refunding.preview_refund(order_id=order.pk, wanted=None)
    except FirstcomeError as error:
        return str(error.detail)
    return gettext("All that is left is %(amount)s.") % {"amount": amount(preview.amount, order.currency)}


def _preview(order: Order, lines: Sequence[OrderLine], data: Mapping[str, Any]) -> ActionPreview:
    with _naming_left_units(lines):
        preview = refunding.preview_refund(order_id=order.pk, wanted=data["wanted"])
    quantities, currency = preview.quantities, order.currency
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
