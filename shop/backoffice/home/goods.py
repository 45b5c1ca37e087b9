"""Sections of the home page: running campaigns and sales, and products that are low on stock."""

from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from coupons.metrics import state as coupons_state
from coupons.models import Campaign
from inventory import products, stock_reports
from inventory.models import Product
from sales import metrics as sales_metrics
from sales.models import Sale
from shop import clock
from shop.backoffice.board import page as board_page
from shop.backoffice.home.parts import COUNTED, ROWS_SHOWN, Row, Section, State, ago, number_text
from shop.backoffice.page_elements import link
from shop.operators.display import status_label

CAMPAIGNS = "admin:coupons_campaign_changelist"
SALES = "admin:sales_sale_changelist"
PRODUCTS = "admin:inventory_product_changelist"
Status = Campaign.Status


def running_campaigns(request: HttpRequest) -> Section:
    """The campaigns between their opening and their closing: paused ones first, then the least left."""
    now = clock.now()
    running = coupons_state.running()
    paused = [campaign for campaign in running if campaign.paused_at is not None]
    sold_out = [one for one in running if one.status_at(now) == Status.SOLD_OUT]
    is_all = len(running) < coupons_state.MOST_RUNNING
    links = [link(_("All campaigns"), CAMPAIGNS)]
    if board_page.may_see(request):
        links.append(link(_("Launch board"), "board:page"))
    return Section(
        name="campaigns",
        title=_("Running campaigns"),
        icon="campaign",
        state=State.WORK if paused else State.CALM,
        number=f"{len(running)}{'' if is_all else '+'}",
        unit=ngettext("campaign", "campaigns", len(running)),
        note=_campaign_note(len(running), len(paused), len(sold_out)),
        rows=[_campaign_row(campaign) for campaign in sorted(running, key=_urgency)[:ROWS_SHOWN]],
        links=links,
    )


def running_sales(request: HttpRequest) -> Section:
    """The sales between their opening and their closing: paused ones first, then the latest opening."""
    running = list(sales_metrics.running())
    paused = [sale for sale in running if sale.paused_at is not None]
    is_all = len(running) < sales_metrics.MOST_RUNNING
    links = [link(_("All sales"), SALES)]
    if board_page.may_see(request):
        links.append(link(_("Launch board"), "board:page"))
    return Section(
        name="sales",
        title=_("Running sales"),
        icon="storefront",
        state=State.WORK if paused else State.CALM,
        number=f"{len(running)}{'' if is_all else '+'}",
        unit=ngettext("sale", "sales", len(running)),
        note=_sale_note(len(running), len(paused)),
        rows=[_sale_row(sale) for sale in sorted(running, key=_is_not_paused)[:ROWS_SHOWN]],
        links=links,
    )


def products_low_on_stock(request: HttpRequest) -> Section:
    """Products of which no more is available than their threshold, the furthest below it first."""
    low = stock_reports.read_low(most=COUNTED)
    number = len(low.products)
    note = _("Nothing to do: every product with a threshold has more than it.")
    if number:
        note = _("The one that is furthest below its threshold is first.")
    if not low.is_complete:
        note += " " + _("Only the %(count)s products with the highest thresholds are looked at.") % {
            "count": f"{stock_reports.MOST_CHECKED:,}"
        }
    return Section(
        name="stock",
        title=_("Low stock"),
        icon="production_quantity_limits",
        state=State.WORK if number else State.CALM,
        number=number_text(number),
        unit=ngettext("product is at its threshold", "products are at their threshold", number),
        note=note,
        rows=[_product_row(product) for product in low.products[:ROWS_SHOWN]],
        links=[link(_("All products that are low"), PRODUCTS, query="low=yes")],
    )


def _urgency(campaign: Campaign) -> tuple[bool, bool, float]:
    """Sorts paused campaigns first and sold out ones last, the others by their share that is left."""
    left = campaign.remaining
    return campaign.paused_at is None, left <= 0, left / campaign.quantity


def _campaign_note(running: int, paused: int, sold_out: int) -> str:
    if not running:
        return _("Nothing to do: no campaign is running.")
    if paused:
        return ngettext(
            "%(count)s is paused: it issues nothing until it is resumed.",
            "%(count)s are paused: they issue nothing until they are resumed.",
            paused,
        ) % {"count": paused}
    if sold_out:
        return ngettext(
            "Nothing to do: none is paused. %(count)s is sold out.",
            "Nothing to do: none is paused. %(count)s are sold out.",
            sold_out,
        ) % {"count": sold_out}
    return _("Nothing to do: none is paused.")


def _campaign_row(campaign: Campaign) -> Row:
    text = _("%(left)s left of %(quantity)s")
    detail = text % {"left": f"{campaign.remaining:,}", "quantity": f"{campaign.quantity:,}"}
    if campaign.paused_at is not None:
        detail += " · " + _("paused %(ago)s") % {"ago": ago(campaign.paused_at)}
    return Row(
        link=link(campaign.name, "admin:coupons_campaign_change", campaign.pk),
        label=status_label(str(campaign.status_at(clock.now()))),
        detail=detail,
    )


def _is_not_paused(sale: Sale) -> bool:
    return sale.paused_at is None


def _sale_note(running: int, paused: int) -> str:
    if not running:
        return _("Nothing to do: no sale is running.")
    if paused:
        return ngettext(
            "%(count)s is paused: nothing of it can be ordered until it is resumed.",
            "%(count)s are paused: nothing of them can be ordered until they are resumed.",
            paused,
        ) % {"count": paused}
    return _("Nothing to do: none is paused.")


def _sale_row(sale: Sale) -> Row:
    detail = _("closes at %(at)s UTC") % {"at": f"{sale.closes_at:%Y-%m-%d %H:%M}"}
    if sale.is_queued and sale.is_ordered:
        text = _("%(count)s waiting")
        detail += " · " + text % {"count": f"{sale.last_position - sale.passed_position:,}"}
    if sale.paused_at is not None:
        detail += " · " + _("paused %(ago)s") % {"ago": ago(sale.paused_at)}
    return Row(
        link=link(sale.name, "admin:sales_sale_change", sale.pk),
        label=status_label(str(sale.status_at(clock.now()))),
        detail=detail,
    )


def _product_row(product: Product) -> Row:
    text = _("%(available)s available, low at %(threshold)s")
    threshold = product.low_stock_threshold or 0
    return Row(
        link=link(product, "product-page", product.pk),
        label=status_label(products.state(product)),
        detail=text % {"available": f"{product.available:,}", "threshold": f"{threshold:,}"},
    )
