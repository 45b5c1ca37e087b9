"""The page of one product."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from inventory import products, stock_reports
from inventory.models import Product, StockMovement
from orders import selectors
from orders.models import Order
from sales.models import Sale
from shop import clock
from shop.backoffice.page_elements import Button, amount, instant, link, may_view, number, section
from shop.backoffice.products import charts, limit
from shop.db import archived_months
from shop.db.archived_months import MOVEMENTS
from shop.operators.display import status_label

MOVE_STOCK = "inventory.add_stockmovement"
MOST_OPEN_ORDERS = 500
SHOWN_OPEN_ORDERS = 25
LARGEST_ID = 2**63 - 1
Section = dict[str, Any]


@require_safe
def show(request: HttpRequest, product_id: int) -> HttpResponse:
    """Show the product to an operator who may view products, with the parts that they may view."""
    if not may_view(request, Product):
        raise PermissionDenied("inventory.view_product")
    product = get_object_or_404(Product, pk=product_id)
    sees_movements = may_view(request, StockMovement)
    sections = [_movements(product, _before(request))] if sees_movements else []
    if may_view(request, Order):
        sections.insert(0, _open_orders(product))
    context = admin.site.each_context(request) | {
        "title": gettext("Product %(product)s") % {"product": f"{product.sku} {product.name}"},
        "product": product,
        "facts": [*_facts(product), *_sale_facts(request, product)],
        "buttons": _buttons(request, product),
        "bar": charts.stock_bar(product),
        "sections": sections,
    }
    if sees_movements:
        sales = stock_reports.read_recent_sales(product.pk)
        columns = charts.sales_columns(sales)
        shown = {"sold": number(sales.units), "this_hour": sales.by_hour[-1][0]}
        context |= shown | {"sales": sales, "columns": columns}
    return TemplateResponse(request, "backoffice/product.html", context)


def _facts(product: Product) -> list[tuple[str, Any]]:
    threshold, terms = product.low_stock_threshold, gettext("Name, price and threshold")
    low_at = gettext("%(count)s available") % {"count": number(threshold)}
    return [
        (gettext("On hand"), number(product.on_hand)),
        (gettext("Reserved by open orders"), number(product.reserved)),
        (gettext("Available"), number(product.available)),
        (gettext("State"), status_label(products.state(product))),
        (gettext("Low stock"), status_label("low") if products.is_low(product) else gettext("no")),
        (gettext("Low at"), gettext("never") if threshold is None else low_at),
        (gettext("Price"), amount(product.price)),
        (gettext("Limit per account"), limit.limit_text(product)),
        (gettext("Product"), link(terms, "admin:inventory_product_change", product.pk)),
    ]


def _sale_facts(request: HttpRequest, product: Product) -> list[tuple[str, Any]]:
    """The sale whose terms hold for the product, for those who may view sales."""
    if product.sale_id is None or not may_view(request, Sale):
        return []
    sale = Sale.objects.get(pk=product.sale_id)
    page = link(sale.name, "admin:sales_sale_change", sale.pk)
    status = status_label(str(sale.status_at(clock.now())))
    return [
        (
            gettext("In sale"),
            format_html("{} {}", page, status),
        )
    ]


def _buttons(request: HttpRequest, product: Product) -> list[Button]:
    """The actions that this operator may take."""
    move = reverse("admin:inventory_product_move_stock", args=[product.pk])
    change, add = reverse("product-limit", args=[product.pk]), reverse("admin:inventory_product_import_stock")
    limit_button = Button(gettext("Change the limit"), change, "production_quantity_limits")
    possible = (
        ([MOVE_STOCK], Button(gettext("Move stock"), move, "inventory")),
        ([limit.CHANGE_LIMIT], limit_button),
        (settings.STOCK_IMPORT, Button(gettext("Import CSV"), add, "upload_file")),
    )
    return [button for permissions, button in possible if request.user.has_perms(permissions)]


def _open_orders(product: Product) -> Section:
    """The open orders that hold the product; none are looked for when nothing is reserved."""
    lines = selectors.open_lines_of_product(product.pk, most=MOST_OPEN_ORDERS) if product.reserved else []
    title = gettext("Open orders that hold it: %(count)s")
    if len(lines) == MOST_OPEN_ORDERS:
        title = gettext("Open orders that hold it: %(count)s or more")
    shown = gettext("%(count)s of them are shown.") % {"count": SHOWN_OPEN_ORDERS}
    return section(
        title % {"count": f"{len(lines):,}"},
        lines[:SHOWN_OPEN_ORDERS],
        {
            gettext("order"): lambda line: link(line.order_id, "admin:orders_order_change", line.order_id),
            gettext("account"): lambda line: link(
                line.order.account.username, "account-page", line.order.account_id
            ),
            gettext("status"): lambda line: status_label(line.order.status),
            gettext("units"): lambda line: number(line.quantity),
            gettext("expires at"): lambda line: instant(line.order.expires_at),
        },
        notes=[shown] if len(lines) > SHOWN_OPEN_ORDERS else [],
    )


def _movements(product: Product, before: int | None) -> Section:
    """A page of movements, newest first."""
    page = stock_reports.read_movements(product.pk, before=before)
    address = reverse("product-page", args=[product.pk])
    months = [] if page.next_before else archived_months.read_since(MOVEMENTS, product.created_at)
    older = gettext("Older movements may be archived in %(files)s.")
    files = ", ".join(month.file for month in months)

    def cause(movement: StockMovement) -> str:
        if not movement.order_id:
            return movement.reason or "-"
        return link(movement.order_id, "admin:orders_order_change", movement.order_id)

    return section(
        gettext("Movements"),
        page.movements,
        {
            gettext("kind"): lambda movement: status_label(movement.kind),
            gettext("units"): lambda movement: f"{movement.delta:+,}",
            gettext("on hand after"): lambda movement: number(movement.on_hand_after),
            gettext("order or reason"): cause,
            gettext("at"): lambda movement: instant(movement.at),
        },
        name="movements",
        newest=f"{address}#movements" if before is not None else "",
        notes=[older % {"files": files}] if files else [],
        older=f"{address}?before={page.next_before}#movements" if page.next_before else "",
    )


def _before(request: HttpRequest) -> int | None:
    """The id that the page of movements ends before. Raises `Http404` for anything else than an id."""
    text = request.GET.get("before")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= LARGEST_ID):
        raise Http404
    return int(text)
