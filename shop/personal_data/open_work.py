"""What is open of an account: its erasure waits until each of these has ended."""

from collections.abc import Iterator

from django.db.models import Q

from coupons.models import Confirmation, QueueTicket
from orders.models import Order, Refund, Saga
from orders.order_states import OPEN
from payments.models import Payment
from payments.payment_states import UNSETTLED
from shop.personal_data import registry

NAMED = 10
"""Of each kind at most: a refusal is read by a person."""


def find(account_id: int) -> list[str]:
    """Each open row by its kind, id and status; none where the account may be erased."""
    return list(_find(account_id))


def _find(account_id: int) -> Iterator[str]:
    statuses = (*OPEN, Order.Status.REFUNDING)
    for order in Order.objects.filter(account_id=account_id, status__in=statuses)[:NAMED]:
        yield f"order {order.pk} ({order.status})"
    unsettled = Q(status__in=UNSETTLED) | Q(refunding_amount__gt=0)
    for payment in Payment.objects.filter(unsettled, account_id=account_id)[:NAMED]:
        yield f"payment {payment.pk} ({payment.shown_status})"
    refunds = Refund.objects.filter(order__account_id=account_id)
    for refund in refunds.exclude(status=Refund.Status.SUCCEEDED)[:NAMED]:
        yield f"refund {refund.pk} ({refund.status})"
    unfinished = (Saga.State.RUNNING, Saga.State.STUCK)
    for saga in registry.sagas_of(account_id).filter(state__in=unfinished)[:NAMED]:
        yield f"saga {saga.pk} ({saga.state})"
    for confirmation in Confirmation.objects.filter(account_id=account_id)[:NAMED]:
        yield f"confirmation {confirmation.pk}"
    waiting = QueueTicket.objects.filter(account_id=account_id, status=QueueTicket.Status.WAITING)
    for ticket in waiting[:NAMED]:
        yield f"queue ticket {ticket.pk}"
