"""A shop as a program uses it: what is most often called, waits, pages and events."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, Self, TypeVar
from uuid import UUID

from firstcome_client.credentials import ApiKey, Password
from firstcome_client.errors import NotSettledError, retry_after
from firstcome_client.generated import AuthenticatedClient
from firstcome_client.generated.api.campaigns import list_campaigns
from firstcome_client.generated.api.coupons import claim_coupon
from firstcome_client.generated.api.events import list_events
from firstcome_client.generated.api.orders import get_order, get_timeline, list_orders, place_order
from firstcome_client.generated.api.payments import pay_order
from firstcome_client.generated.api.products import list_products
from firstcome_client.generated.api.queue_tickets import get_queue_ticket
from firstcome_client.generated.api.sale_entries import get_sale_entry
from firstcome_client.generated.api.sales import join_sale
from firstcome_client.generated.api.wallet import top_up_wallet
from firstcome_client.generated.models import (
    CampaignBody,
    CouponBody,
    EventBody,
    FeedPageBody,
    IssueCouponInput,
    OrderBody,
    OrderPaymentBody,
    PayInput,
    PaymentBody,
    PlaceOrderInput,
    Problem,
    ProductBody,
    SaleEntryBody,
    TicketBody,
    TopUpInput,
)
from firstcome_client.generated.types import UNSET, Response
from firstcome_client.http_client import HttpClient, Retries

T = TypeVar("T")
Row = TypeVar("Row")
Prefer = str
LONGEST_WAIT = 30
"""Seconds: the most that `Prefer: wait` may ask for."""
POLL_SECONDS = 0.5
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


def new_key() -> str:
    """A random `Idempotency-Key`: one for each intent, and the same for its repeats."""
    return secrets.token_urlsafe(18)


def checked(answer: T | Problem | None) -> T:
    """What a generated function returned, typed as the body of a success: a Shop raises everything else."""
    if answer is None or isinstance(answer, Problem):
        raise TypeError(f"this is no answer of a Shop's `api`: {answer}")
    return answer


class Shop:
    """A shop's API at an address, as an account, by an API key, or without credentials; threads may share it.

    `api` is what the generated functions take as their `client`: `checked(get_wallet.sync(client=shop.api))`.
    Every call raises ProblemError when it is refused, and NoAnswerError when no answer came.
    """

    def __init__(
        self,
        url: str,
        credentials: Password | ApiKey | None = None,
        *,
        retries: Retries = Retries(),  # noqa: B008 - immutable
    ) -> None:
        self._http = HttpClient(url, credentials, retries)
        self.api = AuthenticatedClient(url, token="", raise_on_unexpected_status=True)
        self.api.set_httpx_client(self._http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def campaigns(self) -> Iterator[CampaignBody]:
        """All campaigns that the caller sees."""
        return self.each(list_campaigns.sync(client=self.api, limit=PAGE))

    def products(self) -> Iterator[ProductBody]:
        """All products."""
        return self.each(list_products.sync(client=self.api, limit=PAGE))

    def orders(self) -> Iterator[OrderBody]:
        """All orders that the caller sees."""
        return self.each(list_orders.sync(client=self.api, limit=PAGE))

    def order(self, order_id: UUID) -> OrderBody:
        """The order as it stands."""
        return checked(get_order.sync(order_id, client=self.api))

    def timeline(self, order_id: UUID) -> list[EventBody]:
        """What happened to the order, oldest first."""
        return checked(get_timeline.sync(order_id, client=self.api)).results

    def claim_coupon(self, campaign_id: int, *, seconds: float = 60) -> CouponBody:
        """The account's coupon of the campaign, which it may have had before.

        Waits in the queue of a campaign that has one. Raises NotSettledError after the seconds.
        """
        give_up_at = time.monotonic() + seconds
        while True:
            answer = claim_coupon.sync(client=self.api, body=IssueCouponInput(campaign_id))
            if isinstance(answer, CouponBody):
                return answer
            assert isinstance(answer, TicketBody)  # problems are raised
            self.wait_for_ticket(answer.id, seconds=give_up_at - time.monotonic())

    def join_sale(self, sale_id: int, *, seconds: float = 60) -> SaleEntryBody:
        """The account's entry of the sale's waiting room, once it waits no longer.

        Raises NotSettledError after the seconds; joining again continues with the same entry.
        """
        entry = checked(join_sale.sync(sale_id, client=self.api))
        return self.wait_for_entry(entry.id, seconds=seconds) if _entry_is_open(entry) else entry

    def place_order(
        self, order: PlaceOrderInput, *, key: str | None = None, seconds: float = 60
    ) -> OrderBody:
        """Place the order, and wait until its payment settles or needs its customer (`payment.next_action`).

        Without a key it is a new intent. A declined payment raises ProblemError. Raises NotSettledError after
        the seconds: the same call with its `idempotency_key` continues to wait.
        """
        key = key or new_key()
        return self._wait(
            lambda prefer: place_order.sync_detailed(
                client=self.api, body=order, idempotency_key=key, prefer=prefer
            ),
            lambda answer: answer.status == "paying" and not _needs_customer(answer.payment),
            seconds,
            key=key,
        )

    def pay(self, payment: PayInput, *, key: str | None = None, seconds: float = 60) -> PaymentBody:
        """Pay an order that awaits payment; keys, waits and errors are those of `place_order`."""
        key = key or new_key()
        return self._wait(
            lambda prefer: pay_order.sync_detailed(
                client=self.api, body=payment, idempotency_key=key, prefer=prefer
            ),
            _payment_is_open,
            seconds,
            key=key,
        )

    def top_up(self, top_up: TopUpInput, *, key: str | None = None, seconds: float = 60) -> PaymentBody:
        """Buy points by card; keys, waits and errors are those of `place_order`."""
        key = key or new_key()
        return self._wait(
            lambda prefer: top_up_wallet.sync_detailed(
                client=self.api, body=top_up, idempotency_key=key, prefer=prefer
            ),
            _payment_is_open,
            seconds,
            key=key,
        )

    def wait_for_order(self, order_id: UUID, *, seconds: float = 60) -> OrderBody:
        """The order once no payment or refund is under way. Raises NotSettledError after the seconds."""
        return self._wait(
            lambda _: get_order.sync_detailed(order_id, client=self.api),
            lambda order: order.status in ("paying", "refunding"),
            seconds,
        )

    def wait_for_ticket(self, ticket_id: UUID, *, seconds: float = 60) -> TicketBody:
        """The queue ticket once it waits no longer. Raises NotSettledError after the seconds."""
        return self._wait(
            lambda prefer: get_queue_ticket.sync_detailed(ticket_id, client=self.api, prefer=prefer),
            lambda ticket: ticket.status == "waiting",
            seconds,
        )

    def wait_for_entry(self, entry_id: UUID, *, seconds: float = 60) -> SaleEntryBody:
        """The waiting room's entry once it waits no longer. Raises NotSettledError after the seconds."""
        return self._wait(
            lambda prefer: get_sale_entry.sync_detailed(entry_id, client=self.api, prefer=prefer),
            _entry_is_open,
            seconds,
        )

    def each(self, first: Page[T] | Problem | None) -> Iterator[T]:
        """The rows of a list, page by page: `shop.each(list_coupons.sync(client=shop.api, limit=200))`."""
        page = checked(first)
        while True:
            yield from page.results
            if page.next_ is None:
                return
            # The credentials go to this shop, whatever host a page names.
            query = page.next_.partition("?")[2]
            path = page.next_.partition("?")[0].partition("/api/v1/")[2]
            page = type(page).from_dict(self._http.get(f"/api/v1/{path}?{query}").json())

    def follow_events(self, *, after: str = "", kind: str = "") -> Iterator[FeedPageBody]:
        """Pages of events, without end, from the cursor `after` on, or from the oldest event that is kept.

        Save `next_` of each page after its work, and begin with it the next time. `kind` is a type, or
        `order.*` for all that begin so. Raises ProblemError with the code `cursor_expired` when events after
        the cursor were deleted, or when the shop was restored from a backup since then.
        """
        while True:
            asked_at = time.monotonic()
            page = checked(
                list_events.sync(
                    client=self.api,
                    after=after or UNSET,
                    type_=kind or UNSET,
                    limit=PAGE,
                    prefer=f"wait={self._longest_wait()}",
                )
            )
            yield page
            # A shop that stops, or waits for too many clients, answers an empty page at once.
            if page.next_ == after and time.monotonic() - asked_at < 1:
                time.sleep(1)
            after = page.next_

    def _wait(
        self,
        read: Callable[[Prefer], Response[T | Problem]],
        is_open: Callable[[T], bool],
        seconds: float,
        *,
        key: str | None = None,
    ) -> T:
        give_up_at = time.monotonic() + seconds
        while True:
            left = max(0.0, give_up_at - time.monotonic())
            answer = read(f"wait={min(int(left), self._longest_wait())}")
            body = checked(answer.parsed)
            if not is_open(body):
                return body
            left = give_up_at - time.monotonic()
            if left <= 0:
                raise NotSettledError(body, idempotency_key=key)
            time.sleep(min(left, retry_after(answer.headers) or POLL_SECONDS))

    def _longest_wait(self) -> int:
        """Half of what a call may take, so that an answer that was lost can be asked for again."""
        return min(LONGEST_WAIT, int(self._http.retries.seconds / 2))


def _needs_customer(payment: OrderPaymentBody | None) -> bool:
    return payment is not None and payment.status == "requires_action"


def _payment_is_open(payment: PaymentBody) -> bool:
    return payment.status in ("pending", "in_doubt")


def _entry_is_open(entry: SaleEntryBody) -> bool:
    return entry.status == "waiting"
