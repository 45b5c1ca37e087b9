"""Reports of money: sales by period, a page, its figures and the same as CSV; and balances of the ledger.

Sales, refunds, discounts and points of a period stand by product and campaign, beside the ledger's entries. A
sale is of the instant at which its order was paid, a refund of that at which it was settled; the ledger's
transfers have the same instants. So over any period that has ended the figures add up to the ledger exactly.
The points of an order or a refund are split over its lines as a discount is: in proportion, rounded down, the
rest on the last line.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.db.models import BigIntegerField, Case, Count, F, Model, OuterRef, Subquery, Sum, Value, When
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext, gettext_lazy as _
from django.views.decorators.http import require_GET

from backoffice import list_exports, windows
from backoffice.windows import Window
from coupons.models import Campaign, Coupon
from foundation import clock, form_fields, journal
from foundation.admin_base.actions import require_permission
from foundation.admin_base.display import Context
from foundation.errors import Invalid
from foundation.http import problems
from foundation.lazy_texts import Text
from foundation.money import format_amount
from inventory import selectors as stock_selectors
from inventory.models import Product
from orders import pricing, refund_parts, rows as order_rows
from orders.models import Order, OrderLine, Refund
from payments.models import GATEWAY_CLEARING, HOLDING, SALES, Entry, LedgerAccount, Transfer

PERMISSIONS = ("orders.view_order", "payments.view_transfer")
LONGEST_DAYS = 366
MARGIN = timedelta(minutes=1)
"""Before now the figures end: a transaction in progress may still commit what is of an instant before."""
AMOUNTS = [
    "units", "items_amount", "discount_amount", "sales_amount", "points_amount", "card_amount",
    "refunded_units", "refunded_amount", "refunded_points_amount", "refunded_card_amount",
]  # fmt: skip
COLUMNS = ["product", "sku", "product_name", "campaign", "campaign_name", "order_lines", *AMOUNTS, "currency"]
ENTRIES_AT_ONCE = 50_000
"""Entries that one statement sums."""
LEDGER_KINDS = [kind for kind in LedgerAccount.Kind.values if kind != LedgerAccount.Kind.WALLET]
"""Of the shop's own accounts, of which each is the only one of its kind."""
WALLETS = 0
"""Stands for all wallets where entries are summed by account."""
Kind = Transfer.Kind
MOVES = [
    (Kind.GRANT, _("Granted")),
    (Kind.TOP_UP, _("Bought by card (top-ups)")),
    (Kind.HOLD, _("Held for orders")),
    (Kind.RELEASE, _("Released from orders that ended unpaid")),
    (Kind.REFUND, _("Refunded")),
    (Kind.FORFEIT, _("Forfeited by erased accounts")),
]


Key = tuple[int, int | None]
"""A product, and the campaign whose coupon its orders used; None for orders without a coupon."""
Pages = Iterator[Sequence[Sequence[Any]]]
Amounts = Counter[str]
"""What was sold and refunded; amounts are in the currency's minor unit."""


@dataclass(frozen=True, slots=True)
class Check:
    """A total of the report beside the same total of the ledger."""

    name: str
    reported_amount: int
    ledger_amount: int

    @property
    def difference_amount(self) -> int:
        return self.reported_amount - self.ledger_amount


@dataclass(slots=True)
class Figures:
    """The figures of a period; `read` fills them, window by window. `orders` are counted by campaign."""

    since: datetime
    until: datetime
    rows: defaultdict[Key, Amounts] = field(default_factory=lambda: defaultdict(Counter))
    orders: Counter[int | None] = field(default_factory=Counter)
    ledger: Counter[tuple[str, int]] = field(default_factory=Counter)
    lost: Mapping[str, int] = field(default_factory=dict)

    def read(self) -> None:
        """Read everything."""
        for model, column, add in (
            (Order, "paid_at", self._add_sales),
            (Refund, "settled_at", self._add_refunds),
            (Refund, "failed_at", self._take_back_refunds),
            (Transfer, "at", self._add_entries),
        ):
            for window in self.windows(model, column):
                add(window)
        through = max(self.since, self.until - timedelta(microseconds=1))
        days = (clock.day_of(self.since), clock.day_of(through))
        self.lost = windows.read_elsewhere(partial(stock_selectors.lost_on, *days))

    def windows(self, model: type[Model], column: str) -> Iterator[Window]:
        return windows.between(model._base_manager.all(), column, self.since, self.until)

    def by_product(self) -> dict[int, Amounts]:
        return add_up((product_id, amounts) for (product_id, _), amounts in self.rows.items())

    def by_campaign(self) -> dict[int | None, Amounts]:
        """By campaign, where `orders` counts orders, not lines."""
        found = add_up((campaign_id, amounts) for (_, campaign_id), amounts in self.rows.items())
        for campaign_id, amounts in found.items():
            amounts["orders"] = self.orders[campaign_id]
        return found

    def total(self) -> Amounts:
        return add_up((None, amounts) for amounts in self.by_campaign().values())[None]

    def checks(self) -> list[Check]:
        """The totals that the ledger has as well; each difference is 0, or the books are wrong."""
        total = self.total()
        ledger = self.ledger
        card = GATEWAY_CLEARING
        return [
            Check(gettext("Sales"), total["sales_amount"], ledger[Kind.SALE, SALES]),
            Check(gettext("Sales paid with points"), total["points_amount"], -ledger[Kind.SALE, HOLDING]),
            Check(gettext("Sales paid by card"), total["card_amount"], -ledger[Kind.SALE, card]),
            Check(gettext("Refunds"), total["refunded_amount"], -ledger[Kind.REFUND, SALES]),
            Check(
                gettext("Refunds in points"), total["refunded_points_amount"], ledger[Kind.REFUND, WALLETS]
            ),
            Check(gettext("Refunds to cards"), total["refunded_card_amount"], ledger[Kind.REFUND, card]),
        ]

    def points(self) -> list[tuple[Text, int]]:
        """What moved points, by the ledger: into wallets is positive."""
        return [(title, self.ledger[kind, WALLETS]) for kind, title in MOVES]

    def _add_sales(self, window: Window) -> None:
        lines = OrderLine.objects.filter(**of("order", window)).annotate(campaign=campaign_of("order__"))
        sums = (Count("pk"), Sum("quantity"), Sum("line_amount"), Sum("discount_amount"))
        sold = lines.order_by().values_list("product_id", "campaign").annotate(*sums)
        for product_id, campaign_id, count, units, items, discount in windows.fetch(sold):
            row = self.rows[product_id, campaign_id]
            row.update(orders=count, units=units, items_amount=items, discount_amount=discount)
            row.update(dict.fromkeys(("sales_amount", "card_amount", "net_amount"), items - discount))
        orders = Order.objects.filter(**window).annotate(campaign=campaign_of()).order_by()
        self.orders.update(dict(windows.fetch(orders.values_list("campaign").annotate(Count("pk")))))
        paid = lines.filter(order__points_amount__gt=0).order_by("order_id", "pk")
        columns = ("product_id", "campaign", F("line_amount") - F("discount_amount"))
        rows = windows.fetch(paid.values_list("order_id", "order__points_amount", *columns))
        for (_order_id, points_amount), of_order in groupby(rows, key=itemgetter(0, 1)):
            bought = [row[2:] for row in of_order]
            parts = pricing.split_discount(points_amount, [amount for *_, amount in bought])
            for (product_id, campaign_id, _amount), points in zip(bought, parts, strict=True):
                self.rows[product_id, campaign_id].update(points_amount=points, card_amount=-points)

    def _add_refunds(self, window: Window) -> None:
        for key, units, amount, points_amount in _read_refunds(window):
            self.rows[key].update(
                refunded_units=units,
                refunded_amount=amount,
                refunded_points_amount=points_amount,
                refunded_card_amount=amount - points_amount,
                net_amount=-amount,
            )

    def _take_back_refunds(self, window: Window) -> None:
        """Of a refund that failed the card's part came back: not its points, nor its units."""
        for key, _units, amount, points_amount in _read_refunds(window):
            less = points_amount - amount
            self.rows[key].update(refunded_amount=less, refunded_card_amount=less, net_amount=-less)

    def _add_entries(self, window: Window) -> None:
        wallets = When(account_id__gt=0, then=Value(WALLETS))
        account = Case(wallets, default=F("account_id"), output_field=BigIntegerField())
        entries = Entry.objects.filter(**of("transfer", window)).annotate(of=account).order_by()
        sums = windows.fetch(entries.values_list("transfer__kind", "of").annotate(Sum("amount")))
        for kind, account_id, amount in sums:
            self.ledger[kind, account_id] += amount


def _read_refunds(window: Window) -> Iterator[tuple[Key, int, int, int]]:
    """The units, the amount and the points that refunds gave back of each line."""
    refunds = Refund.objects.filter(**window).annotate(campaign=campaign_of("order__")).order_by()
    campaigns = dict(windows.fetch(refunds.values_list("pk", "campaign")))
    lines = windows.read_elsewhere(partial(order_rows.read_refunds, campaigns))
    for line, amount, points_amount in refund_parts.split(lines):
        if line.own_units or amount:
            key = (line.product_id, campaigns[UUID(str(line.refund_id))])
            yield key, line.own_units or 0, amount, points_amount


def add_up(rows: Iterable[tuple[Any, Amounts]]) -> defaultdict[Any, Amounts]:
    """The sums of the amounts that have the same key."""
    sums: defaultdict[Any, Amounts] = defaultdict(Counter)
    for key, amounts in rows:
        sums[key].update(amounts)
    return sums


def of(relation: str, window: Window) -> Window:
    """The window's conditions for rows that refer to the window's table."""
    return {f"{relation}__{condition}": instant for condition, instant in window.items()}


def campaign_of(order: str = "") -> Subquery:
    """The campaign of the order's coupon: by its code, because a refund may have released the coupon."""
    coupons = Coupon.objects.filter(code=OuterRef(f"{order}coupon_code"))
    return Subquery(coupons.values("campaign_id")[:1])


class PeriodForm(forms.Form):
    """The first and the last day, of the shop's time zone."""

    since = form_fields.DayField(label=_("Since"), widget=forms.DateInput(attrs={"type": "date"}))
    through = form_fields.DayField(label=_("Through"), widget=forms.DateInput(attrs={"type": "date"}))

    def clean(self) -> Context:
        days: Context = super().clean() or {}
        if not self.errors:
            first = days["since"]
            last = days["through"]
            if last < first:
                raise forms.ValidationError(gettext("The last day is before the first. Swap them."))
            if last - first >= timedelta(days=LONGEST_DAYS):
                raise forms.ValidationError(
                    gettext("A report covers at most %(days)s days. Choose fewer.") % {"days": LONGEST_DAYS}
                )
        return days


@require_GET
def sales_csv(request: HttpRequest) -> HttpResponseBase:
    """A row for each product and campaign, as CSV; it is journaled."""
    require_permission(request, *PERMISSIONS, list_exports.PERMISSION)
    return send(request, "sales", read_period(request), COLUMNS, _csv_pages)


def send(
    request: HttpRequest,
    name: str,
    form: PeriodForm,
    columns: Sequence[str],
    read: Callable[[Figures], Pages],
) -> HttpResponseBase:
    """What `read` has of the period as a file, which is journaled; or a refusal."""
    if not form.is_valid():
        return refusal_of(form)
    days = {name: day.isoformat() for name, day in form.cleaned_data.items()}
    return windows.respond_csv(
        request,
        columns,
        read(figures_of(form)),
        filename="{name}-{since}-{through}.csv".format(name=name, **days),
        note=partial(
            journal.note, what="report.exported", subject=f"report {name}", after=days, is_internal=True
        ),
    )


@require_GET
def ledger_balance(request: HttpRequest, kind: str) -> HttpResponseBase:
    """The balance, for the page of the account. Raises `Http404` and `PermissionDenied`."""
    require_permission(request, "payments.view_ledgeraccount")
    # The shop's own accounts are the few with ids below zero, which the key finds.
    id = LedgerAccount.objects.filter(pk__lt=0, kind=kind).values_list("pk", flat=True).first()
    if id is None:
        raise Http404
    return windows.respond(request, "backoffice/ledger_balance.html", partial(_read_balance, id))


def _csv_pages(figures: Figures) -> Pages:
    figures.read()
    products = products_of({product_id for product_id, _ in figures.rows})
    campaigns = campaign_names({campaign_id for _, campaign_id in figures.rows})
    page = []
    for product_id, campaign_id in sorted(figures.rows, key=lambda key: (key[0], key[1] or 0)):
        row = figures.rows[product_id, campaign_id]
        numbers = [row[name] for name in ("orders", *AMOUNTS)]
        owner = [product_id, *products[product_id], campaign_id, campaigns[campaign_id]]
        page.append([*owner, *numbers, settings.CURRENCY])
    yield page


def products_of(ids: set[int]) -> dict[int, tuple[str, str]]:
    """The sku and the name of each product."""
    rows = windows.fetch(Product.objects.filter(pk__in=ids).values_list("pk", "sku", "name"))
    return {id: (sku, name) for id, sku, name in rows}


def campaign_names(ids: set[int | None], without: str = "") -> dict[int | None, str]:
    rows = Campaign.objects.filter(pk__in=[id for id in ids if id]).values_list("pk", "name")
    return {None: without, **dict(windows.fetch(rows))}


def figures_of(form: PeriodForm) -> Figures:
    """The figures of the period, not read yet: they end with a whole minute, `MARGIN` before now at the
    latest.
    """
    since, _end = clock.day_bounds(form.cleaned_data["since"])
    _begin, until = clock.day_bounds(form.cleaned_data["through"])
    return Figures(since, max(since, min(until, (clock.now() - MARGIN).replace(second=0, microsecond=0))))


def read_period(request: HttpRequest, since: date | None = None, through: date | None = None) -> PeriodForm:
    """The form with the request's days; without any, with these, or those of this month so far."""
    today = clock.today()
    days = {"since": f"{since or today.replace(day=1)}", "through": f"{through or today}"}
    return PeriodForm(days | {name: request.GET[name] for name in days if name in request.GET})


def refusal_of(form: PeriodForm) -> HttpResponseBase:
    detail = " ".join(str(message) for messages in form.errors.values() for message in messages)
    refused = gettext("Nothing was read. %(detail)s") % {"detail": detail}
    return problems.from_error(Invalid(refused, errors=[])).to_django()


def _read_balance(account_id: int) -> Context:
    """Sum the entries by short statements: the account caches no balance, and they grow without end."""
    own = Entry.objects.filter(account_id=account_id).order_by()
    total = Amounts()
    sums = {"entries": Count("pk"), "sum": Sum("amount", default=0)}
    for window in windows.between(own, "pk", rows=ENTRIES_AT_ONCE):
        total.update(windows.aggregate(own.filter(**window), **sums))
    return {"amount": format_amount(total["sum"]), "entries": f"{total['entries']:,}"}
