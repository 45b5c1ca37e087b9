"""Queries of payments and wallet entries, limited to what the caller may see."""

from uuid import UUID

from django.db.models import Q, QuerySet

from foundation.db.rows import present
from foundation.errors import required
from foundation.lazy_texts import mark
from payments import rows
from payments.models import REQUIRES_ACTION, Entry, Payment

NEWEST_WITH_REFERENCE = 50_000
"""The payments that are searched for the reference of a charge."""
SHORTEST_REFERENCE = 8


def payments(
    *, account_id: int | None, order_id: UUID | None = None, status: str | None = None
) -> QuerySet[Payment]:
    """The account's payments (None: all), of this order and with this shown status where given, with their
    disputes.
    """
    found = Payment.objects.filter(**present(account_id=account_id, order_id=order_id))
    return found.filter(_in_status(status) if status else Q()).prefetch_related("disputes")


def _in_status(status: str) -> Q:
    """The twin of `Payment.shown_status`, as a condition on the row."""
    acts = rows.with_action()
    if status == REQUIRES_ACTION:
        return acts
    return Q(status=status) & ~acts if status == Payment.Status.PENDING else Q(status=status)


def payment(*, payment_id: UUID, account_id: int | None) -> Payment:
    """The payment, if `account_id` may see it (None: all). Raises `NotFound`."""
    found = payments(account_id=account_id).filter(id=payment_id).first()
    return required(found, mark("There is no payment {payment_id}.", payment_id=payment_id))


def may_be_reference(term: str) -> bool:
    """Whether a gateway could have given this reference to a charge: no name, address or beginning of one."""
    return len(term) >= SHORTEST_REFERENCE and term.isascii() and not set(term) & set(" @")


def recent_with_charge_reference(
    reference: str, *, among: QuerySet[Payment] | None = None
) -> QuerySet[Payment]:
    """Those of the newest payments whose charge has this reference: it has no index."""
    payments = Payment.objects.all() if among is None else among
    newest = Payment.objects.order_by("-pk").values_list("pk", flat=True)
    oldest = list(newest[NEWEST_WITH_REFERENCE - 1 : NEWEST_WITH_REFERENCE])
    recent = payments.filter(pk__gte=oldest[0]) if oldest else payments
    return recent.filter(charge_reference=reference)


def entries(*, user_id: int) -> QuerySet[Entry]:
    """The entries of the user's wallet."""
    return Entry.objects.filter(account_id=user_id).select_related("transfer")
