"""A shop as a program uses it: what is most often called, waits, pages and events."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Self, TypeVar
from uuid import UUID

from firstcome_client.asynchronous.http_client import AsyncHttpClient, Credentials
from firstcome_client.calls import (
    PAGE,
    Page,
    checked,
    next_path,
    order_is_open,
    order_needs_customer,
    payment_is_open,
    payment_needs_customer,
    waits,
)
from firstcome_client.errors import NotSettledError, ProblemError, retry_after
from firstcome_client.generated import AuthenticatedClient
from firstcome_client.generated.api.campaigns import list_campaigns
from firstcome_client.generated.api.coupons import claim_coupon, list_coupons
from firstcome_client.generated.api.events import list_events
from firstcome_client.generated.api.orders import (
    cancel_order,
    get_order,
    get_timeline,
    list_orders,
    place_order,
    refund_order,
)
from firstcome_client.generated.api.payments import get_payment, pay_order
from firstcome_client.generated.api.products import list_products
from firstcome_client.generated.api.queue_tickets import get_queue_ticket
from firstcome_client.generated.api.sale_entries import get_sale_entry
from firstcome_client.generated.api.sales import join_sale
from firstcome_client.generated.api.wallet import get_wallet, top_up_wallet
from firstcome_client.generated.models import (
    CampaignBody,
    CouponBody,
    EventBody,
    FeedPageBody,
    IssueCouponInput,
    ListCouponsStatus,
    ListOrdersStatus,
    OrderBody,
    PayInput,
    PaymentBody,
    PlaceOrderInput,
    Problem,
    ProductBody,
    RefundBody,
    RefundInput,
    SaleEntryBody,
    TicketBody,
    TopUpInput,
    WalletBody,
)
from firstcome_client.generated.types import UNSET, Response
from firstcome_client.keys import Keys
from firstcome_client.repeating import Retries

T = TypeVar("T")
Prefer = str
LONGEST_WAIT = 30
"""Seconds: the most that `Prefer: wait` may ask for."""
POLL_SECONDS = 0.5
"""The first pause between two answers that did not wait; each later one is longer, up to the longest."""
LONGEST_POLL_SECONDS = 5.0


class AsyncShop:
    """A shop's API at an address, as an account, by an API key, or without credentials.

    It may be used for any number of calls at once. `api` is what the generated functions take as their
    `client`: `checked(await get_wallet.asyncio(client=shop.api))`. Every call raises ProblemError when it is
    refused, and NoAnswerError when no answer came. `storage` keeps the keys of intents; without it they are
    kept as long as this object.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None = None,
        *,
        storage: MutableMapping[str, str] | None = None,
        retries: Retries = Retries(),  # noqa: B008 - immutable
    ) -> None:
        self._http = AsyncHttpClient(url, credentials, retries)
        self._keys = Keys({} if storage is None else storage)
        self.api = AuthenticatedClient(url, token="", raise_on_unexpected_status=True)
        self.api.set_async_httpx_client(self._http)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def campaigns(self) -> AsyncIterator[CampaignBody]:
        """All campaigns that the caller sees."""
        async for campaign in self.each(await list_campaigns.asyncio(client=self.api, limit=PAGE)):
            yield campaign

    async def products(self, *, sku: str = "", search: str = "") -> AsyncIterator[ProductBody]:
        """The products, all of them, the one with the SKU, or those that the words are found in."""
        first = await list_products.asyncio(
            client=self.api, sku=sku or UNSET, search=search or UNSET, limit=PAGE
        )
        async for product in self.each(first):
            yield product

    async def coupons(self, *, campaign: int | None = None, status: str = "") -> AsyncIterator[CouponBody]:
        """The coupons that the caller sees."""
        first = await list_coupons.asyncio(
            client=self.api,
            campaign=UNSET if campaign is None else campaign,
            status=ListCouponsStatus(status) if status else UNSET,
            limit=PAGE,
        )
        async for coupon in self.each(first):
            yield coupon

    async def orders(self, *, status: str = "", number: str = "") -> AsyncIterator[OrderBody]:
        """The orders that the caller sees, newest first."""
        first = await list_orders.asyncio(
            client=self.api,
            status=ListOrdersStatus(status) if status else UNSET,
            number=number or UNSET,
            limit=PAGE,
        )
        async for order in self.each(first):
            yield order

    async def order(self, order_id: UUID) -> OrderBody:
        """The order as it stands."""
        return checked(await get_order.asyncio(order_id, client=self.api))

    async def timeline(self, order_id: UUID) -> list[EventBody]:
        """What happened to the order, oldest first."""
        return checked(await get_timeline.asyncio(order_id, client=self.api)).results

    async def wallet(self) -> WalletBody:
        """The account's points."""
        return checked(await get_wallet.asyncio(client=self.api))

    async def claim_coupon(self, campaign_id: int, *, seconds: float = 60) -> CouponBody:
        """The account's coupon of the campaign, which it may have had before.

        Waits in the queue of a campaign that has one. Raises NotSettledError after the seconds, and with a
        ticket that has the status `failed`: the account may ask again later.
        """
        give_up_at = time.monotonic() + seconds
        while True:
            answer = await claim_coupon.asyncio(client=self.api, body=IssueCouponInput(campaign_id))
            if isinstance(answer, CouponBody):
                return answer
            assert isinstance(answer, TicketBody)  # problems are raised
            ticket = await self.wait_for_ticket(answer.id, seconds=give_up_at - time.monotonic())
            if ticket.status == "failed":
                raise NotSettledError(ticket)

    async def join_sale(self, sale_id: int, *, seconds: float = 60) -> SaleEntryBody:
        """The account's entry of the sale's waiting room, once it is admitted, or the sale is over.

        Raises NotSettledError after the seconds; joining again continues with the same entry.
        """
        entry = checked(await join_sale.asyncio(sale_id, client=self.api))
        return await self.wait_for_entry(entry.id, seconds=seconds) if waits(entry) else entry

    async def place_order(
        self,
        order: PlaceOrderInput,
        *,
        intent: str | None = None,
        key: str | None = None,
        seconds: float = 60,
    ) -> OrderBody:
        """Place the order, and wait until its payment settles or needs its customer (`payment.next_action`).

        The same call with its `intent`, of this process or a later one, or with its `key` continues with the
        same order; without either it is a new one. The intent ends when the order is refused, or by `forget`:
        call it once you have saved the result. A declined payment raises ProblemError. Raises NotSettledError
        after the seconds, and IntentTooOldError, with nothing sent, when the intent began 23 hours ago.
        """
        return await self._keyed(
            lambda key, prefer: place_order.asyncio_detailed(
                client=self.api, body=order, idempotency_key=key, prefer=prefer
            ),
            is_open=lambda order: order_is_open(order) and not order_needs_customer(order),
            intent=intent,
            key=key,
            seconds=seconds,
        )

    async def pay(
        self, payment: PayInput, *, intent: str | None = None, key: str | None = None, seconds: float = 60
    ) -> PaymentBody:
        """Pay an order that awaits payment; intents, keys, waits and errors are those of `place_order`."""
        return await self._keyed(
            lambda key, prefer: pay_order.asyncio_detailed(
                client=self.api, body=payment, idempotency_key=key, prefer=prefer
            ),
            is_open=payment_is_open,
            intent=intent,
            key=key,
            seconds=seconds,
        )

    async def top_up(
        self, top_up: TopUpInput, *, intent: str | None = None, key: str | None = None, seconds: float = 60
    ) -> PaymentBody:
        """Buy points by card; intents, keys, waits and errors are those of `place_order`."""
        return await self._keyed(
            lambda key, prefer: top_up_wallet.asyncio_detailed(
                client=self.api, body=top_up, idempotency_key=key, prefer=prefer
            ),
            is_open=payment_is_open,
            intent=intent,
            key=key,
            seconds=seconds,
        )

    async def cancel(self, order_id: UUID) -> OrderBody:
        """Cancel an order that awaits payment."""
        return checked(await cancel_order.asyncio(order_id, client=self.api))

    async def refund(
        self, order_id: UUID, refund: RefundInput, *, intent: str | None = None, key: str | None = None
    ) -> RefundBody:
        """Begin to refund lines of a paid order, or all that is left of it; takes the rights of staff.

        `wait_for_order` waits until it is done. Intents and keys are those of `place_order`.
        """
        return await self._keyed(
            lambda key, _: refund_order.asyncio_detailed(
                order_id, client=self.api, body=refund, idempotency_key=key
            ),
            is_open=lambda _: False,
            intent=intent,
            key=key,
            seconds=0,
        )

    def forget(self, intent: str) -> None:
        """End an intent: its result is saved. The next call of its name is a new one."""
        self._keys.forget(intent)

    async def wait_for_order(self, order_id: UUID, *, seconds: float = 60) -> OrderBody:
        """The order once no payment or refund is under way. Raises NotSettledError after the seconds."""
        return await self._wait(
            lambda _: get_order.asyncio_detailed(order_id, client=self.api), order_is_open, seconds
        )

    async def wait_for_payment(self, payment_id: UUID, *, seconds: float = 60) -> PaymentBody:
        """The payment once it is settled, or failed because its customer did not act.

        Raises NotSettledError after the seconds.
        """
        return await self._wait(
            lambda _: get_payment.asyncio_detailed(payment_id, client=self.api),
            lambda payment: payment_is_open(payment) or payment_needs_customer(payment),
            seconds,
        )

    async def wait_for_ticket(self, ticket_id: UUID, *, seconds: float = 60) -> TicketBody:
        """The queue ticket once it waits no longer. Raises NotSettledError after the seconds."""
        return await self._wait(
            lambda prefer: get_queue_ticket.asyncio_detailed(ticket_id, client=self.api, prefer=prefer),
            waits,
            seconds,
        )

    async def wait_for_entry(self, entry_id: UUID, *, seconds: float = 60) -> SaleEntryBody:
        """The waiting room's entry once it waits no longer. Raises NotSettledError after the seconds."""
        return await self._wait(
            lambda prefer: get_sale_entry.asyncio_detailed(entry_id, client=self.api, prefer=prefer),
            waits,
            seconds,
        )

    async def each(self, first: Page[T] | Problem | None) -> AsyncIterator[T]:
        """The rows of a list, page by page: `shop.each(await list_sales.asyncio(client=shop.api))`."""
        page = checked(first)
        while True:
            for row in page.results:
                yield row
            if page.next_ is None:
                return
            answer = await self._http.get(next_path(page.next_))
            page = type(page).from_dict(answer.json())

    async def follow_events(self, *, after: str = "", kind: str = "") -> AsyncIterator[FeedPageBody]:
        """Pages of events, without end, from the cursor `after` on, or from the oldest event that is kept.

        Save `next_` of each page after its work, and begin with it the next time. `kind` is a type, or
        `order.*` for all that begin so. Raises ProblemError with the code `cursor_expired` when events after
        the cursor were deleted, or when the shop was restored from a backup since then.
        """
        while True:
            asked_at = time.monotonic()
            page = checked(
                await list_events.asyncio(
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
                await asyncio.sleep(1)
            after = page.next_

    async def _keyed(
        self,
        call: Callable[[str, Prefer], Awaitable[Response[T | Problem]]],
        *,
        is_open: Callable[[T], bool],
        intent: str | None,
        key: str | None,
        seconds: float,
    ) -> T:
        """Wait for a call by its key. The intent goes on until it is refused or forgotten."""
        key = self._keys.take(intent, key)
        try:
            return await self._wait(lambda prefer: call(key, prefer), is_open, seconds, key=key)
        except ProblemError as error:
            self._keys.refuse(intent, key, error)
            raise

    async def _wait(
        self,
        read: Callable[[Prefer], Awaitable[Response[T | Problem]]],
        is_open: Callable[[T], bool],
        seconds: float,
        *,
        key: str | None = None,
    ) -> T:
        give_up_at, pause = time.monotonic() + seconds, POLL_SECONDS
        while True:
            left = max(0.0, give_up_at - time.monotonic())
            answer = await read(f"wait={min(int(left), self._longest_wait())}")
            body = checked(answer.parsed)
            if not is_open(body):
                return body
            left = give_up_at - time.monotonic()
            if left <= 0:
                raise NotSettledError(body, idempotency_key=key)
            await asyncio.sleep(min(left, retry_after(answer.headers) or pause))
            pause = min(LONGEST_POLL_SECONDS, pause * 1.5)

    def _longest_wait(self) -> int:
        """Half of what a call may take, so that an answer that was lost can be asked for again."""
        return min(LONGEST_WAIT, int(self._http.retries.seconds / 2))
