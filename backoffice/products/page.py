"""The page of one product."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.html import format_html
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from backoffice.page_elements import Section, instant, link, may_view, number, row_link, section
from foundation import clock
from foundation.admin_base.display import admin_page, status_label
from foundation.money import format_amount
from inventory import products, selectors as stock_selectors
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
    sections = [_open_orders(product)] if may_view(request, Order) else []
    context = {
        "title": gettext("Product %(product)s") % {"product": product},
        "product": product,
        "facts": _facts(request, product),
        "original": product,
        "head": pages.head(request, product),
        "legend": _legend(product),
        "sections": sections,
    }
    if may_view(request, StockMovement):
        sections.append(_movements(product))
        sales = stock_selectors.read_recent_sales(product.pk)
        sold = gettext("%(count)s sold")
        columns = [
            (f"{clock.local(hour):%H:%M}: {sold % {'count': f'{units:,}'}}", units)
            for hour, units in sales.by_hour
        ]
        most = max(units for _, units in sales.by_hour)
        context |= {"sales": sales, "sold": number(sales.units), "columns": columns, "most_sold": most}
    return admin_page(request, "backoffice/product.html", context)


def _facts(request: HttpRequest, product: Product) -> list[tuple[str, Any]]:
    """What there is to know, with the sale whose terms hold for it, for those who may view sales."""
    threshold = product.low_stock_threshold
    low_at = gettext("%(count)s available") % {"count": number(threshold)}
    limit = number(product.limit_per_account) or gettext("none")
    facts = [
        (gettext("On hand"), number(product.on_hand)),
        (gettext("Reserved by open orders"), number(product.reserved)),
        (gettext("Available"), number(product.available)),
        (gettext("State"), status_label(products.state(product))),
        (gettext("Low stock"), status_label("low") if products.is_low(product) else gettext("no")),
        (gettext("Low at"), gettext("never") if threshold is None else low_at),
        (gettext("Price"), format_amount(product.price)),
        (gettext("Limit per account"), limit),
        (gettext("Product"), row_link(product, gettext("Name, price and threshold"))),
    ]
    if product.sale_id is not None and may_view(request, Sale):
        sale = Sale.objects.get(pk=product.sale_id)
        shown = (row_link(sale, sale.name), status_label(str(sale.status_at(clock.now()))))
        facts.append((gettext("In sale"), format_html("{} {}", *shown)))
    return facts


def _legend(product: Product) -> list[tuple[str, str]]:
    """The colours of the bar of what is on hand, and what they stand for."""
    available = gettext("%(count)s available")
    reserved = gettext("%(count)s reserved")
    legend = [
        ("fc-available", available % {"count": f"{product.available:,}"}),
        ("fc-reserved", reserved % {"count": f"{product.reserved:,}"}),
    ]
    if not product.on_hand:
        return [("fc-empty", gettext("nothing on hand"))]
    if product.low_stock_threshold is not None and product.low_stock_threshold <= product.on_hand:
        low = gettext("low at %(count)s available")
        legend.append(("fc-threshold", low % {"count": f"{product.low_stock_threshold:,}"}))
    return legend


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


def _movements(product: Product) -> Section:
    """The newest movements, and a link to all of them."""
    query = f"product__id__exact={product.pk}"
    return section(
        gettext("Movements"),
        product.movements.order_by("-id")[:SHOWN_MOVEMENTS],
        {
            gettext("kind"): lambda movement: status_label(movement.kind),
            gettext("units"): lambda movement: f"{movement.delta:+,}",
            gettext("on hand after"): lambda movement: number(movement.on_hand_after),
            gettext("order or reason"): lambda movement: (
                link(movement.order_id, "admin:orders_order_change", movement.order_id)
                if movement.order_id
                else movement.reason or "-"
            ),
            gettext("at"): lambda movement: instant(movement.at),
        },
        all=link(gettext("All of them"), "admin:inventory_stockmovement_changelist", query=query),
    )
