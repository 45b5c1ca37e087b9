"""What the generated functions take and return."""

from collections.abc import Mapping
from typing import Any, Protocol, Self, TypeVar

from firstcome_client.generated.models import (
    OrderBody,
    OrderPaymentBody,
    PaymentBody,
    Problem,
    SaleEntryBody,
    TicketBody,
)

T = TypeVar("T")
Row = TypeVar("Row")
PAGE = 200
"""The most rows that a page may have."""


class Page(Protocol[Row]):
    """A page of a list."""

    @property
    def results(self) -> list[Row]: ...
    @property
    def next_(self) -> str | None: ...
    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self: ...


def checked(answer: T | Problem | None) -> T:
    """What a generated function returned, typed as the body of a success: a shop raises everything else."""
    if answer is None or isinstance(answer, Problem):
        raise TypeError(f"this is no answer of a shop's `api`: {answer}")
    return answer


def next_path(link: str) -> str:
    """The path of a page's `next`: the credentials go to the shop, whatever host the link names."""
    found = link.find("/api/v1/")
    if found < 0:
        raise ValueError(f"this is no page of a list: {link}")
    return link[found:]


def order_is_open(order: OrderBody) -> bool:
    """Whether a payment or a refund of the order is under way."""
    return order.status in ("paying", "refunding")


def order_needs_customer(order: OrderBody) -> bool:
    """Whether the customer has to act, on the page of `payment.next_action`, before the order is paid."""
    return isinstance(order.payment, OrderPaymentBody) and order.payment.status == "requires_action"


def payment_is_open(payment: PaymentBody) -> bool:
    """Whether the payment may settle without its customer."""
    return payment.status in ("pending", "in_doubt")


def payment_needs_customer(payment: PaymentBody) -> bool:
    """Whether the customer has to act, on the page of `next_action`, before the payment settles."""
    return payment.status == "requires_action"


def waits(waiting: TicketBody | SaleEntryBody) -> bool:
    """Whether a queue ticket or a waiting room's entry waits."""
    return waiting.status == "waiting"
