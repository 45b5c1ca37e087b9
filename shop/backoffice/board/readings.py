"""What the board reads from the database: rows that an index finds, however full the tables are.

`read_goods` has what changes every second, and reads campaigns and products by their keys. `read_shop` has
the counts, which take longer the more is open. Both are read by turns with rests, see `PacedReading`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from coupons.metrics import state as coupons_state
from coupons.models import Campaign
from coupons.queue import tickets
from inventory.models import Product
from orders.metrics import state as orders_state
from orders.saga import status as saga_status
from payments import disputes
from sales import entry_counts
from sales import metrics as sales_metrics
from sales.models import Sale
from shop import clock
from shop.db import server_state
from shop.models import LawStatus

CAMPAIGNS_SHOWN = PRODUCTS_SHOWN = 12
SALES_SHOWN = 6
SOLD_OUT_SHOWN = 4
PAUSED_PRODUCTS_SHOWN = 4
"""Those that were paused last, beside the products being sold: soon no new line is theirs."""
NEWEST_LINES = 1_000
"""Of orders, by which the products being sold are found: those of some seconds in a drop."""
OPENING_SOON, OPENING_SHOWN = timedelta(hours=1), 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignState:
    """A campaign on the board.

    `left` is what it may still issue, `with_partner` the slots that its partner is confirming.
    """

    id: int
    name: str
    status: str
    quantity: int
    issued: int
    left: int
    with_partner: int
    opens_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductState:
    """A product on the board; `left` is what new orders may reserve."""

    id: int
    sku: str
    name: str
    on_hand: int
    reserved: int
    left: int
    is_paused: bool
    is_active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleState:
    """A sale on the board; `left` is what new orders may reserve of all its products together.

    `waiting` is None without a waiting room, and before its entries have positions.
    """

    id: int
    name: str
    status: str
    is_queued: bool
    rate_per_minute: int
    waiting: int | None
    left: int
    opens_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodsState:
    """The campaigns, sales and products of a drop."""

    campaigns: Sequence[CampaignState]
    sales: Sequence[SaleState]
    products: Sequence[ProductState]


@dataclass(frozen=True, slots=True, kw_only=True)
class LawState:
    """A law by its latest audit; `holds` is None before the first."""

    law: str
    holds: bool | None
    offenders: int
    checked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopState:
    """The counts, and which products are being sold."""

    read_at: datetime
    product_ids: Sequence[int]
    waiting: Mapping[str, int]
    wait_seconds: Mapping[str, float]
    orders: Mapping[str, int]
    in_doubt: int
    in_doubt_oldest_seconds: float
    disputes: int
    stuck: int
    unfinished: int
    locks: Mapping[str, float]
    laws: Sequence[LawState]
    sale_entries: Mapping[int, Mapping[str, int]]
    """Of each sale that the board shows, its entries by their status."""


def read_goods(product_ids: Sequence[int]) -> GoodsState:
    """The running campaigns and sales, those that open within the hour, these products, and paused ones."""
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
    return GoodsState(
        campaigns=[_campaign_state(campaign, now) for campaign in shown],
        sales=[_sale_state(sale, now) for sale in _shown_sales(now)],
        products=[
            _product_state(product)
            for product in sorted(products.values(), key=lambda product: (product.name, product.pk))
        ],
    )


def read_shop() -> ShopState:
    """The counts of orders, payments, sagas and tickets, the database's locks, and the laws."""
    in_doubt = orders_state.read_in_doubt()
    selling = orders_state.read_selling(products=PRODUCTS_SHOWN, lines=NEWEST_LINES)
    return ShopState(
        read_at=clock.now(),
        product_ids=[pk for pk, _, _ in selling],
        waiting=tickets.count_waiting(),
        wait_seconds=tickets.longest_wait_seconds(),
        orders=orders_state.open_orders(),
        in_doubt=int(in_doubt[orders_state.IN_DOUBT]),
        in_doubt_oldest_seconds=in_doubt[orders_state.IN_DOUBT_OLDEST],
        disputes=disputes.open_disputes().count(),
        stuck=sum(saga_status.count_stuck().values()),
        unfinished=sum(saga_status.count_unfinished().values()),
        locks=server_state.read_locks(),
        laws=read_laws(),
        sale_entries=entry_counts.by_status([sale.pk for sale in _shown_sales(clock.now())]),
    )


def _shown_sales(now: datetime) -> list[Sale]:
    """The sales that open within the hour, and then those that run, the latest opening first."""
    soon = Sale.objects.filter(opens_at__gt=now, opens_at__lte=now + OPENING_SOON).order_by("opens_at")
    return [*soon[:OPENING_SHOWN], *sales_metrics.running()[:SALES_SHOWN]][:SALES_SHOWN]


def _campaign_state(campaign: Campaign, now: datetime) -> CampaignState:
    return CampaignState(
        id=campaign.pk,
        name=campaign.name,
        status=str(campaign.status_at(now)),
        quantity=campaign.quantity,
        issued=campaign.issued,
        left=campaign.remaining,
        with_partner=campaign.confirming,
        opens_at=campaign.opens_at,
    )


def _sale_state(sale: Sale, now: datetime) -> SaleState:
    return SaleState(
        id=sale.pk,
        name=sale.name,
        status=str(sale.status_at(now)),
        is_queued=sale.is_queued,
        rate_per_minute=sale.rate_per_minute,
        waiting=sale.last_position - sale.passed_position if sale.is_queued and sale.is_ordered else None,
        left=sales_metrics.available(sale),
        opens_at=sale.opens_at,
    )


def _product_state(product: Product) -> ProductState:
    return ProductState(
        id=product.pk,
        sku=product.sku,
        name=product.name,
        on_hand=product.on_hand,
        reserved=product.reserved,
        left=product.available,
        is_paused=product.paused_at is not None,
        is_active=product.is_active,
    )


def read_laws() -> list[LawState]:
    """The laws that were audited, or found broken."""
    return [
        LawState(
            law=status.law,
            # A law that no audit could check yet is not known to hold.
            holds=None if status.holds and not status.checked_at else status.holds,
            offenders=len(status.offenders),
            checked_at=status.checked_at,
        )
        for status in LawStatus.objects.defer("suspects")
    ]
