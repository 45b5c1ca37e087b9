"""The action that changes how many units of a product an account may have."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext

from inventory import products
from inventory.admin.products import limit_field
from inventory.models import Product
from shop.operators import actions as operator_actions
from shop.operators.actions import Action, ActionForm, ActionPreview

CHANGE_LIMIT = "inventory.change_product"


class LimitForm(ActionForm):
    limit = limit_field()
    field_order = ["limit", "reason"]


def change(request: HttpRequest, product_id: int) -> HttpResponse:
    """Show the form or its confirmation, or change the limit."""
    operator_actions.require_permission(request, CHANGE_LIMIT)
    product = get_object_or_404(Product, pk=product_id)

    action = Action(
        title=gettext("Limit of %(sku)s per account") % {"sku": product.sku},
        description=gettext(
            "The limit binds orders that are placed from now on. Orders that exceed it already stay."
        ),
        submit=gettext("Change"),
        form_class=LimitForm,
        preview=lambda data: _preview(product, data),
        perform=lambda data: products.change(
            product_id=product.pk, limit_per_account=data["limit"], reason=data["reason"]
        ),
        report=lambda changed: (
            gettext("Limit per account of %(sku)s: %(limit)s.")
            % {"sku": changed.sku, "limit": limit_text(changed)}
        ),
        once=f"change limit of {product.pk}",
        back=reverse("product-page", args=[product.pk]),
        initial={"limit": product.limit_per_account},
    )
    return operator_actions.run(request, action)


def limit_text(product: Product) -> str:
    """The product's limit in words."""
    return _text(product.limit_per_account)


def _preview(product: Product, data: Mapping[str, Any]) -> ActionPreview:
    return ActionPreview(
        gettext("Change the limit of %(product)s per account?")
        % {"product": f"{product.sku} {product.name}"},
        facts=[(gettext("Limit per account"), f"{limit_text(product)} → {_text(data['limit'])}")],
    )


def _text(limit: int | None) -> str:
    return gettext("none") if limit is None else f"{limit:,}"
