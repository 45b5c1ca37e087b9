"""The lab's null call: the cost of the whole stack without any work, as a baseline for benchmarks."""

from datetime import timedelta

from django.conf import settings
from django.http import Http404
from drf_spectacular.utils import extend_schema

from shop import clock
from shop.api_keys.scopes import Resource
from shop.http.messages import account_id
from shop.http.validation import Id, Input, read
from shop.http.views import Request, Response, View
from shop.rates import rate_limits


class NullInput(Input):
    """The same input as for issuing a coupon."""

    campaign: Id


class NullCoupon(View):
    resource = Resource.COUPONS

    @extend_schema(exclude=True)
    async def post(self, request: Request) -> Response:
        """Return a response like a coupon's without doing anything. Exists only with `LAB=1`."""
        if not settings.LAB:
            raise Http404
        body = read(NullInput, request)
        if not request.user.is_staff:
            rate_limits.COUPONS.count(account_id(request))
        now = clock.now()
        return Response(
            {
                "code": "NULL0NULL0NULL00",
                "campaign": body.campaign,
                "position": 1,
                "status": "issued",
                "discount": {
                    "type": "amount",
                    "value": 1000,
                    "min_order_amount": 0,
                    "max_discount_amount": None,
                },
                "issued_at": now,
                "expires_at": now + timedelta(days=30),
                "order": None,
            }
        )
