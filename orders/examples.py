"""Examples of answers about orders and money, for the OpenAPI document: the situations clients ask about."""

from foundation.errors import NotFound, PaymentDeclined, Rejected, invalid_field
from foundation.http.openapi import api_doc
from inventory.availability import insufficient_stock, product_paused

ORDER_ID = "0199c1f0-0000-7000-8000-000000000001"
PAYMENT_ID = "0199c1f0-0000-7000-8000-000000000002"
NOON = "2026-11-20T12:00:00.000000Z"
TOP_UP = {
    "id": PAYMENT_ID,
    "order": None,
    "account": 42,
    "status": "succeeded",
    "currency": "KRW",
    "points_amount": 0,
    "card_amount": 5000,
    "failure": None,
    "dispute": None,
    "created_at": NOON,
    "next_action": None,
    "gateway": "simulator",
}
# The card's owner has until ten past noon.
NEXT_ACTION = {
    "type": "redirect",
    "url": "https://bank.example/3ds/ch_0199c1f0",
    "expires_at": "2026-11-20T12:10:00.000000Z",
}
# The first of three units at 333 in an order of 899: 100 less by a coupon, 200 paid by points.
REFUND = {
    "id": "0199c1f0-0000-7000-8000-000000000003",
    "order": ORDER_ID,
    "account": 42,
    "currency": "KRW",
    "status": "pending",
    "amount": 300,
    "points_amount": 66,
    "card_amount": 234,
    "items": [{"product": 7, "quantity": 1}],
    "reason": "It came broken.",
    "restock": True,
    "source": "staff",
    "created_at": NOON,
}
CARD_DECLINED = {"code": "card_declined", "detail": "The card was declined."}
UNKNOWN_TOKEN = {
    "code": "unknown_token",
    "detail": "The gateway did not take this card; nothing was charged.",
}

PLACING = [
    api_doc.refusal_example(
        "An empty payment and too few points",
        invalid_field("payment.token", "required", "A card is needed for what points don't cover."),
    ),
    api_doc.refusal_example(
        "More points than the wallet holds",
        Rejected("The wallet holds fewer points than the order is to use.", code="insufficient_points"),
    ),
    api_doc.refusal_example(
        "Another total than the buyer was shown",
        Rejected("The order's total is 15000 now.", code="total_changed", total_amount=15_000),
    ),
    api_doc.refusal_example(
        "Too little stock of a product", insufficient_stock([{"product": 7, "requested": 3, "available": 2}])
    ),
    api_doc.refusal_example("A product that staff have paused", product_paused([7])),
    api_doc.refusal_example(
        "An unknown card token",
        PaymentDeclined(UNKNOWN_TOKEN["detail"], failure=UNKNOWN_TOKEN, order=ORDER_ID),
    ),
]
PAYING = [
    api_doc.refusal_example(
        "A declined card",
        PaymentDeclined(CARD_DECLINED["detail"], failure=CARD_DECLINED, order=ORDER_ID, payment=PAYMENT_ID),
    ),
    api_doc.refusal_example(
        "A sixth card for an order that was kept",
        Rejected(
            "5 cards were refused for this order; place a new one.",
            code="order_not_payable",
            reason="too_many_payments",
        ),
    ),
    api_doc.refusal_example("The order of another account", NotFound("There is no such order.")),
]
TOPPING_UP = [
    api_doc.response_example("Charged and credited", 201, TOP_UP),
    api_doc.response_example("Not known yet", 202, TOP_UP | {"status": "in_doubt"}),
    api_doc.response_example(
        "The card's owner must act", 202, TOP_UP | {"status": "requires_action", "next_action": NEXT_ACTION}
    ),
    api_doc.refusal_example(
        "A declined card", PaymentDeclined(CARD_DECLINED["detail"], failure=CARD_DECLINED, payment=PAYMENT_ID)
    ),
]
REFUNDING = [
    api_doc.response_example("One of three units", 202, REFUND),
    api_doc.refusal_example(
        "An order that is not paid",
        Rejected("The order is not paid: it is awaiting_payment.", code="nothing_to_refund"),
    ),
    api_doc.refusal_example(
        "A product that is not in the order",
        Rejected(
            "The refund exceeds what is left of the order.",
            code="refund_exceeds_order",
            items=[{"product": 8, "requested": 1, "refundable": 0}],
        ),
    ),
]
