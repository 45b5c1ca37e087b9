"""The search: whole ids and keys, and beginnings of codes and of accounts' names, each by an index; ends of
orders' numbers, and parts of the names of campaigns, sales and products, among the newest rows. It answers on
a page, and while a term is typed.

A finder reads one kind of rows, as many as `most`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Model, Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext, gettext_lazy as _
from django.views.decorators.http import require_safe

from accounts import accounts
from backoffice.page_elements import coupons_left, may_view
from coupons.models import Campaign, Coupon
from foundation import clock
from foundation.admin_base import history
from foundation.admin_base.display import admin_page, ago, view_of
from foundation.admin_base.lists import find_named, parse_uuid, status_of
from foundation.admin_base.status_words import status_word
from foundation.money import format_amount
from inventory import products
from inventory.models import Product
from orders import order_numbers
from orders.admin.orders import find_numbered, find_products, items_text, newest_orders_with, products_named
from orders.models import Order, Refund, Saga
from orders.saga.definitions import SAGA_TYPES
from payments import selectors
from payments.models import Payment
from sales.models import Sale, SaleEntry

LONGEST_TERM = 150
"""The longest name of an account; ids, codes and references are shorter."""
SHORTEST_CODE = 3
"""Characters of a code's beginning: the first two are the hour, and so of thousands of coupons."""


class Match(IntEnum):
    """How a row was found: by the whole term, by a beginning, or because it belongs to what has the id."""

    WHOLE = 0
    BEGINNING = 1
    BESIDE = 2


class Hit(NamedTuple):
    """A row that was found, and the address of its page."""

    kind: str
    title: str
    detail: str
    address: str
    match: Match
    subjects: Sequence[str] = ()
    """What the journal calls it."""


Found = Iterator[tuple[Any, Match]]


class Finder(NamedTuple):
    """Finds rows of a model for those who may view them: by an id, of its own or beside it, and by a text."""

    model: type[Model]
    kind: Promise
    detail: Callable[[Any], Sequence[object]]
    by_id: Callable[[UUID], Q] | None = None
    by_text: Callable[[str, int], Found] = lambda term, most: iter(())
    # Without any name, Django would follow every relation.
    related: Sequence[Any] = (None,)
    needs: type[Model] | None = None
    """What the operator must be allowed to view besides: by that the rows are found."""

    def find(self, term: str, most: int) -> Iterator[Hit]:
        if self.by_id and (id := parse_uuid(term)):
            rows: Any = self.model._default_manager.select_related(*self.related).filter(self.by_id(id))
            for row in rows[:most]:
                yield self._hit(row, Match.WHOLE if row.pk == id else Match.BESIDE)
        # 32 digits without hyphens may be a code or a name too.
        if "-" not in term or parse_uuid(term) is None:
            for row, match in self.by_text(term, most):
                yield self._hit(row, match)

    def _hit(self, row: Model, match: Match) -> Hit:
        detail = " · ".join(str(part) for part in self.detail(row) if part)
        pages: Any = admin.site.get_model_admin(self.model)
        subjects = [f"{kind} {getattr(row, pages.subject_key)}" for kind in pages.subjects]
        address = reverse(pages.row_page or view_of(row), args=[row.pk])
        return Hit(str(self.kind), str(getattr(row, "name", row)), detail, address, match, subjects)


def _orders(term: str, most: int) -> Found:
    """Orders by their number, its beginning or its end, and the one that holds the coupon of this code."""
    orders = Order.objects.prefetch_related("account", "lines")
    for order in find_numbered(orders, term, most):
        is_whole = order.number == order_numbers.parse(term)
        yield order, Match.WHOLE if is_whole else Match.BEGINNING
    holders = Coupon.objects.filter(code__in=_codes(term), order__isnull=False)
    ids = list(holders.values_list("order_id", flat=True))
    yield from ((order, Match.BESIDE) for order in orders.filter(pk__in=ids))


def _orders_of_account(term: str, most: int) -> Found:
    """The newest orders of the account that has this whole name or address."""
    return _newest_orders(most, account__in=_whole(_accounts(term, most)))


def _orders_of_product(term: str, most: int) -> Found:
    """The newest orders of the product with this name or SKU, or of those that have it as a part."""
    return _newest_orders(most, pk__in=newest_orders_with(find_products(term), most))


def _whole(found: Found) -> list[Any]:
    return [row for row, match in found if match == Match.WHOLE]


def _newest_orders(most: int, **of: Any) -> Found:
    found = Order.objects.filter(**of).prefetch_related("account", "lines").order_by("-id")
    return ((order, Match.BESIDE) for order in found[:most])


def _charged_by_reference(term: str, most: int) -> Found:
    """A payment by the gateway's reference of its charge, if it is one of the newest."""
    if not selectors.may_be_reference(term):
        return iter(())
    return ((one, Match.WHOLE) for one in selectors.recent_with_charge_reference(term)[:most])


def _orders_of_charge(term: str, most: int) -> Found:
    """The orders of these payments."""
    return _newest_orders(most, payments__in=_whole(_charged_by_reference(term, most)))


def _named(model: type[Model], *by: str) -> Callable[[str, int], Found]:
    """Rows by a part of their name."""
    rows = model._default_manager.all()
    return lambda term, most: _ranked(find_named(rows, term, *by)[:most], term, *by)


def _ranked(rows: Iterable[Any], term: str, *by: str) -> Found:
    for row in rows:
        is_whole = term.casefold() in [str(getattr(row, name)).casefold() for name in by]
        yield row, Match.WHOLE if is_whole else Match.BEGINNING


def _coupons(term: str, most: int) -> Found:
    """Coupons by their code, or by its beginning."""
    codes = _codes(term)
    ids = set[int]()
    # `startswith` is LIKE BINARY, which no index answers; codes are compared as bytes anyway.
    lookup = "istartswith" if len(term) >= SHORTEST_CODE and term.isascii() else "exact"
    for code in codes:
        # The whole one comes first. Joined to other tables, the database may begin with those.
        begun = Coupon.objects.filter(**{f"code__{lookup}": code}).order_by("code")
        ids.update(begun.values_list("pk", flat=True)[:most])
    coupons = Coupon.objects.filter(pk__in=ids).select_related("campaign", "account").order_by("code")
    found = [(one, Match.WHOLE if one.code in codes else Match.BEGINNING) for one in coupons]
    yield from sorted(found, key=itemgetter(1))[:most]


def _accounts(term: str, most: int) -> Found:
    """Accounts by the beginning of a name or an address, or by number; the one of the whole name first."""
    found = []
    for account in User.objects.filter(pk__in=accounts.find_ids(term, most=most)).order_by("username"):
        names = {str(account.pk), account.username.casefold(), account.email.casefold()}
        found.append((account, Match.WHOLE if term.casefold() in names else Match.BEGINNING))
    yield from sorted(found, key=itemgetter(1))[:most]


def _account_detail(account: User) -> Sequence[object]:
    kind = gettext("staff") if account.is_staff else gettext("customer")
    return account.email, kind, "" if account.is_active else gettext("disabled"), f"#{account.pk}"


def _order_detail(order: Order) -> Sequence[object]:
    amount = format_amount(order.total_amount, order.currency)
    return _status(order), amount, items_text(order), order.account.username, ago(order.placed_at)


def _payment_detail(payment: Payment) -> Sequence[object]:
    amount = format_amount(payment.card_amount + payment.points_amount, payment.currency)
    return status_word(payment.shown_status), amount, payment.charge_reference, ago(payment.created_at)


def _status(row: Any) -> str:
    return status_word(status_of(row))


def _opening(row: Campaign | Sale) -> str:
    text = gettext("opened %(ago)s") if row.opens_at <= clock.now() else gettext("opens %(ago)s")
    return text % {"ago": ago(row.opens_at)}


def _product_detail(product: Product) -> Sequence[object]:
    left = gettext("%(count)s available") % {"count": f"{product.available:,}"}
    return product.sku, status_word(products.state(product)), format_amount(product.price), left


def _codes(term: str) -> list[str]:
    """The term as it was typed, and in capitals, as the shop's own codes are."""
    return list(dict.fromkeys([term, term.upper()]))


FINDERS = (
    Finder(Order, _("Order"), _order_detail, by_id=lambda id: Q(pk=id), by_text=_orders, related=["account"]),
    Finder(
        Campaign,
        _("Campaign"),
        lambda one: (_status(one), coupons_left(one), _opening(one)),
        by_text=_named(Campaign, "name", "shared_code"),
    ),
    Finder(Sale, _("Sale"), lambda one: (_status(one), _opening(one)), by_text=_named(Sale, "name")),
    Finder(
        Product,
        _("Product"),
        _product_detail,
        by_text=lambda term, most: _ranked(products_named(term)[:most], term, "name", "sku"),
    ),
    Finder(
        Payment,
        _("Payment"),
        _payment_detail,
        by_id=lambda id: Q(pk=id) | Q(order_id=id),
        related=["order"],
        by_text=lambda term, most: (
            (one, Match.WHOLE) for one in Payment.objects.filter(charge_key=term)[:most]
        ),
    ),
    Finder(
        Refund,
        _("Refund"),
        lambda refund: (_status(refund), format_amount(refund.amount), ago(refund.created_at)),
        by_id=lambda id: Q(pk=id),
        related=["order"],
    ),
    Finder(
        Saga,
        _("Payment or refund"),
        lambda saga: (status_word(saga.state), ago(saga.created_at)),
        by_id=lambda id: Q(pk=id) | Q(kind__in=SAGA_TYPES, subject_id=id),
    ),
    Finder(
        Coupon,
        _("Coupon"),
        lambda one: (_status(one), one.campaign.name, one.account.username, ago(one.issued_at)),
        by_text=_coupons,
    ),
    Finder(
        SaleEntry,
        _("Sale entry"),
        lambda one: (_status(one), one.sale.name, one.account.username),
        by_id=lambda id: Q(pk=id) | Q(order_id=id),
        related=["sale", "account"],
    ),
    Finder(User, _("Account"), _account_detail, by_text=_accounts),
    Finder(Order, _("Order"), _order_detail, by_text=_orders_of_account, needs=User),
    Finder(Order, _("Order"), _order_detail, by_text=_orders_of_product, needs=Product),
)
LAST = (
    Finder(Payment, _("Payment"), _payment_detail, by_text=_charged_by_reference),
    Finder(Order, _("Order"), _order_detail, by_text=_orders_of_charge, needs=Payment),
)
"""Take longer: not while a term is typed, and only if nothing else is found."""


def find(request: HttpRequest, term: str, *, most: int, is_sent: bool) -> list[Hit]:
    """What the operator may view of what the term finds: `most` by each finder, grouped by kind; the kind of
    the best match comes first, and in each kind whole matches.
    """
    hits = _find_by(FINDERS, request, term, most)
    if is_sent and not hits:
        hits = _find_by(LAST, request, term, most)
    kinds = list(dict.fromkeys(hit.kind for hit in hits))
    return sorted(hits, key=lambda hit: kinds.index(hit.kind))


def find_subjects(request: HttpRequest, term: str) -> list[str]:
    """What the journal calls the rows that the term names; of those that it begins or ends, some."""
    hits = find(request, term, most=MOST_OF_A_KIND, is_sent=True) if len(term) <= LONGEST_TERM else []
    meant = [hit for hit in hits if hit.match != Match.BESIDE]
    whole = [hit for hit in meant if hit.match == Match.WHOLE] or meant
    return [subject for hit in whole[:MOST_OF_A_KIND] for subject in hit.subjects]


history.FIND_SUBJECTS.append(find_subjects)


def _find_by(finders: Sequence[Finder], request: HttpRequest, term: str, most: int) -> list[Hit]:
    """Each row once, as it was found best."""
    found: dict[str, Hit] = {}
    for finder in finders:
        if all(may_view(request, one) for one in (finder.model, finder.needs) if one):
            for hit in finder.find(term, most):
                found.setdefault(hit.address, hit)
    return sorted(found.values(), key=attrgetter("match"))


MOST_OF_A_KIND = 20
MOST_WHILE_TYPED = 4
SHORTEST_WHILE_TYPED = 3
SHORTEST_WORD = 2
"""Of a script with a sign for each syllable."""


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """What the term `q` finds. A row is opened at once if the whole term names it, and nothing else; with
    `first` the first one is.
    """
    term = _term(request)
    hits = find(request, term, most=MOST_OF_A_KIND, is_sent=True) if 0 < len(term) <= LONGEST_TERM else []
    # What the whole term names, if nothing else begins with it.
    meant = [hit for hit in hits if hit.match != Match.BESIDE]
    if [hit.match for hit in meant] == [Match.WHOLE]:
        return redirect(meant[0].address)
    if hits and "first" in request.GET:
        return redirect(hits[0].address)
    shown = {
        "title": gettext("Search"),
        "term": term[:LONGEST_TERM],
        "number": len(hits),
        "groups": [(kind, list(of_kind)) for kind, of_kind in groupby(hits, attrgetter("kind"))],
        "may_search": any(may_view(request, finder.model) for finder in FINDERS),
        "is_too_long": len(term) > LONGEST_TERM,
        "longest": LONGEST_TERM,
        "most": MOST_OF_A_KIND,
    }
    return admin_page(request, "backoffice/search/page.html", shown)


@require_safe
def hits_while_typed(request: HttpRequest) -> JsonResponse:
    """The first hits for the beginning of a term, for the box's list; none for a very short one."""
    term = _term(request)
    shortest = SHORTEST_WHILE_TYPED if term.isascii() else SHORTEST_WORD
    is_searched = shortest <= len(term) <= LONGEST_TERM
    hits = find(request, term, most=MOST_WHILE_TYPED, is_sent=False) if is_searched else []
    shown = ("kind", "title", "detail", "address")
    return JsonResponse({"hits": [{name: getattr(hit, name) for name in shown} for hit in hits]})


def _term(request: HttpRequest) -> str:
    # A character that no name has, and that databases refuse.
    return request.GET.get("q", "").replace("\x00", "").strip()
