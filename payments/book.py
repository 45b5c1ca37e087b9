"""Our payments against the gateway's own book of charges (law L9).

The book is read page by page, and each page compared with its payments in one query. What looks wrong is
looked at once more before it is told, for payments go on while the book is being read: so what is only
in motion is no difference, and what is wrong needs no grace period to hide in.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from payments.gateways import gateway
from payments.gateways.contract import BookedCharge
from payments.models import Payment
from payments.paying import UNSETTLED
from shop.errors import Unavailable

PAGE = 1_000
MOST_TOLD = 100


@dataclass(frozen=True, slots=True)
class Difference:
    """What the gateway has under a key and the payment of that key, which don't agree, and why."""

    key: str
    cause: str
    charges: list[BookedCharge]
    payment: Payment | None

    def __str__(self) -> str:
        return f"{self.key}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many charges were compared with their payments, and what doesn't agree."""

    checked: int
    differences: list[Difference]
    unread: str = ""

    @property
    def offenders(self) -> list[str]:
        """Everything that is wrong, in words; a book that can't be read is: then nobody knows."""
        return [*map(str, self.differences), *([f"not checked: {self.unread}"] if self.unread else [])]


def compare(*, most: int = MOST_TOLD) -> Comparison:
    """Compare the whole book with all payments; past `most` differences it stops.

    Payments that are pending or in doubt may be charged or not: their sagas are still at it.
    """
    checked = 0
    # Payments whose charge was met: some 80 MB for a million of them.
    met: set[UUID] = set()
    differences: list[Difference] = []
    try:
        for page in _pages(gateway().charges()):
            checked += len(page)
            suspects = _suspects(page, met)
            differences += islice(_confirmed(suspects), most - len(differences))
            if len(differences) >= most:
                return Comparison(checked, differences)
        differences += islice(_confirmed(_claims_beyond(met)), most - len(differences))
    except Unavailable as error:
        return Comparison(checked, differences, unread=error.detail)
    return Comparison(checked, differences)


def _pages(charges: Iterator[BookedCharge]) -> Iterator[list[BookedCharge]]:
    while page := list(islice(charges, PAGE)):
        yield page


def _suspects(page: Sequence[BookedCharge], met: set[UUID]) -> list[str]:
    """The keys of this page that don't agree with their payments, which count as met from now on."""
    rows = Payment.objects.filter(charge_key__in=[charge.key for charge in page])
    payments = {payment.charge_key: payment for payment in rows}
    suspects = []
    for charge in page:
        payment = payments.get(charge.key)
        if (payment and payment.id in met) or _cause([charge], payment):
            suspects.append(charge.key)
        if payment:
            met.add(payment.id)
    return suspects


def _claims_beyond(met: set[UUID]) -> Iterator[str]:
    """The keys of payments that say they were charged, and whose charge wasn't in the book."""
    claims = Payment.objects.filter(status=Payment.Status.SUCCEEDED, card_amount__gt=0)
    for id, key in claims.values_list("id", "charge_key").iterator(chunk_size=PAGE):
        if id not in met:
            yield key


def _confirmed(keys: Iterable[str]) -> Iterator[Difference]:
    """The differences that are still there when both sides are asked again."""
    for key in keys:
        charges = list(gateway().charges(key=key))
        payment = Payment.objects.filter(charge_key=key).first()
        cause = _cause(charges, payment)
        if cause:
            yield Difference(key, cause, charges, payment)


def _cause(charges: Sequence[BookedCharge], payment: Payment | None) -> str:
    """Why the charges of one key and their payment don't agree, or nothing."""
    succeeded = [charge for charge in charges if charge.status == "succeeded"]
    kept_amount = sum(charge.kept_amount for charge in succeeded)
    if payment is None:
        return f"{kept_amount} is charged, and no payment knows of it" if kept_amount else ""
    if len([charge for charge in succeeded if charge.kept_amount]) > 1:
        return f"it is charged more than once, {kept_amount} in all"
    for charge in succeeded:
        if not _is_for(charge, payment):
            return (
                f"{charge.amount} {charge.currency} is charged for order {charge.order_id}, "
                f"not {payment.card_amount} {payment.currency} for order {payment.order_id}"
            )
    if payment.status in UNSETTLED:
        return ""
    due_amount = payment.card_amount if payment.status == Payment.Status.SUCCEEDED else 0
    if kept_amount == due_amount:
        return ""
    return f"the payment is {payment.status}: {due_amount} should be charged and kept, {kept_amount} is"


def _is_for(charge: BookedCharge, payment: Payment) -> bool:
    order_id = str(payment.order_id) if payment.order_id else None
    asked = (payment.card_amount, payment.currency, order_id)
    return (charge.amount, charge.currency, charge.order_id) == asked
