"""Personal data of orders: how its rows belong to accounts, and what an erasure does to them."""

from django.db.models import QuerySet

from accounts.personal_data.erasure import PARTS, Part, named
from accounts.personal_data.registry import FOR_GOOD, REGISTRY, Erasure, PersonalData, kept_for_good
from orders import order_metadata
from orders.models import Order, Refund, Saga, SagaLog
from orders.order_states import OPEN
from orders.payment.refund_records import UNSETTLED
from orders.saga.definitions import UNFINISHED
from payments.models import Payment


def sagas_of(account_id: int) -> "QuerySet[Saga]":
    """The sagas of the account's payments and refunds."""
    payments = Payment.objects.filter(account_id=account_id).values_list("pk", flat=True)
    refunds = Refund.objects.filter(order__account_id=account_id).values_list("pk", flat=True)
    return Saga.objects.filter(subject_id__in=[*payments, *refunds])


REGISTRY.update(
    {
        "orders.Order": PersonalData("account", Erasure.KEPT, f"{FOR_GOOD}; its metadata until the erasure"),
        "orders.NumberState": "how many order numbers are taken",
        "orders.OrderLine": kept_for_good("order__account"),
        "orders.Refund": kept_for_good("order__account"),
        "orders.RefundLine": kept_for_good("refund__order__account"),
        "orders.OrderNote": PersonalData(
            "order__account",
            Erasure.DELETED,
            "until the erasure of the customer: staff write about people there",
            secrets={"author_id"},
        ),
        "orders.Saga": kept_for_good("its payment or refund", rows=sagas_of),
        "orders.SagaLog": kept_for_good(
            "its saga's payment or refund", rows=lambda id: SagaLog.objects.filter(saga__in=[*sagas_of(id)])
        ),
    }
)


def _open_rows(account_id: int) -> list[str]:
    orders = Order.objects.filter(account_id=account_id, status__in=(*OPEN, Order.Status.REFUNDING))
    refunds = Refund.objects.filter(order__account_id=account_id, status__in=UNSETTLED)
    sagas = sagas_of(account_id).filter(state__in=UNFINISHED)
    return [
        *named("order", orders, "status"),
        *named("refund", refunds, "status"),
        *named("saga", sagas, "state"),
    ]


PARTS.append(Part(_open_rows, with_metadata=order_metadata.orders_noted, erase_metadata=order_metadata.erase))
