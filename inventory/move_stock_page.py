"""The operators' page that moves stock: a form, the stock before and after, one movement a form."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget

from inventory import adjustments, products
from inventory.adjustments import LARGEST_DELTA
from inventory.models import Product, StockMovement
from shop.operators import actions as operator_actions
from shop.operators.actions import Action, Confirmation, ReasonForm

KINDS = [
    (StockMovement.Kind.RECEIVED.value, "Goods received"),
    (StockMovement.Kind.ADJUSTED.value, "Correction of the count, up or down"),
]


class MoveStockForm(ReasonForm):
    kind = forms.ChoiceField(choices=KINDS, widget=UnfoldAdminSelectWidget)
    delta = forms.IntegerField(
        label="Units",
        min_value=-LARGEST_DELTA,
        max_value=LARGEST_DELTA,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="What is added; with a minus, what is taken away.",
    )
    seen_movement = forms.IntegerField(required=False, widget=forms.HiddenInput)
    field_order = ["kind", "delta", "reason"]


def respond(request: HttpRequest, product: Product) -> HttpResponse:
    """Show the form or its confirmation, or move the stock of this product."""
    return operator_actions.run(request, _action(request, product))


def _action(request: HttpRequest, product: Product) -> Action:
    def perform(data: Mapping[str, Any]) -> str:
        return operator_actions.perform_once(
            request,
            data,
            lambda: _move(product.pk, data),
            action=f"move stock of {product.pk}",
            describe=lambda moved: f"On hand: {moved.on_hand_after:,} ({moved.delta:+,}) of {product.sku}.",
        )

    return Action(
        title=f"Move stock of {product.sku}",
        description="Received goods, or a correction of the count. It is recorded as a movement.",
        submit="Move",
        form_class=MoveStockForm,
        confirm=lambda data: _confirm(product.pk, data),
        perform=perform,
        back=reverse("product-page", args=[product.pk]),
    )


def _confirm(product_id: int, data: Mapping[str, Any]) -> Confirmation:
    # Before the stock: a movement that comes between the two reads is found to be new.
    seen_movement = adjustments.last_by_staff(product_id)
    product, delta = products.get(product_id=product_id, include_inactive=True), data["delta"]
    return Confirmation(
        f"{dict(KINDS)[data['kind']]}: {delta:+,} of {product.sku} {product.name}?",
        facts=[
            ("On hand", f"{product.on_hand:,} → {product.on_hand + delta:,}"),
            ("Reserved by open orders", f"{product.reserved:,}"),
            ("Available", f"{product.available:,} → {product.available + delta:,}"),
            ("Reason", data["reason"]),
        ],
        warning="" if product.available + delta >= 0 else "Less than the reserved units would be left.",
        carried={"seen_movement": seen_movement},
    )


def _move(product_id: int, data: Mapping[str, Any]) -> StockMovement:
    """Move the stock, unless other operators did since the confirmation was shown."""
    adjustments.require_last_by_staff(product_id, data["seen_movement"] or 0)
    if data["kind"] == StockMovement.Kind.RECEIVED:
        return adjustments.receive(product_id=product_id, quantity=data["delta"], reason=data["reason"])
    return adjustments.adjust(product_id=product_id, delta=data["delta"], reason=data["reason"])
