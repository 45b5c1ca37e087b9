"""The API of orders, the calls that start payments, and the webhook that gateways call."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework.permissions import AllowAny

from accounts.api_keys.calls import APIKey
from foundation import journal
from foundation.concurrency.event_loop import run_in_thread, submit_to_batcher
from foundation.errors import Rejected
from foundation.http import client_address, keyed_calls
from foundation.http.json_format import JsonObject
from foundation.http.messages import APIRequest, caller_id
from foundation.http.openapi import api_doc
from foundation.http.openapi.api_doc import STAFF_ONLY, extend_schema
from foundation.http.pagination import paginate, paginate_for_staff
from foundation.http.permissions import (
    READ_JOURNAL,
    allowed_account_id,
    has_staff_permission,
    listed_account_id,
    require_staff_permission,
)
from foundation.http.validation import Nothing, OwnerQuery, read, read_query
from foundation.http.views import JSONResponse, Request, Response, View, burst
from foundation.idempotency import claims
from foundation.idempotency.recorded_answers import Replay
from foundation.operations import dispatch
from foundation.rates import rate_limits
from foundation.scopes import Resource
from inventory.availability import Line
from orders import (
    cancellation,
    lost_demand,
    order_metadata,
    payment_calls,
    schemas,
    selectors,
    tasks,
    wrong_codes,
)
from orders.metrics import counters
from orders.models import Order
from orders.payment import purchase, refunding, top_ups
from orders.placement import checkout
from orders.placement.decisions import OrderRequest
from orders.placement.strategies import group_commit
from orders.schemas import (
    ItemInput,
    OrderBody,
    OrdersQuery,
    PatchOrderInput,
    PayInput,
    PlaceOrderInput,
    RefundBody,
    RefundInput,
    RefundItemInput,
    TimelineBody,
    event_body,
    order_body,
    refund_body,
)
from payments import webhooks
from payments.api import ListPayments
from payments.gateways import GATEWAYS
from payments.gateways.signed_events import TOLERANCE_SECONDS
from payments.schemas import PaymentBody, ReceivedBody, TopUpInput

PLACING = {
    403: ["own_account"],
    404: ["product_not_found"],
    409: [
        "conflict",
        "coupon_not_usable",
        "idempotency_key_in_flight",
        "insufficient_points",
        "insufficient_stock",
        "product_paused",
        "sale_not_open",
        "sale_closed",
        "sale_paused",
        "admission_required",
        "purchase_limit_reached",
        "too_many_open_orders",
        "total_changed",
    ],
    402: ["payment_declined"],
    429: ["throttled"],
    503: ["overloaded", "unavailable"],
}
VIEW = "orders.view_order"
DATED = f"`t` may be at most {TOLERANCE_SECONDS} seconds in the past or in the future."
SIGNATURES = [
    OpenApiParameter(
        entry.webhook_header,
        str,
        OpenApiParameter.HEADER,
        description=f"From `{name}`: `t=<unix seconds>,v1=<hex HMAC-SHA256>`. {DATED}",
    )
    for name, entry in GATEWAYS.items()
]


class OrderView(View):
    resource = Resource.ORDERS


class Orders(OrderView):
    limit = rate_limits.ORDERS

    @extend_schema(
        operation_id="listOrders",
        summary="The caller's orders, newest first",
        query=[OrdersQuery, OwnerQuery],
        page_of=OrderBody,
        refused=STAFF_ONLY,
    )
    def get(self, request: Request) -> Response:
        """Staff see the orders of all accounts."""
        owner_id = listed_account_id(request, VIEW)
        query = read_query(OrdersQuery, request)
        orders = selectors.visible_orders(account_id=owner_id)
        listed = selectors.choose(orders, **query.model_dump(exclude={"status"}))
        for_staff = has_staff_permission(request, VIEW)
        return (paginate_for_staff if for_staff else paginate)(
            request,
            listed,
            partial(_render_order, request),
            parts=selectors.parts_of(query.status) if query.status else (),
            ordering=["-placed_at", "-id"] if query.placed_after or query.placed_before else ["-id"],
        )

    @extend_schema(
        operation_id="placeOrder",
        summary="Place an order",
        request=PlaceOrderInput,
        parameters=[api_doc.IDEMPOTENCY_KEY, api_doc.PREFER_WAIT],
        responses={
            201: OpenApiResponse(
                OrderBody, description="The order awaits payment; with `payment` it is paid."
            ),
            202: OpenApiResponse(OrderBody, description="The order is being paid."),
        },
        refused=PLACING | {400: ["invalid"]},
    )
    @burst
    async def post(self, request: Request) -> JSONResponse:
        """It reserves stock and holds the coupon; with `payment` it is paid at once.

        A card whose owner must act makes the order's `payment` `requires_action`: the response is 202 at
        once, and `payment.next_action.url` is the page to send them to.

        `payment: {}` is for orders that points cover. If they don't cover the order, the response is 400
        `invalid` at `payment.token`; if the wallet holds too few, 409 `insufficient_points`. A card token
        that the gateway doesn't know is a declined payment: 402 with the `failure.code` `unknown_token`.

        Where orders whose time to pay is over hold the stock, the coupon or a limit, they expire first. What
        is refused all the same has `Retry-After`: more of them may be about to expire. With the inventory
        strategy `redis_gate` a refusal for stock has none: what they hold is free once the sweep has ended
        them.
        """
        call = keyed_calls.read_keyed_call(request, schemas.placed_order_answer)
        body = read(PlaceOrderInput, request)
        order_request = OrderRequest(
            account_id=call.account_id,
            lines=_to_lines(body.items),
            coupon_code=body.coupon,
            points_amount=body.points_amount,
            token=body.payment.token if body.payment else None,
            keyed=call,
            by=journal.current_actor(),
            keep_on_decline=body.keep_on_decline,
            expected_total_amount=body.expected_total_amount,
            payer=payment_calls.payer_of(request, call, body.payment.token if body.payment else None),
            may_have_own_terms=request.user.is_staff or getattr(request.user, "key", None) is not None,
            metadata=body.metadata,
        )

        async def place() -> Any:
            if not body.coupon or request.user.is_staff:
                return await _place_order(order_request)
            # The network of a program says nothing of the account's.
            address = "" if getattr(request.user, "key", None) else client_address.from_request(request)
            async with wrong_codes.counting(call.account_id, address, body.coupon):
                return await _place_order(order_request)

        return await payment_calls.perform(
            request,
            call,
            rate_limits.ORDERS,
            place,
            payment_calls.read_order_answers,
            event="order placed",
            is_payment=body.payment is not None,
        )


class OneOrder(OrderView):
    @extend_schema(
        operation_id="getOrder", summary="One order", responses={200: OrderBody}, refused={404: ["not_found"]}
    )
    @burst
    async def get(self, request: Request, order_id: UUID) -> JSONResponse:
        """Of the caller; staff see the orders of all accounts.

        It waits for nothing: while an order is `paying` read it every second or two.
        """

        def read_order() -> JSONResponse:
            return JSONResponse(_render_order(request, _get_order(request, order_id)))

        if request.user.is_staff:
            return await run_in_thread(read_order, group="staff", member=request.user.pk)
        return await run_in_thread(read_order, group="order", owner=request.user.pk)

    @extend_schema(
        operation_id="updateOrder",
        summary="Change an order's metadata (staff and API keys)",
        request=PatchOrderInput,
        responses={200: OrderBody},
        refused={403: ["permission_denied"], 404: ["not_found"]},
    )
    def patch(self, request: Request, order_id: UUID) -> Response:
        """What is sent is merged, and null removes a text. The shop itself reads none of them.

        A key that acts for an account may change that account's orders.
        """
        key = getattr(request.user, "key", None)
        account_id = request.user.pk if key and key.is_acting else None
        if account_id is None:
            require_staff_permission(request, "orders.change_order")
        texts = read(PatchOrderInput, request).metadata
        order_metadata.change(order_id=order_id, texts=texts, account_id=account_id)
        return Response(_render_order(request, selectors.get_order(order_id=order_id, account_id=account_id)))


class OrderTimeline(OrderView):
    @extend_schema(
        operation_id="getTimeline",
        summary="What happened to an order",
        responses={200: TimelineBody},
        refused={404: ["not_found"]},
    )
    def get(self, request: Request, order_id: UUID) -> Response:
        """Every step and compensation of its payment and refunds, oldest first.

        For its buyer and staff, who also see attempts and references of the gateway.
        """
        order = _get_order(request, order_id)
        for_staff = has_staff_permission(request, VIEW)
        with_journal = for_staff and has_staff_permission(request, READ_JOURNAL)
        lines = selectors.timeline(order.id, for_staff=for_staff, with_journal=with_journal)
        results = [event_body(line, for_staff=for_staff, language=request.language) for line in lines]
        return Response({"results": results})


class CancelOrder(OrderView):
    @extend_schema(
        operation_id="cancelOrder",
        summary="Cancel an order that awaits payment",
        request=Nothing,
        responses={200: OrderBody},
        refused={404: ["not_found"], 409: ["order_not_cancellable"]},
    )
    def post(self, request: Request, order_id: UUID) -> Response:
        """Its stock and coupon are free again. Repeating the call has no further effect.

        An order that is being paid or is paid is 409 `order_not_cancellable`: ask for a refund.
        """
        account_id = allowed_account_id(request, "orders.change_order")
        read(Nothing, request)
        if account_id is None and _get_order(request, order_id).account_id == caller_id(request):
            # What its buyer may do takes no right of staff.
            account_id = caller_id(request)
        cancellation.cancel(order_id=order_id, account_id=account_id)
        return Response(_render_order(request, selectors.get_order(order_id=order_id, account_id=account_id)))


class OrderRefunds(OrderView):
    @extend_schema(
        operation_id="listRefunds",
        summary="The refunds of an order, newest first",
        page_of=RefundBody,
        refused={404: ["not_found"]},
    )
    def get(self, request: Request, order_id: UUID) -> Response:
        """Of an own order; staff see the refunds of all orders."""
        account_id = allowed_account_id(request, "orders.view_refund")
        refunds = selectors.refunds(order_id=order_id, account_id=account_id)
        return paginate(request, refunds, lambda refund: refund_body(refund, list(refund.lines.all())))

    @extend_schema(
        operation_id="refundOrder",
        summary="Refund a paid order (staff)",
        request=RefundInput,
        parameters=[api_doc.IDEMPOTENCY_KEY],
        responses={202: RefundBody},
        refused={
            403: ["own_account", "permission_denied"],
            404: ["not_found"],
            409: ["idempotency_key_in_flight", "nothing_to_refund", "refund_exceeds_order"],
        },
    )
    def post(self, request: Request, order_id: UUID) -> JSONResponse:
        """A part of it, or without `items` all that is left.

        Units are refunded at their price less their share of the line's discount: n of q units together have
        n/q of the discount, rounded down, so the refunds of a line add up to the same amount however they are
        split. Points are refunded in the proportion in which they paid the order, rounded down; the last
        refund returns all that is left of both. While the order is `refunding`, another refund may take what
        the pending ones leave. An order that is not paid is 409 `nothing_to_refund`; a product with fewer
        units left, or one that is not in the order, is 409 `refund_exceeds_order`.
        """
        staff_id = require_staff_permission(request, "orders.add_refund")
        call = keyed_calls.read_keyed_call(request, schemas.refund_answer, owner_id=staff_id)
        body = read(RefundInput, request)
        items = None if body.items is None else _to_lines(body.items)
        outcome = keyed_calls.perform_blocking(
            call,
            lambda: refunding.start_refund(
                order_id=order_id, wanted=items, reason=body.reason, restock=body.restock, keyed=call
            ),
        )
        if not isinstance(outcome, Replay):
            payment_calls.note("refund started", order_id, outcome.saga_id)
            dispatch.enqueue_shared(tasks.advance)
        return keyed_calls.respond_recorded(call, outcome)


class Payments(ListPayments):
    limit = rate_limits.PAYMENTS

    @extend_schema(
        operation_id="payOrder",
        summary="Pay an order that awaits payment",
        request=PayInput,
        parameters=[api_doc.IDEMPOTENCY_KEY, api_doc.PREFER_WAIT],
        responses={
            201: OpenApiResponse(PaymentBody, description="The order is paid."),
            202: OpenApiResponse(PaymentBody, description="The order is being paid."),
        },
        refused={
            402: ["payment_declined"],
            404: ["not_found"],
            409: ["idempotency_key_in_flight", "insufficient_points", "order_not_payable"],
            429: ["throttled"],
            503: ["overloaded", "unavailable"],
        },
    )
    @burst
    async def post(self, request: Request) -> JSONResponse:
        """By the points that it was placed with, and a card for the rest.

        With `keep_on_decline` a refused card leaves it to be paid with another one: five payments at most, of
        which one at most is not failed. `order_not_payable` has the `reason` `not_awaiting_payment` or
        `too_many_payments`. A card whose owner must act makes the payment `requires_action`: the response is
        202 at once, and `next_action.url` is the page to send them to.

        Another account's order is 404 `not_found`, also for staff, who may view and cancel it but not pay it.
        """
        call = keyed_calls.read_keyed_call(request, schemas.answered_later)
        body = read(PayInput, request)
        start = partial(
            purchase.pay,
            account_id=call.account_id,
            order_id=body.order,
            token=body.token,
            keep_on_decline=body.keep_on_decline,
            keyed=call,
            payer=payment_calls.payer_of(request, call, body.token),
        )
        work = partial(keyed_calls.run_claimed_in_thread, call, start)
        read_answers = payment_calls.read_payment_answers
        return await payment_calls.perform(
            request, call, rate_limits.PAYMENTS, work, read_answers, event="payment started"
        )


class TopUps(View):
    resource = Resource.WALLET
    limit = rate_limits.TOP_UPS

    @extend_schema(
        operation_id="topUpWallet",
        summary="Buy points by card",
        request=TopUpInput,
        parameters=[api_doc.IDEMPOTENCY_KEY, api_doc.PREFER_WAIT],
        responses={
            201: OpenApiResponse(
                PaymentBody, description="The payment, `succeeded`: the points are in the wallet."
            ),
            202: OpenApiResponse(
                PaymentBody, description="The payment, `pending`, `requires_action` or `in_doubt`."
            ),
        },
        refused={
            402: ["payment_declined"],
            409: ["idempotency_key_in_flight"],
            429: ["throttled"],
            503: ["overloaded", "unavailable"],
        },
    )
    @burst
    async def post(self, request: Request) -> JSONResponse:
        """The response is 202 while the gateway's answer is not known.

        201 and 202 both return the payment, and its URL as `Location`: `card_amount` is what is charged, and
        `order` is null. Without `Prefer` the response follows the first attempt at the gateway, with
        `wait=0` it comes at once.
        """
        call = keyed_calls.read_keyed_call(request, schemas.answered_later)
        body = read(TopUpInput, request)
        start = partial(
            top_ups.start,
            account_id=call.account_id,
            amount=body.amount,
            token=body.token,
            keyed=call,
            payer=payment_calls.payer_of(request, call, body.token),
        )
        return await payment_calls.perform(
            request,
            call,
            rate_limits.TOP_UPS,
            partial(keyed_calls.run_claimed_in_thread, call, start),
            payment_calls.read_payment_answers,
            event="top-up started",
            is_attempted=top_ups.is_attempted,
        )


class Webhooks(View):
    resource = Resource.NONE
    # Gateways may add some to the address, and only the body is signed.
    ignores_query = True
    authentication_classes = [APIKey]
    permission_classes = [AllowAny]

    @extend_schema(
        operation_id="receiveGatewayEvent",
        summary="Receive an event about a charge (gateways)",
        parameters=SIGNATURES,
        request={
            "application/json": {
                "type": "object",
                "description": "An event in the gateway's format.",
                "additionalProperties": True,
            }
        },
        responses={200: ReceivedBody},
        refused={400: ["signature_invalid"], 404: ["not_found"]},
    )
    def post(self, request: APIRequest, gateway: str) -> Response:
        """The signature covers the exact bytes of the body.

        Every signed body is 200: also an event that was received before, one of an unknown type, and a body
        that is no event. The creation time in an event is ignored.
        """
        event = webhooks.receive(gateway=gateway, headers=request.headers, body=request.body)
        if event and event.handled_at is None:
            dispatch.enqueue(tasks.handle_webhook, event.id)
        return Response({"received": True})


async def _place_order(order_request: OrderRequest) -> Any:
    """Place an order in this process's batch, or in a thread if the configured strategy needs one."""
    batcher = group_commit.batcher()
    account_id = order_request.account_id
    try:
        if batcher is None:
            return await run_in_thread(checkout.place, order_request, group="place", owner=account_id)
        if group_commit.is_stalled():
            await run_in_thread(claims.acquire_or_raise, order_request.keyed.claim, owner=account_id)
        return await submit_to_batcher(batcher, order_request)
    except Rejected as refusal:
        counters.count_refused_products(refusal)
        lost_demand.note_refused(account_id, order_request.lines, refusal)
        raise


def _to_lines(items: Sequence[ItemInput | RefundItemInput]) -> tuple[Line, ...]:
    return tuple(Line(product_id=item.product, quantity=item.quantity) for item in items)


def _get_order(request: Request, order_id: UUID) -> Order:
    return selectors.get_order(order_id=order_id, account_id=allowed_account_id(request, VIEW))


def _render_order(request: Request, order: Order) -> JsonObject:
    payments = list(order.payments.all())
    newest = payments[-1] if payments else None
    return order_body(order, list(order.lines.all()), newest, request.language, reader_id=caller_id(request))
