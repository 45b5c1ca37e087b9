"""The shop's addresses and the null call: what the whole stack costs without any work, for benchmarks."""

from datetime import timedelta

from django.urls import path

from coupons.schemas import IssueCouponInput
from foundation import clock
from foundation.http.messages import caller_id
from foundation.http.openapi.api_doc import extend_schema
from foundation.http.validation import read
from foundation.http.views import JSONResponse, Request, View, burst
from foundation.rates import rate_limits
from foundation.scopes import Resource
from shop.burst import table
from shop.urls import handler400, handler403, handler404, handler500, urlpatterns as urls_of_the_shop

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]


class NullCoupon(View):
    resource = Resource.COUPONS

    @extend_schema(exclude=True)
    @burst
    async def post(self, request: Request) -> JSONResponse:
        """Read what issuing a coupon does, and return a response like a coupon's without doing anything."""
        body = read(IssueCouponInput, request)
        account = caller_id(request)
        if not request.user.is_staff:
            rate_limits.COUPONS.count(account)
        now = clock.now()
        terms = {"type": "amount", "value": 1000, "min_order_amount": 0, "max_discount_amount": None}
        coupon = {"code": "NULL0NULL0NULL00", "campaign": body.campaign, "account": account, "position": 1}
        period = {"issued_at": now, "expires_at": now + timedelta(days=30)}
        return JSONResponse(
            {**coupon, "status": "issued", "discount": terms, "currency": "KRW", **period, "order": None}
        )


table.add("POST", "lab/null", NullCoupon)
urlpatterns = [path("api/v1/lab/null", NullCoupon.as_view()), *urls_of_the_shop]
