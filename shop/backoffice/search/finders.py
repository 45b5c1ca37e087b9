"""What the search box finds: whole ids and keys, and beginnings of codes and names, each by an index.

A finder reads one kind of rows, as many as `most`. Parts of words are not looked for: no index finds them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from django.contrib.auth.models import User
from django.db.models import Model, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from coupons.models import Coupon
from orders.models import Order, Refund, Saga
from orders.saga.definitions import SAGA_TYPES
from payments import selectors
from payments.models import Payment
from sales.models import SaleEntry
from sales.waiting_room import entries as sale_entries
from shop import clock
from shop.accounts import accounts
from shop.backoffice.page_elements import amount, may_view
from shop.operators.lists import parse_uuid
from shop.operators.status_words import status_word

LONGEST_TERM = 150
"""The longest name of an account; ids, codes and references are shorter."""
SHORTEST_CODE = 3
"""Characters of a code's beginning: the first two are the hour, and so of thousands of coupons."""


class Match(IntEnum):
    """How a row was found: by the whole term, by a beginning, or because it belongs to what has the id."""

    WHOLE = 0
    BEGINNING = 1
    BESIDE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A row that was found, and the address of its page."""

    kind: str
    title: str
    detail: str
    address: str
    match: Match


class Finder(NamedTuple):
    """Finds rows of a model, for those who may view them."""

    model: type[Model]
    find: Callable[[str, int], Iterator[Hit]]


def _hit(kind: str, row: Model, match: Match, *detail: object, title: str = "", page: str = "") -> Hit:
    """A row whose page is the admin's of its model, unless `page` is another, and its title its key."""
    address = reverse(page or f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    shown = " · ".join(str(part) for part in detail if part)
    return Hit(kind=kind, title=title or str(row.pk), detail=shown, address=address, match=match)


def _orders(term: str, most: int) -> Iterator[Hit]:
    """An order by its id, or by the coupon that it holds."""
    id = parse_uuid(term)
    found = [] if id is None else [(Order.objects.filter(pk=id), Match.WHOLE)]
    if not _is_only_an_id(term):
        holders = Coupon.objects.filter(code__in=_codes(term), order__isnull=False)
        held = Order.objects.filter(pk__in=list(holders.values_list("order_id", flat=True)))
        found.append((held, Match.BESIDE))
    for orders, match in found:
        for order in orders.select_related("account"):
            total = amount(order.total_amount)
            yield _hit(_("Order"), order, match, status_word(order.status), total, order.account.username)


def _payments(term: str, most: int) -> Iterator[Hit]:
    """A payment by its id, its order's id, or the key of its charge."""
    id = parse_uuid(term)
    if id is None:
        found = Payment.objects.filter(charge_key=term)
    else:
        found = Payment.objects.filter(Q(pk=id) | Q(order_id=id))
    for payment in found[:most]:
        is_beside = id is not None and payment.pk != id
        yield _payment_hit(payment, Match.BESIDE if is_beside else Match.WHOLE)


def _charges(term: str, most: int) -> Iterator[Hit]:
    """A payment by the gateway's reference of its charge, if it is one of the newest."""
    if selectors.may_be_reference(term) and parse_uuid(term) is None:
        for payment in selectors.recent_with_charge_reference(term)[:most]:
            yield _payment_hit(payment, Match.WHOLE)


def _payment_hit(payment: Payment, match: Match) -> Hit:
    status, card = status_word(payment.status), amount(payment.card_amount)
    return _hit(_("Payment"), payment, match, status, card, payment.charge_reference)


def _sagas(term: str, most: int) -> Iterator[Hit]:
    """A saga by its id, or by the payment or refund that it is for."""
    id = parse_uuid(term)
    found = Saga.objects.filter(Q(pk=id) | Q(kind__in=SAGA_TYPES, subject_id=id)) if id else ()
    for saga in found[:most]:
        match = Match.WHOLE if saga.pk == id else Match.BESIDE
        yield _hit(_("Saga"), saga, match, status_word(saga.kind), status_word(saga.state))


def _refunds(term: str, most: int) -> Iterator[Hit]:
    """A refund by its id."""
    id = parse_uuid(term)
    for refund in Refund.objects.filter(pk=id) if id else ():
        yield _hit(_("Refund"), refund, Match.WHOLE, status_word(refund.status), amount(refund.amount))


def _sale_entries(term: str, most: int) -> Iterator[Hit]:
    """An entry of a sale by its id, or those that the order of this id used."""
    id = parse_uuid(term)
    if id is None:
        return
    now = clock.now()
    found = SaleEntry.objects.filter(Q(pk=id) | Q(order_id=id)).select_related("sale", "account")
    for entry in found[:most]:
        recorded = SaleEntry.Status(entry.status)
        status = sale_entries.effective_status(recorded, entry.admitted_until, entry.sale, now)
        detail = (status_word(status.value), entry.sale.name, entry.account.username)
        yield _hit(_("Sale entry"), entry, Match.WHOLE if entry.pk == id else Match.BESIDE, *detail)


def _coupons(term: str, most: int) -> Iterator[Hit]:
    """Coupons by their code, or by its beginning."""
    if _is_only_an_id(term):
        return
    exact = list(Coupon.objects.filter(code__in=_codes(term)).select_related("campaign", "account"))
    ids: set[int] = set()
    if len(term) >= SHORTEST_CODE and term.isascii():
        for code in _codes(term):
            # `startswith` is LIKE BINARY, which no index answers; codes are compared as bytes anyway. Joined
            # to other tables, the database may begin with those.
            begun = Coupon.objects.filter(code__istartswith=code).order_by("code")
            ids.update(begun.values_list("pk", flat=True)[:most])
    ids -= {coupon.pk for coupon in exact}
    begun_with = Coupon.objects.filter(pk__in=ids).select_related("campaign", "account").order_by("code")
    found = [*((one, Match.WHOLE) for one in exact), *((one, Match.BEGINNING) for one in begun_with)]
    for coupon, match in found[:most]:
        detail = (status_word(coupon.status_at(clock.now())), coupon.campaign.name, coupon.account.username)
        yield _hit(_("Coupon"), coupon, match, *detail, title=coupon.code)


def _accounts(term: str, most: int) -> Iterator[Hit]:
    """Accounts by the beginning of a name or an address, or by number; the one of the whole name first."""
    if _is_only_an_id(term):
        return
    ids = accounts.find_ids(term, most=most)
    hits = [_account_hit(account, term) for account in User.objects.filter(pk__in=ids).order_by("username")]
    yield from sorted(hits, key=lambda hit: hit.match)[:most]


def _account_hit(account: User, term: str) -> Hit:
    kind = _("staff") if account.is_staff else _("customer")
    state = "" if account.is_active else _("disabled")
    names = {str(account.pk), account.username.casefold(), account.email.casefold()}
    match = Match.WHOLE if term.casefold() in names else Match.BEGINNING
    detail = (account.email, kind, state, f"#{account.pk}")
    return _hit(_("Account"), account, match, *detail, title=account.username, page="account-page")


def _codes(term: str) -> list[str]:
    """The term as it was typed, and in capitals, as the shop's own codes are."""
    return list(dict.fromkeys([term, term.upper()]))


def _is_only_an_id(term: str) -> bool:
    """Whether it is an id, and nothing else: 32 digits without hyphens may be a code or a name too."""
    return "-" in term and parse_uuid(term) is not None


FINDERS = (
    Finder(Order, _orders),
    Finder(Payment, _payments),
    Finder(Refund, _refunds),
    Finder(Saga, _sagas),
    Finder(Coupon, _coupons),
    Finder(SaleEntry, _sale_entries),
    Finder(User, _accounts),
)
LAST = (Finder(Payment, _charges),)
"""Those that take longer: not while a term is typed, and only if nothing else is found."""


def find(request: HttpRequest, term: str, *, most: int, is_sent: bool) -> list[Hit]:
    """What the operator may view of what the term finds: `most` of each kind, whole matches first."""
    hits = _find(request, FINDERS, term, most)
    if is_sent and not hits:
        hits = _find(request, LAST, term, most)
    return sorted(hits, key=lambda hit: hit.match)


def _find(request: HttpRequest, finders: Sequence[Finder], term: str, most: int) -> list[Hit]:
    allowed = [finder for finder in finders if may_view(request, finder.model)]
    return [hit for finder in allowed for hit in finder.find(term, most)]


def may_search(request: HttpRequest) -> bool:
    """Whether the operator may view anything that the search finds."""
    return any(may_view(request, finder.model) for finder in FINDERS)
