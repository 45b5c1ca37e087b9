"""Our payments against the gateway's own book of charges (law L9), both read side by side, page by page.

A suspected difference is checked again by its key before it is reported, because payments continue while the
books are read: a payment that is being processed is no difference, nor is one at the edge of a period.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice, pairwise
from typing import Any, NamedTuple

from django.db.models import BooleanField, Case, CharField, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Cast
from django.utils.translation import gettext_noop

from payments import disputes
from payments.gateways import gateway
from payments.gateways.contract import BookedCharge
from payments.models import Dispute, Payment
from payments.payment_states import ENDED_UNPAID, UNSETTLED
from shop import clock
from shop.errors import Unavailable

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
    values: dict[str, Any]

    @property
    def in_words(self) -> str:
        """The cause in English, as it is recorded and logged."""
        return self.text % self.values


class PaymentRow(NamedTuple):
    """The columns of a payment that a comparison needs: reading all columns of a million rows costs most.
    `is_charge_expected`: whether the gateway must have kept a part of its charge.
    """

    charge_key: str
    order_id: str | None
    status: str
    card_amount: int
    refunding_amount: int
    refunded_amount: int
    currency: str
    charge_reference: str
    is_disputed: bool
    is_charge_expected: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """The gateway's charges of a key and the payment of that key, which don't agree, with the cause."""

    key: str
    cause: Cause
    charges: list[BookedCharge]
    payment: Payment | None

    @property
    def kind(self) -> Kind:
        return self.cause.kind

    def __str__(self) -> str:
        return f"{self.key}: {self.cause.in_words}"


@dataclass(slots=True)
class Progress:
    """How many charges have been read so far."""

    charges: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many charges were compared with their payments, and the differences."""

    checked: int
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
    count, found = Progress(), []
    try:
        for difference in islice(differences(since=since, until=until, count=count), most):
            found.append(difference)
    except Unavailable as error:
        return Comparison(count.charges, found, unread=str(error))
    return Comparison(count.charges, found)


def differences(*, since: datetime | None, until: datetime | None, count: Progress) -> Iterator[Difference]:
    """Each key under which the books don't agree, as it is found; `count` has the charges read so far.

    A period includes the charges that the gateway took in it and the payments that began in it. Payments that
    are pending or in doubt may be charged or not. Raises `Unavailable` when the gateway's book can't be read.
    """
    # Payments that begin from now on are left to the next comparison.
    end = until or clock.now()
    is_expected = _charge_is_expected(since, end)
    books = OrderedDiff(_keys(Payment.objects.filter(is_expected)))
    charges = _charges(since, until)
    while page := list(islice(charges, PAGE)):
        count.charges += len(page)
        suspects, charged = _suspects_and_charged(page, is_expected)
        yield from recheck(suspects)
        yield from recheck(books.merge_next(charged))
    yield from recheck(books.remaining())


def _charges(since: datetime | None, until: datetime | None) -> Iterator[BookedCharge]:
    """The gateway's book of the period, oldest first, read slice by slice."""
    at = since or Payment.objects.order_by("created_at").values_list("created_at", flat=True).first()
    end, edges = until or clock.now(), [since]
    while at is not None and (at := at + SLICE) < end:
        edges.append(at)
    for first, last in pairwise([*edges, until]):
        yield from gateway().charges(since=first, until=last)


def _charge_is_expected(since: datetime | None, end: datetime) -> Q:
    """The condition that a payment is of the period and the gateway must have kept a part of its charge."""
    period = Q(created_at__lt=end) if since is None else Q(created_at__gte=since, created_at__lt=end)
    is_kept = Q(card_amount__gt=F("refunded_amount") + F("refunding_amount"))
    return period & Q(status=Payment.Status.SUCCEEDED) & is_kept


def _keys(payments: "QuerySet[Payment]") -> Iterator[str]:
    """The charge keys of these payments, oldest first. Read in pages: MySQL's client would hold all rows."""
    rows = payments.order_by("created_at", "id")
    page = list(rows.values_list("charge_key", flat=True)[:PAGE])
    while page:
        yield from page
        at, id = Payment.objects.values_list("created_at", "id").get(charge_key=page[-1])
        # The first condition is what an index can use.
        rest = rows.filter(created_at__gte=at).filter(Q(created_at__gt=at) | Q(id__gt=id))
        page = list(rest.values_list("charge_key", flat=True)[:PAGE])


def _suspects_and_charged(page: Sequence[BookedCharge], is_charge_expected: Q) -> tuple[list[str], list[str]]:
    """The keys whose charges may disagree with their payments, and those whose payments expect a charge."""
    payments = _read_payments([charge.key for charge in page], is_charge_expected)
    suspects: dict[str, None] = {}
    charged: dict[str, None] = {}
    for charge in page:
        payment = payments.get(charge.key)
        if charge.key in charged or _is_suspect(charge, payment):
            suspects[charge.key] = None
        if payment and payment.is_charge_expected:
            charged[charge.key] = None
    return list(suspects), list(charged)


def _read_payments(keys: Sequence[str], is_charge_expected: Q) -> dict[str, PaymentRow]:
    """The payments of these keys, by key."""
    rows = Payment.objects.filter(charge_key__in=keys).values_list(
        "charge_key",
        # As text, because a UUID object for each row would cost more than all the other columns.
        Cast("order_id", CharField()),
        *PaymentRow._fields[2:-2],
        Exists(Dispute.objects.filter(payment=OuterRef("pk"))),
        Case(When(is_charge_expected, then=Value(True)), default=Value(False), output_field=BooleanField()),
    )
    return {row[0]: PaymentRow._make(row) for row in rows}


def _is_suspect(charge: BookedCharge, payment: PaymentRow | None) -> bool:
    """Whether the key must be checked: the charge disagrees, or is not the one that the payment names."""
    is_another = payment and payment.charge_reference not in ("", charge.reference)
    return bool(_cause([charge], payment) or (is_another and charge.kept_amount))


def recheck(keys: Iterable[str]) -> Iterator[Difference]:
    """The differences that remain when both sides are read again. Raises `Unavailable`."""
    yield from filter(None, map(_recheck_key, keys))


def _recheck_key(key: str) -> Difference | None:
    """The difference under the key; both sides are read again when the payment changed in between."""
    for _ in range(RECHECKS):
        payment = _read_payment(key)
        charges = list(gateway().charges(key=key))
        cause = _cause(charges, payment)
        if not cause:
            return None
        if _comparable_state(_read_payment(key)) == _comparable_state(payment):
            return Difference(key, cause, charges, payment)
    return None


def _read_payment(key: str) -> Payment | None:
    return Payment.objects.filter(charge_key=key).first()


def _comparable_state(payment: Payment | None) -> tuple[Any, ...] | None:
    if payment is None:
        return None
    amounts = disputes.amounts_of(payment.charge_key)
    return payment.status, payment.refunding_amount, payment.refunded_amount, amounts


def _cause(charges: Sequence[BookedCharge], payment: Payment | PaymentRow | None) -> Cause | None:
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
        if not _is_for(charge, payment):
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


def _unless_ended(payment: Payment | PaymentRow, kind: Kind) -> Kind:
    """This kind, unless the payment has ended unpaid: then its charges are refunded, whatever is wrong."""
    return Kind.CHARGED_AFTER_END if payment.status in ENDED_UNPAID else kind


def _wrong_disputes(charge: BookedCharge, payment: Payment | PaymentRow) -> Cause | None:
    """What the gateway has of disputes and the payment has not, or the other way round."""
    if payment.status != Payment.Status.SUCCEEDED:
        return None
    booked = _disputed_amounts(payment)
    amounts: dict[str, int] = {}
    for dispute in charge.disputes:
        amounts[dispute.status] = amounts.get(dispute.status, 0) + charge.disputed_amount(dispute)
    compared = (Dispute.Status.OPEN.value, Dispute.Status.LOST.value)
    # One that takes nothing of the charge has an amount as well, of 0.
    if all(amounts.get(status) == booked.get(status) for status in compared):
        return None
    text = gettext_noop(
        "the gateway has %(open)s in dispute and %(lost)s lost, we have %(our_open)s and %(our_lost)s"
    )
    ours = {f"our_{status}": booked.get(status, 0) for status in compared}
    return Cause(Kind.DISPUTED, text, {status: amounts.get(status, 0) for status in compared} | ours)


def _wrong_amount(kept_amount: int, payment: Payment | PaymentRow, *, is_charged: bool) -> Cause | None:
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


def kept_range(payment: Payment | PaymentRow) -> tuple[int, int]:
    """The least and the most that the gateway may keep: a refund under way may have arrived or not."""
    if payment.status != Payment.Status.SUCCEEDED:
        return 0, 0
    most = payment.card_amount - payment.refunded_amount - disputes.held_amount(_disputed_amounts(payment))
    return max(0, most - payment.refunding_amount), max(0, most)


def _disputed_amounts(payment: Payment | PaymentRow) -> dict[str, int]:
    """The amounts of its disputes by status; the row of one that was never disputed costs no query."""
    if isinstance(payment, PaymentRow) and not payment.is_disputed:
        return {}
    return disputes.amounts_of(payment.charge_key)


def _is_for(charge: BookedCharge, payment: Payment | PaymentRow) -> bool:
    # Some databases store an order's id without hyphens.
    order_ids = {str(id).replace("-", "") for id in (charge.order_id, payment.order_id)}
    amounts_agree = (charge.amount, charge.currency) == (payment.card_amount, payment.currency)
    return amounts_agree and len(order_ids) == 1


class OrderedDiff:
    """Matches expected keys (claims) with the keys that are found; both come in about the same order. Claims
    that stay unmatched for long, or are left at the end, are returned; the caller checks these again.
    """

    def __init__(self, claims: Iterable[str]) -> None:
        self._claims = iter(claims)
        # Dictionaries, because they keep the order in which the keys came.
        self._unmet: dict[str, None] = {}
        self._early: dict[str, None] = {}

    def merge_next(self, keys: Collection[str]) -> list[str]:
        """Match these found keys. Returns the claims that stayed unmatched for too long."""
        for key in keys:
            _match_or_keep(key, self._unmet, self._early)
        for key in islice(self._claims, len(keys)):
            _match_or_keep(key, self._early, self._unmet)
        _drop_oldest(self._early)
        return _drop_oldest(self._unmet)

    def remaining(self) -> Iterator[str]:
        """The claims that were never matched, after the last found key."""
        yield from self._unmet
        for key in self._claims:
            if key not in self._early:
                yield key


def _match_or_keep(key: str, here: dict[str, None], there: dict[str, None]) -> None:
    if key in here:
        del here[key]
    else:
        there[key] = None


def _drop_oldest(waiting: dict[str, None]) -> list[str]:
    """Remove the oldest keys beyond `MAX_AHEAD`, and return them."""
    beyond = list(islice(waiting, max(0, len(waiting) - MAX_AHEAD)))
    for key in beyond:
        del waiting[key]
    return beyond
