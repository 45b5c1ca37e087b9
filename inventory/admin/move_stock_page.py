"""The operators' page that moves stock: a form, the stock before and after, one movement a form."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget

from inventory import adjustments, products
from inventory.adjustments import LARGEST_DELTA
from inventory.models import Product, StockMovement
from shop import form_fields
from shop.operators.actions import Action, ActionForm, ActionPreview

KINDS = [
    (StockMovement.Kind.RECEIVED.value, _("Goods received")),
    (StockMovement.Kind.ADJUSTED.value, _("Correction of the count, up or down")),
]


class MoveStockForm(ActionForm):
    kind = forms.ChoiceField(label=_("Kind"), choices=KINDS, widget=UnfoldAdminSelectWidget)
    delta = form_fields.WholeNumberField(
        label=_("Units"),
        min_value=-LARGEST_DELTA,
        max_value=LARGEST_DELTA,
        help_text=_("What is added; with a minus, what is taken away."),
    )
    seen_movement = form_fields.WholeNumberField(required=False, widget=forms.HiddenInput)
    field_order = ["kind", "delta", "reason"]


def move_stock(product: Product) -> Action:
    """The action that moves the stock of this product."""
    return Action(
        title=gettext("Move stock of %(sku)s") % {"sku": product.sku},
        description=gettext("Received goods, or a correction of the count. It is recorded as a movement."),
        submit=gettext("Move"),
        form_class=MoveStockForm,
        preview=lambda data: _preview(product.pk, data),
        perform=lambda data: _move(product.pk, data),
        report=lambda moved: _moved_text(moved, product),
        once=f"move stock of {product.pk}",
        back=reverse("product-page", args=[product.pk]),
    )


def _moved_text(moved: StockMovement, product: Product) -> str:
    values = {"on_hand": f"{moved.on_hand_after:,}", "delta": f"{moved.delta:+,}", "sku": product.sku}
    return gettext("On hand: %(on_hand)s (%(delta)s) of %(sku)s.") % values


def _preview(product_id: int, data: Mapping[str, Any]) -> ActionPreview:
    # Before the stock: a movement that comes between the two reads is found to be new.
    seen_movement = adjustments.last_by_staff(product_id)
    product, delta = products.get(product_id=product_id, include_inactive=True), data["delta"]
    return ActionPreview(
        gettext("%(kind)s: %(delta)s of %(product)s?")
        % {"kind": dict(KINDS)[data["kind"]], "delta": f"{delta:+,}", "product": product},
        facts=[
            (gettext("On hand"), f"{product.on_hand:,} → {product.on_hand + delta:,}"),
            (gettext("Reserved by open orders"), f"{product.reserved:,}"),
            (gettext("Available"), f"{product.available:,} → {product.available + delta:,}"),
        ],
        warning=""
        if product.available + delta >= 0
        else gettext("Less than the reserved units would be left."),
        carried={"seen_movement": seen_movement},
    )


def _move(product_id: int, data: Mapping[str, Any]) -> StockMovement:
    """Move the stock, unless other operators did since the confirmation was shown."""
    adjustments.require_last_by_staff(product_id, data["seen_movement"] or 0)
    if data["kind"] == StockMovement.Kind.RECEIVED:
        return adjustments.receive(product_id=product_id, quantity=data["delta"], reason=data["reason"])
    return adjustments.adjust(product_id=product_id, delta=data["delta"], reason=data["reason"])
