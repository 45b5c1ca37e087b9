"""The search: whole ids and keys, and beginnings of codes and names, each by an index, on a page and while a
term is typed.

A finder reads one kind of rows, as many as `most`. Parts of words are not looked for: no index finds them.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Model, Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext, gettext_lazy as _
from django.views.decorators.http import require_safe

from accounts import accounts
from backoffice.page_elements import entry_status, may_view
from coupons.models import Coupon
from foundation import clock
from foundation.admin_base.display import admin_page
from foundation.admin_base.lists import parse_uuid
from foundation.admin_base.status_words import status_word
from foundation.money import format_amount
from orders import order_numbers
from orders.models import Order, Refund, Saga
from orders.saga.definitions import SAGA_TYPES
from payments import selectors
from payments.models import Payment
from sales.models import SaleEntry

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
    title: str = "pk"
    page: str = ""

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
        page = self.page or f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
        detail = " · ".join(str(part) for part in self.detail(row) if part)
        return Hit(str(self.kind), str(getattr(row, self.title)), detail, reverse(page, args=[row.pk]), match)


def _orders(term: str, most: int) -> Found:
    """The order of this number, and the one that holds the coupon of this code."""
    number = order_numbers.parse(term)
    for order in Order.objects.filter(number=number).select_related("account") if number else ():
        yield order, Match.WHOLE
    holders = Coupon.objects.filter(code__in=_codes(term), order__isnull=False)
    ids = list(holders.values_list("order_id", flat=True))
    for order in Order.objects.filter(pk__in=ids).select_related("account"):
        yield order, Match.BESIDE


def _charged_by_reference(term: str, most: int) -> Found:
    """A payment by the gateway's reference of its charge, if it is one of the newest."""
    if not selectors.may_be_reference(term):
        return iter(())
    return ((one, Match.WHOLE) for one in selectors.recent_with_charge_reference(term)[:most])


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


def _payment_detail(payment: Payment) -> Sequence[object]:
    return status_word(payment.status), format_amount(payment.card_amount), payment.charge_reference


def _codes(term: str) -> list[str]:
    """The term as it was typed, and in capitals, as the shop's own codes are."""
    return list(dict.fromkeys([term, term.upper()]))


FINDERS = (
    Finder(
        Order,
        _("Order"),
        lambda order: (status_word(order.status), format_amount(order.total_amount), order.account.username),
        by_id=lambda id: Q(pk=id),
        by_text=_orders,
        related=["account"],
    ),
    Finder(
        Payment,
        _("Payment"),
        _payment_detail,
        by_id=lambda id: Q(pk=id) | Q(order_id=id),
        by_text=lambda term, most: (
            (one, Match.WHOLE) for one in Payment.objects.filter(charge_key=term)[:most]
        ),
    ),
    Finder(
        Refund,
        _("Refund"),
        lambda refund: (status_word(refund.status), format_amount(refund.amount)),
        by_id=lambda id: Q(pk=id),
    ),
    Finder(
        Saga,
        _("Saga"),
        lambda saga: (status_word(saga.kind), status_word(saga.state)),
        by_id=lambda id: Q(pk=id) | Q(kind__in=SAGA_TYPES, subject_id=id),
    ),
    Finder(
        Coupon,
        _("Coupon"),
        lambda one: (status_word(one.status_at(clock.now())), one.campaign.name, one.account.username),
        by_text=_coupons,
        title="code",
    ),
    Finder(
        SaleEntry,
        _("Sale entry"),
        lambda one: (status_word(entry_status(one)), one.sale.name, one.account.username),
        by_id=lambda id: Q(pk=id) | Q(order_id=id),
        related=["sale", "account"],
    ),
    Finder(User, _("Account"), _account_detail, by_text=_accounts, title="username", page="account-page"),
)
LAST = Finder(Payment, _("Payment"), _payment_detail, by_text=_charged_by_reference)
"""Takes longer: not while a term is typed, and only if nothing else is found."""


def find(request: HttpRequest, term: str, *, most: int, is_sent: bool) -> list[Hit]:
    """What the operator may view of what the term finds: `most` of each kind, whole matches first."""
    hits = [hit for one in FINDERS if may_view(request, one.model) for hit in one.find(term, most)]
    if is_sent and not hits and may_view(request, LAST.model):
        hits = list(LAST.find(term, most))
    return sorted(hits, key=lambda hit: hit.match)


MOST_OF_A_KIND = 20
MOST_WHILE_TYPED = 4
SHORTEST_WHILE_TYPED = 3


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """What the term `q` finds. A row is opened at once if the whole term names it, and nothing else."""
    term = _term(request)
    is_searched = 0 < len(term) <= LONGEST_TERM
    hits = find(request, term, most=MOST_OF_A_KIND, is_sent=True) if is_searched else []
    # What the whole term names, if nothing else begins with it.
    meant = [hit for hit in hits if hit.match != Match.BESIDE]
    if [hit.match for hit in meant] == [Match.WHOLE]:
        return redirect(meant[0].address)
    shown = {
        "title": gettext("Search"),
        "term": term[:LONGEST_TERM],
        "hits": hits,
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
    is_searched = SHORTEST_WHILE_TYPED <= len(term) <= LONGEST_TERM
    hits = find(request, term, most=MOST_WHILE_TYPED, is_sent=False) if is_searched else []
    shown = ("kind", "title", "detail", "address")
    return JsonResponse({"hits": [{name: getattr(hit, name) for name in shown} for hit in hits]})


def _term(request: HttpRequest) -> str:
    # A character that no name has, and that databases refuse.
    return request.GET.get("q", "").replace("\x00", "").strip()
