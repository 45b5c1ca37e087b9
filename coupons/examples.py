"""Examples of answers about coupons, for the OpenAPI document: the situations that clients ask about."""

from shop.errors import NotFound, Rejected
from shop.http import openapi

COUPON = {
    "code": "NJBA0R3GG1BX",
    "campaign": 7,
    "position": 1,
    "status": "issued",
    "discount": {"type": "amount", "value": 1000, "min_order_amount": 0, "max_discount_amount": None},
    "issued_at": "2026-11-20T12:00:00.000000Z",
    "expires_at": "2026-12-20T12:00:00.000000Z",
    "order": None,
}
TICKET = {
    "id": "0199c1f0-0000-7000-8000-000000000001",
    "campaign": 7,
    "status": "waiting",
    "ahead": 41,
    "coupon": None,
}
ISSUING = [
    openapi.answered("A new coupon", 201, COUPON),
    openapi.answered("A ticket of a queue", 202, TICKET),
    openapi.refused("Before it opens", Rejected("Spring opens at noon.", code="campaign_not_open")),
    openapi.refused("The last code of the pool is issued", Rejected("Spring is sold out.", code="sold_out")),
    openapi.refused("Staff issue to an unknown account", NotFound("There is no active account 42.")),
]
