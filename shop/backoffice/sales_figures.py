"""Sales, refunds, discounts and points of a period, by product and campaign, beside the ledger's entries.

A sale is of the instant at which its order was paid, a refund of that at which it was settled; the ledger's
transfers have the same instants. So over any period that has ended the figures add up to the ledger exactly.
The points of an order or a refund are split over its lines as a discount is: in proportion, rounded down, the
rest on the last line.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from django.db.models import BigIntegerField, Case, Count, F, OuterRef, Subquery, Sum, Value, When
from django.utils.translation import gettext, gettext_lazy

from coupons.models import Coupon
from orders import pricing
from orders.models import Order, OrderLine, Refund, RefundLine
from payments.models import GATEWAY_CLEARING, HOLDING, SALES, Entry, Transfer
from shop.backoffice import windows

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

    def is_zero(self) -> bool:
        return not any(astuple(self))


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

    def read(self) -> Iterator[str]:
        """Read everything; yields what has been read so far, in words, after each window."""
        for model, column, add, subject in (
            (Order, "paid_at", self._add_sales, gettext_lazy("Orders")),
            (Refund, "settled_at", self._add_refunds, gettext_lazy("Refunds")),
            (Transfer, "at", self._add_entries, gettext_lazy("The ledger")),
        ):
            for window in windows.between(model, column, self.since, self.until):
                add(window)
                end = window[f"{column}__lt"]
                text = gettext("%(subject)s: read to %(end)s of %(until)s UTC")
                instants = {"end": f"{end:%Y-%m-%d %H:%M}", "until": f"{self.until:%Y-%m-%d %H:%M}"}
                yield text % {"subject": subject, **instants}

    def by_product(self) -> dict[int, Amounts]:
        return _sums((key.product_id, amounts) for key, amounts in self.rows.items())

    def by_campaign(self) -> dict[int | None, Amounts]:
        """By campaign, where `orders` counts orders, not lines."""
        found = _sums((key.campaign_id, amounts) for key, amounts in self.rows.items())
        for campaign_id, amounts in found.items():
            amounts.orders = self.orders_by_campaign[campaign_id]
        return found

    def total(self) -> Amounts:
        whole = Amounts()
        for amounts in self.by_campaign().values():
            whole.add(amounts)
        return whole

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
        orders = Order.objects.filter(**window)
        lines = OrderLine.objects.filter(**_of("order", window)).annotate(campaign=_campaign_of("order"))
        sold = (
            lines.order_by()
            .values_list("product_id", "campaign")
            .annotate(Count("pk"), Sum("quantity"), Sum("line_amount"), Sum("discount_amount"))
        )
        for product_id, campaign_id, *sums in windows.fetch(sold):
            self.rows[Key(product_id, campaign_id)].add(Amounts(*sums))
        counted = orders.annotate(campaign=_campaign_of("")).order_by().values_list("campaign")
        for campaign_id, count in windows.fetch(counted.annotate(Count("pk"))):
            self.orders_by_campaign[campaign_id] += count
        by_points = lines.filter(order__points_amount__gt=0).order_by("order_id", "pk")
        rows = by_points.values_list(
            "order_id",
            "order__points_amount",
            "product_id",
            "campaign",
            F("line_amount") - F("discount_amount"),
        )
        for key, points_amount in _split_points(windows.fetch(rows)):
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
        entries = Entry.objects.filter(**_of("transfer", window))
        account = Case(
            When(account_id__gt=0, then=Value(WALLETS)),
            default=F("account_id"),
            output_field=BigIntegerField(),
        )
        sums = entries.annotate(of=account).order_by().values_list("transfer__kind", "of")
        for kind, account_id, amount in windows.fetch(sums.annotate(Sum("amount"))):
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


def _sums(parts: Iterable[tuple[Any, Amounts]]) -> dict[Any, Amounts]:
    found: defaultdict[Any, Amounts] = defaultdict(Amounts)
    for key, amounts in parts:
        found[key].add(amounts)
    return dict(found)
