"""What the board reads from the database: rows that an index finds, however full the tables are.

`read_goods` has what changes every second, and reads campaigns and products by their keys. `read_shop` has
the counts, which take longer the more is open, and so are read by turns with rests.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from coupons.metrics import state as coupons_state
from coupons.models import Campaign
from coupons.queue import tickets
from inventory.models import Product
from orders.metrics import state as orders_state
from orders.saga import status as saga_status
from payments import disputes
from sales import metrics as sales_metrics
from sales.models import Sale
from shop import clock
from shop.db import server_state
from shop.management.laws import LAWS
from shop.models import LawStatus

CAMPAIGNS_SHOWN = PRODUCTS_SHOWN = 12
SALES_SHOWN = 6
SOLD_OUT_SHOWN = 4
PAUSED_PRODUCTS_SHOWN = 4
"""Those that were paused last, beside the products being sold: soon no new line is theirs."""
NEWEST_LINES = 1_000
"""Of orders, by which the products being sold are found: those of some seconds in a drop."""
OPENING_SOON, OPENING_SHOWN = timedelta(hours=1), 5
Figures = dict[str, Any]


def read_goods(product_ids: Sequence[int]) -> dict[str, list[Figures]]:
    """The running campaigns and sales, those that open within the hour, these products, and paused ones.

    Of each, `left` is what may still be issued, or what new orders may reserve.
    """
    now = clock.now()
    # Each with the latest opening first.
    running = coupons_state.running()
    issuing = [campaign for campaign in running if campaign.remaining > 0]
    sold_out = [campaign for campaign in running if campaign.remaining <= 0]
    soon = Campaign.objects.filter(opens_at__gt=now, opens_at__lte=now + OPENING_SOON).order_by("opens_at")
    shown = [*soon[:OPENING_SHOWN], *issuing, *sold_out[:SOLD_OUT_SHOWN]][:CAMPAIGNS_SHOWN]
    paused = Product.objects.filter(paused_at__isnull=False).order_by("-paused_at")
    products = {one.pk: one for one in paused[:PAUSED_PRODUCTS_SHOWN]}
    products |= Product.objects.in_bulk([pk for pk in product_ids if pk not in products])
    return {
        "campaigns": [_campaign(campaign, now) for campaign in shown],
        "sales": [_sale(sale, now) for sale in _shown_sales(now)],
        "products": [
            _product(product)
            for product in sorted(products.values(), key=lambda product: (product.name, product.pk))
        ],
    }


def read_shop() -> Figures:
    """The counts of orders, payments, sagas and tickets, the database's locks, the laws, and which products
    are being sold.
    """
    in_doubt = orders_state.read_in_doubt()
    return {
        "product_ids": [
            pk for pk, _, _ in orders_state.read_selling(products=PRODUCTS_SHOWN, lines=NEWEST_LINES)
        ],
        "waiting": tickets.count_waiting(),
        "wait_seconds": tickets.longest_wait_seconds(),
        "orders": orders_state.open_orders(),
        "in_doubt": int(in_doubt[orders_state.IN_DOUBT]),
        "in_doubt_oldest_seconds": in_doubt[orders_state.IN_DOUBT_OLDEST],
        "disputes": disputes.open_disputes().count(),
        "stuck": sum(saga_status.count_stuck().values()),
        "unfinished": sum(saga_status.count_unfinished().values()),
        "locks": server_state.read_locks(),
        "laws": read_laws(),
        "sale_entries": sales_metrics.entries_by_status([sale.pk for sale in _shown_sales(clock.now())]),
    }


def read_laws() -> list[LawStatus]:
    """Every law in order; `holds` is None of those that no audit has checked yet."""
    known = {status.law: status for status in LawStatus.objects.defer("suspects")}
    laws = [known.get(law) or LawStatus(law=law, holds=True) for law in LAWS]
    for law in laws:
        if law.holds and not law.checked_at:
            law.holds = None  # type: ignore[assignment]
    return laws


def _shown_sales(now: datetime) -> list[Sale]:
    """The sales that open within the hour, and then those that run, the latest opening first."""
    soon = Sale.objects.filter(opens_at__gt=now, opens_at__lte=now + OPENING_SOON).order_by("opens_at")
    return [*soon[:OPENING_SHOWN], *sales_metrics.running()[:SALES_SHOWN]][:SALES_SHOWN]


def _campaign(campaign: Campaign, now: datetime) -> Figures:
    return {
        "id": campaign.pk,
        "name": campaign.name,
        "status": str(campaign.status_at(now)),
        "quantity": campaign.quantity,
        "left": campaign.remaining,
        # Slots that its partner is confirming.
        "with_partner": campaign.confirming,
        "opens_at": campaign.opens_at.timestamp(),
    }


def _sale(sale: Sale, now: datetime) -> Figures:
    """`rate_per_minute` is None without a waiting room, and `waiting` until its entries have positions."""
    return {
        "id": sale.pk,
        "name": sale.name,
        "status": str(sale.status_at(now)),
        "rate_per_minute": sale.rate_per_minute if sale.is_queued else None,
        "waiting": sale.last_position - sale.passed_position if sale.is_queued and sale.is_ordered else None,
        "left": sales_metrics.available(sale),
        "opens_at": sale.opens_at.timestamp(),
    }


def _product(product: Product) -> Figures:
    is_paused = product.paused_at is not None
    return {
        "id": product.pk,
        "name": product.name,
        "status": "paused" if is_paused else "open" if product.is_active else "inactive",
        "on_hand": product.on_hand,
        "reserved": product.reserved,
        "left": product.available,
    }
