"""Our payments against the gateways' own books of charges (law L9), each with the payments that are at that
gateway, both read side by side, page by page. Payments at gateways that can't be reached any more, by their
settings, are left out: the doctor names them.

A suspected difference is checked again by its key before it is reported, because payments continue while the
books are read: a payment that is being processed is no difference, nor is one at the edge of a period.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice, pairwise
from typing import Any, NamedTuple

from django.db.models import BooleanField, Case, Exists, F, OuterRef, Q, QuerySet, When
from django.utils.translation import gettext_noop
from structlog import get_logger

from foundation import clock
from foundation.errors import Unavailable
from foundation.values import Values
from payments import disputes, gateways, rows
from payments.gateways.contract import BookedCharge, Books
from payments.models import Dispute, Payment, Reconciliation
from payments.transitions import ENDED_UNPAID, UNSETTLED

log = get_logger(__name__)
PAGE = 1_000
MAX_REPORTED = 100
# An adapter whose gateway lists the newest first holds a whole slice in memory, so slices are short.
SLICE = timedelta(days=1)
# A payment that changes at every check is left to the next comparison.
RECHECKS = 5
# How far claims and charges may be out of step. Beyond it a key is reported though it may still come.
MAX_AHEAD = 20_000


class Kind(StrEnum):
    """What kind of difference it is: each needs another remedy."""

    UNKNOWN_CHARGE = "unknown_charge"
    CHARGED_TWICE = "charged_twice"
    WRONG_CHARGE = "wrong_charge"
    CHARGED_AFTER_END = "charged_after_end"
    NOT_CHARGED = "not_charged"
    WRONG_REFUNDS = "wrong_refunds"
    DISPUTED = "disputed"


class Cause(NamedTuple):
    """The kind of a difference, and its cause in words: an English text with places for the values."""

    kind: Kind
    text: str
    values: Values

    @property
    def in_words(self) -> str:
        """The cause in English, as it is recorded and logged."""
        return self.text % self.values


@dataclass(frozen=True, slots=True)
class Difference:
    """The charges of a key in these books and the payment of that key, which don't agree, with the cause."""

    books: Books
    key: str
    cause: Cause
    charges: list[BookedCharge]
    payment: Payment | None

    def __str__(self) -> str:
        return f"{self.key}: {self.cause.in_words}"


@dataclass(slots=True)
class Comparison:
    """How many charges were compared with their payments so far, and the differences."""

    checked: int = 0
    differences: list[Difference] = field(default_factory=list)
    unread: str = ""

    @property
    def offenders(self) -> list[str]:
        """The differences in words, and a book that could not be read: what it holds is not known."""
        return [*map(str, self.differences), *([f"not checked: {self.unread}"] if self.unread else [])]


def compare(
    *, since: datetime | None = None, until: datetime | None = None, most: int = MAX_REPORTED
) -> Comparison:
    """Compare the books of a period, or the whole books; stops after `most` differences."""
    compared = Comparison()
    try:
        for difference in islice(differences(since=since, until=until, counted=compared), most):
            compared.differences.append(difference)
    except Unavailable as error:
        compared.unread = str(error)
    return compared


def differences(
    *, since: datetime | None, until: datetime | None, counted: Comparison | Reconciliation
) -> Iterator[Difference]:
    """Each key under which the books don't agree, as it is found; `counted` has the charges read so far.

    A period includes the charges that the gateway took in it and the payments that began in it. Payments that
    are pending or in doubt may be charged or not. Raises `Unavailable` when a gateway's book can't be read,
    once the others are.
    """
    unread: Unavailable | None = None
    known = rows.known_books() | {gateways.current_books()}
    for books in sorted(one for one in known if not gateways.lacking(one)):
        try:
            yield from _differences_at(books, since=since, until=until, counted=counted)
        except Unavailable as error:
            log.warning("a gateway's book can't be read", gateway=books.gateway, reason=error)
            unread = error
    if unread:
        raise unread


def _differences_at(
    books: Books, *, since: datetime | None, until: datetime | None, counted: Comparison | Reconciliation
) -> Iterator[Difference]:
    # Payments that begin from now on are left to the next comparison.
    period = Q(created_at__lt=until or clock.now()) & (Q(created_at__gte=since) if since else Q())
    of_books = Payment.objects.filter(rows.are_in(books))
    is_kept = Q(card_amount__gt=F("refunded_amount") + F("refunding_amount"))
    is_expected = period & is_kept & Q(status=Payment.Status.SUCCEEDED)
    claims = OrderedDiff(_keys(of_books.filter(is_expected)))
    charges = _charges(books, since, until)
    while page := list(islice(charges, PAGE)):
        counted.checked += len(page)
        of_page = of_books.filter(charge_key__in=[charge.key for charge in page]).annotate(
            is_disputed=Exists(Dispute.objects.filter(payment=OuterRef("pk"))),
            is_expected=Case(When(is_expected, then=True), default=False, output_field=BooleanField()),
        )
        payments = {payment.charge_key: payment for payment in of_page}
        # The keys whose charges may disagree with their payments, and those whose payments expect a charge.
        suspects = dict[str, None]()
        charged = dict[str, None]()
        for charge in page:
            payment = payments.get(charge.key)
            is_another = payment and payment.charge_reference not in ("", charge.reference)
            if charge.key in charged or _cause([charge], payment) or (is_another and charge.kept_amount):
                suspects[charge.key] = None
            if payment and payment.is_expected:
                charged[charge.key] = None
        yield from recheck(suspects, books)
        yield from recheck(claims.merge_next(charged), books)
    yield from recheck(claims.remaining(), books)


def _charges(books: Books, since: datetime | None, until: datetime | None) -> Iterator[BookedCharge]:
    """The gateway's book of the period, oldest first, read slice by slice."""
    at = since or Payment.objects.order_by("created_at").values_list("created_at", flat=True).first()
    end = until or clock.now()
    edges = [since]
    while at is not None and (at := at + SLICE) < end:
        edges.append(at)
    for first, last in pairwise([*edges, until]):
        yield from gateways.of(books).charges(since=first, until=last)


def _keys(payments: "QuerySet[Payment]") -> Iterator[str]:
    """The charge keys of these payments, oldest first. Read in pages: MySQL's client would hold all rows."""
    keyed = payments.order_by("created_at", "id").values_list("charge_key", "created_at", "id")
    page = list(keyed[:PAGE])
    while page:
        yield from (key for key, _, _ in page)
        _, at, id = page[-1]
        # The first condition is what an index can use.
        page = list(keyed.filter(created_at__gte=at).filter(Q(created_at__gt=at) | Q(id__gt=id))[:PAGE])


def recheck(keys: Iterable[str], books: Books) -> Iterator[Difference]:
    """The differences that remain of keys in these books when both sides are read again, once more where the
    payment changed in between. Raises `Unavailable`.
    """
    for key in keys:
        for _ in range(RECHECKS):
            payment, state = _read_payment(key, books)
            charges = list(gateways.of(books).charges(key=key))
            cause = _cause(charges, payment)
            if cause is None:
                break
            if _read_payment(key, books)[1] == state:
                yield Difference(books, key, cause, charges, payment)
                break


def _read_payment(key: str, books: Books) -> tuple[Payment | None, tuple[Any, ...]]:
    """The payment of the key in these books, and what a comparison depends on of it."""
    payment = Payment.objects.filter(rows.are_in(books), charge_key=key).first()
    state = payment and (payment.status, payment.refunding_amount, payment.refunded_amount)
    return payment, (state, disputes.amounts_of(key))


def _cause(charges: Sequence[BookedCharge], payment: Payment | None) -> Cause | None:
    """Why the charges of one key and their payment don't agree; None where they do."""
    succeeded = [charge for charge in charges if charge.status == "succeeded"]
    kept_amount = sum(charge.kept_amount for charge in succeeded)
    if payment is None:
        if not kept_amount:
            return None
        text = gettext_noop("%(kept)s is charged, and no payment knows of it")
        return Cause(Kind.UNKNOWN_CHARGE, text, {"kept": kept_amount})
    if len([charge for charge in succeeded if charge.kept_amount]) > 1:
        text = gettext_noop("it is charged more than once, %(kept)s in all")
        return Cause(_unless_ended(payment, Kind.CHARGED_TWICE), text, {"kept": kept_amount})
    for charge in succeeded:
        if not payment.expected_charge.is_met_by(charge):
            text = gettext_noop(
                "%(charged)s is charged for order %(charged_order)s, not %(expected)s for order %(order)s"
            )
            values = {
                "charged": f"{charge.amount} {charge.currency}",
                "charged_order": str(charge.order_id),
                "expected": f"{payment.card_amount} {payment.currency}",
                "order": str(payment.order_id),
            }
            return Cause(_unless_ended(payment, Kind.WRONG_CHARGE), text, values)
        if disputed := _wrong_disputes(charge, payment):
            return disputed
    return _wrong_amount(kept_amount, payment, is_charged=bool(succeeded))


def _unless_ended(payment: Payment, kind: Kind) -> Kind:
    """This kind, unless the payment has ended unpaid: then its charges are refunded, whatever is wrong."""
    return Kind.CHARGED_AFTER_END if payment.status in ENDED_UNPAID else kind


def _wrong_disputes(charge: BookedCharge, payment: Payment) -> Cause | None:
    """What the gateway has of disputes and the payment has not, or the other way round."""
    if payment.status != Payment.Status.SUCCEEDED:
        return None
    booked = _disputed_amounts(payment)
    amounts = Counter[str]()
    for dispute in charge.disputes:
        amounts[dispute.status] += charge.disputed_amount(dispute)
    compared = (Dispute.Status.OPEN.value, Dispute.Status.LOST.value)
    # One that takes nothing of the charge has an amount as well, of 0.
    if all(amounts.get(status) == booked.get(status) for status in compared):
        return None
    text = gettext_noop(
        "the gateway has %(open)s in dispute and %(lost)s lost, we have %(our_open)s and %(our_lost)s"
    )
    ours = {f"our_{status}": booked.get(status, 0) for status in compared}
    return Cause(Kind.DISPUTED, text, {status: amounts[status] for status in compared} | ours)


def _wrong_amount(kept_amount: int, payment: Payment, *, is_charged: bool) -> Cause | None:
    """Why the amount that the gateway keeps does not fit the payment; None where it does."""
    least, most = kept_range(payment)
    if payment.status in UNSETTLED or least <= kept_amount <= most:
        return None
    if payment.status in ENDED_UNPAID:
        text = gettext_noop("the payment is %(status)s, and %(kept)s is charged and kept")
        return Cause(Kind.CHARGED_AFTER_END, text, {"status": str(payment.status), "kept": kept_amount})
    if not is_charged:
        text = gettext_noop("the payment is succeeded, and its %(amount)s is not charged")
        return Cause(Kind.NOT_CHARGED, text, {"amount": payment.card_amount})
    text = gettext_noop(
        "of %(amount)s we say that %(refunded)s is refunded, and %(refunding)s about to be; the gateway "
        "keeps %(kept)s"
    )
    values = {
        "amount": payment.card_amount,
        "refunded": payment.refunded_amount,
        "refunding": payment.refunding_amount,
        "kept": kept_amount,
    }
    return Cause(Kind.WRONG_REFUNDS, text, values)


def kept_range(payment: Payment) -> tuple[int, int]:
    """The least and the most that the gateway may keep: a refund under way may have arrived or not."""
    if payment.status != Payment.Status.SUCCEEDED:
        return 0, 0
    most = payment.card_amount - payment.refunded_amount - disputes.held_amount(_disputed_amounts(payment))
    return max(0, most - payment.refunding_amount), max(0, most)


def _disputed_amounts(payment: Payment) -> dict[str, int]:
    """The amounts of its disputes by status; one that was read as never disputed costs no query."""
    return disputes.amounts_of(payment.charge_key) if getattr(payment, "is_disputed", True) else {}


class OrderedDiff:
    """Matches expected keys (claims) with the keys that are found; both come in about the same order. Claims
    that stay unmatched for long, or are left at the end, are returned; the caller checks these again.
    """

    def __init__(self, claims: Iterable[str]) -> None:
        self._claims = iter(claims)
        # Whether it is a claim, by the key that has no match yet: a dictionary keeps the order they came in.
        self._unmatched: dict[str, bool] = {}

    def merge_next(self, keys: Collection[str]) -> list[str]:
        """Match these found keys. Returns the claims that stayed unmatched for too long."""
        for is_claim, come in ((False, keys), (True, islice(self._claims, len(keys)))):
            for key in come:
                if self._unmatched.get(key) is (not is_claim):
                    del self._unmatched[key]
                else:
                    self._unmatched[key] = is_claim
        oldest = list(islice(self._unmatched, max(0, len(self._unmatched) - 2 * MAX_AHEAD)))
        return [key for key in oldest if self._unmatched.pop(key)]

    def remaining(self) -> Iterator[str]:
        """The claims that were never matched, after the last found key."""
        yield from (key for key, is_claim in self._unmatched.items() if is_claim)
        yield from (key for key in self._claims if key not in self._unmatched)
