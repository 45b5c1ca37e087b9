"""The page of one product."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from backoffice.page_elements import Section, instant, link, list_section, may_view, number, row_link, section
from foundation import clock
from foundation.admin_base.display import admin_page, status_label, view_of
from foundation.money import format_amount
from inventory import products
from inventory.models import Product, StockMovement
from orders import selectors
from orders.models import Order
from sales.models import Sale

MOST_OPEN_ORDERS = 500
SHOWN_OPEN_ORDERS = SHOWN_MOVEMENTS = 25


@require_safe
def show(request: HttpRequest, product_id: int) -> HttpResponse:
    """Show the product to an operator who may view products, with the parts that they may view."""
    if not may_view(request, Product):
        raise PermissionDenied("inventory.view_product")
    product = get_object_or_404(Product, pk=product_id)
    pages: Any = admin.site.get_model_admin(Product)
    head = pages.head(request, product)
    if pages.has_change_permission(request):
        edit = {
            "title": gettext("Edit"),
            "icon": "edit",
            "path": reverse(view_of(product), args=[product_id]),
        }
        head["actions"].insert(0, edit)
    sections = [_open_orders(product)] if may_view(request, Order) else []
    context = {
        "title": gettext("Product %(product)s") % {"product": product},
        "product": product,
        "available_text": number(product.available),
        "reserved_text": number(product.reserved),
        "low_text": number(product.low_stock_threshold),
        "facts": _facts(request, product),
        "original": product,
        "head": head,
        "sections": sections,
    }
    if may_view(request, StockMovement):
        sections.append(_movements(request, product))
    return admin_page(request, "backoffice/product.html", context)


def _facts(request: HttpRequest, product: Product) -> list[tuple[str, Any]]:
    """What there is to know, with the sale whose terms hold for it, for those who may view sales."""
    threshold = product.low_stock_threshold
    low_at = gettext("%(count)s available") % {"count": number(threshold)}
    limit = number(product.limit_per_account) or gettext("none")
    facts = [
        (gettext("On hand"), number(product.on_hand)),
        (gettext("Reserved by open orders"), number(product.reserved)),
        (gettext("Low stock"), status_label("low") if products.is_low(product) else gettext("no")),
        (gettext("Low-stock warning"), gettext("off") if threshold is None else low_at),
        (gettext("Price"), format_amount(product.price)),
        (gettext("Limit per account"), limit),
    ]
    if product.sale_id is not None and may_view(request, Sale):
        sale = Sale.objects.get(pk=product.sale_id)
        shown = (row_link(sale, sale.name), status_label(str(sale.status_at(clock.now()))))
        facts.append((gettext("In sale"), format_html("{} {}", *shown)))
    return facts


def _open_orders(product: Product) -> Section:
    """The open orders that hold the product; none are looked for when nothing is reserved."""
    lines = selectors.open_lines_of_product(product.pk, most=MOST_OPEN_ORDERS) if product.reserved else []
    title = gettext("Open orders that hold it: %(count)s")
    if len(lines) == MOST_OPEN_ORDERS:
        title = gettext("Open orders that hold it: %(count)s or more")
    shown = gettext("Shown: the first %(count)s.") % {"count": SHOWN_OPEN_ORDERS}
    return section(
        title % {"count": f"{len(lines):,}"},
        lines[:SHOWN_OPEN_ORDERS],
        {
            gettext("order"): lambda line: row_link(line.order),
            gettext("account"): lambda line: link(
                line.order.account.username, "account-page", line.order.account_id
            ),
            gettext("status"): lambda line: status_label(line.order.status),
            gettext("units"): lambda line: number(line.quantity),
            gettext("expires at"): lambda line: instant(line.order.expires_at),
        },
        notes=[shown] if len(lines) > SHOWN_OPEN_ORDERS else [],
    )


def _movements(request: HttpRequest, product: Product) -> Section:
    """The newest movements, and a link to all of them."""
    all_of_them = gettext("Show all")
    query = f"product__id__exact={product.pk}"
    return list_section(
        request,
        gettext("Movements"),
        product.movements.order_by("-id")[:SHOWN_MOVEMENTS],
        "product",
        all=link(all_of_them, "admin:inventory_stockmovement_changelist", query=query),
    )
