"""Sales, refunds, discounts and points of a period, by product and campaign, beside the ledger's entries.

A sale is of the instant at which its order was paid, a refund of that at which it was settled; the ledger's
transfers have the same instants. So over any period that has ended the figures add up to the ledger exactly.
The points of an order or a refund are split over its lines as a discount is: in proportion, rounded down, the
rest on the last line.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from django.db.models import BigIntegerField, Case, Count, F, OuterRef, Subquery, Sum, Value, When
from django.utils.translation import gettext

from backoffice import windows
from coupons.models import Coupon
from orders import pricing
from orders.models import Order, OrderLine, Refund, RefundLine
from payments.models import GATEWAY_CLEARING, HOLDING, SALES, Entry, Transfer

WALLETS = 0
"""Stands for all wallets where entries are summed by account."""
Kind = Transfer.Kind


class Key(NamedTuple):
    """A product, and the campaign whose coupon its orders used; None for orders without a coupon."""

    product_id: int
    campaign_id: int | None


@dataclass(slots=True)
class Amounts:
    """What was sold and refunded; amounts are in the currency's minor unit."""

    orders: int = 0
    units: int = 0
    items_amount: int = 0
    discount_amount: int = 0
    points_amount: int = 0
    refunded_units: int = 0
    refunded_amount: int = 0
    refunded_points_amount: int = 0

    @property
    def sales_amount(self) -> int:
        return self.items_amount - self.discount_amount

    @property
    def card_amount(self) -> int:
        return self.sales_amount - self.points_amount

    @property
    def refunded_card_amount(self) -> int:
        return self.refunded_amount - self.refunded_points_amount

    @property
    def net_amount(self) -> int:
        return self.sales_amount - self.refunded_amount

    def add(self, other: "Amounts") -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Check(NamedTuple):
    """A total of the report beside the same total of the ledger."""

    name: str
    reported_amount: int
    ledger_amount: int

    @property
    def difference_amount(self) -> int:
        return self.reported_amount - self.ledger_amount


@dataclass(slots=True)
class Figures:
    """The figures of a period; `read` fills them, window by window."""

    since: datetime
    until: datetime
    rows: defaultdict[Key, Amounts] = field(default_factory=lambda: defaultdict(Amounts))
    orders_by_campaign: defaultdict[int | None, int] = field(default_factory=lambda: defaultdict(int))
    ledger: defaultdict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))

    def read(self) -> None:
        """Read everything."""
        for model, column, add in (
            (Order, "paid_at", self._add_sales),
            (Refund, "settled_at", self._add_refunds),
            (Transfer, "at", self._add_entries),
        ):
            for window in windows.between(model, column, self.since, self.until):
                add(window)

    def by_product(self) -> dict[int, Amounts]:
        return self._sums(lambda key: key.product_id)

    def by_campaign(self) -> dict[int | None, Amounts]:
        """By campaign, where `orders` counts orders, not lines."""
        found = self._sums(lambda key: key.campaign_id)
        for campaign_id, amounts in found.items():
            amounts.orders = self.orders_by_campaign[campaign_id]
        return found

    def total(self) -> Amounts:
        whole = self._sums(lambda key: None).get(None, Amounts())
        whole.orders = sum(self.orders_by_campaign.values())
        return whole

    def _sums(self, group: Callable[[Key], Any]) -> dict[Any, Amounts]:
        found: defaultdict[Any, Amounts] = defaultdict(Amounts)
        for key, amounts in self.rows.items():
            found[group(key)].add(amounts)
        return dict(found)

    def checks(self) -> list[Check]:
        """The totals that the ledger has as well; each difference is 0, or the books are wrong."""
        whole, ledger = self.total(), self.ledger
        return [
            Check(gettext("Sales"), whole.sales_amount, ledger[Kind.SALE, SALES]),
            Check(gettext("Sales paid with points"), whole.points_amount, -ledger[Kind.SALE, HOLDING]),
            Check(gettext("Sales paid by card"), whole.card_amount, -ledger[Kind.SALE, GATEWAY_CLEARING]),
            Check(gettext("Refunds"), whole.refunded_amount, -ledger[Kind.REFUND, SALES]),
            Check(gettext("Refunds in points"), whole.refunded_points_amount, ledger[Kind.REFUND, WALLETS]),
            Check(
                gettext("Refunds to cards"), whole.refunded_card_amount, ledger[Kind.REFUND, GATEWAY_CLEARING]
            ),
        ]

    def points(self) -> list[tuple[str, int]]:
        """What moved points, by the ledger: into wallets is positive."""
        wallets = {kind: self.ledger[kind, WALLETS] for kind in Kind}
        return [
            (gettext("Granted"), wallets[Kind.GRANT]),
            (gettext("Bought by card (top-ups)"), wallets[Kind.TOP_UP]),
            (gettext("Held for orders"), wallets[Kind.HOLD]),
            (gettext("Released from orders that ended unpaid"), wallets[Kind.RELEASE]),
            (gettext("Refunded"), wallets[Kind.REFUND]),
            (gettext("Forfeited by erased accounts"), wallets[Kind.FORFEIT]),
        ]

    def _add_sales(self, window: dict[str, datetime]) -> None:
        lines = OrderLine.objects.filter(**_of("order", window)).annotate(campaign=_campaign_of("order"))
        sums = (Count("pk"), Sum("quantity"), Sum("line_amount"), Sum("discount_amount"))
        sold = lines.order_by().values_list("product_id", "campaign").annotate(*sums)
        for product_id, campaign_id, *sold_of in windows.fetch(sold):
            self.rows[Key(product_id, campaign_id)].add(Amounts(*sold_of))
        orders = Order.objects.filter(**window).annotate(campaign=_campaign_of("")).order_by()
        for campaign_id, count in windows.fetch(orders.values_list("campaign").annotate(Count("pk"))):
            self.orders_by_campaign[campaign_id] += count
        columns = ("order_id", "order__points_amount", "product_id", "campaign")
        paid = lines.filter(order__points_amount__gt=0).order_by("order_id", "pk")
        rows = windows.fetch(paid.values_list(*columns, F("line_amount") - F("discount_amount")))
        for key, points_amount in _split_points(rows):
            self.rows[key].points_amount += points_amount

    def _add_refunds(self, window: dict[str, datetime]) -> None:
        lines = RefundLine.objects.filter(**_of("refund", window)).annotate(
            campaign=_campaign_of("refund__order")
        )
        columns = ("refund_id", "refund__points_amount", "line__product_id", "campaign", "amount", "quantity")
        found = windows.fetch(lines.order_by("refund_id", "pk").values_list(*columns))
        for _, _, product_id, campaign_id, amount, quantity in found:
            self.rows[Key(product_id, campaign_id)].add(
                Amounts(refunded_units=quantity, refunded_amount=amount)
            )
        for key, points_amount in _split_points([row[:5] for row in found]):
            self.rows[key].refunded_points_amount += points_amount

    def _add_entries(self, window: dict[str, datetime]) -> None:
        wallets = When(account_id__gt=0, then=Value(WALLETS))
        account = Case(wallets, default=F("account_id"), output_field=BigIntegerField())
        entries = Entry.objects.filter(**_of("transfer", window)).annotate(of=account).order_by()
        sums = windows.fetch(entries.values_list("transfer__kind", "of").annotate(Sum("amount")))
        for kind, account_id, amount in sums:
            self.ledger[kind, account_id] += amount


def _of(relation: str, window: dict[str, datetime]) -> dict[str, datetime]:
    """The window's conditions for rows that refer to the window's table."""
    return {f"{relation}__{condition}": instant for condition, instant in window.items()}


def _campaign_of(order: str) -> Subquery:
    """The campaign of the order's coupon: by its code, because a refund may have released the coupon."""
    code = OuterRef(f"{order}__coupon_code" if order else "coupon_code")
    return Subquery(Coupon.objects.filter(code=code).values("campaign_id")[:1])


def _split_points(rows: Sequence[Sequence[Any]]) -> Iterator[tuple[Key, int]]:
    """The points of each line; a row is an owner, its points, a product, a campaign and an amount."""
    for (_, points_amount), lines in groupby(rows, key=itemgetter(0, 1)):
        of_owner = list(lines)
        parts = pricing.split_discount(points_amount, [amount for *_, amount in of_owner])
        for (_, _, product_id, campaign_id, _), part in zip(of_owner, parts, strict=True):
            yield Key(product_id, campaign_id), part
