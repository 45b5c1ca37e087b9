"""The call that gateways make: what they have to tell is taken in, and worked on afterwards."""

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.permissions import AllowAny

from orders import tasks
from payments import webhooks
from payments.schemas import ReceivedBody
from shop.http import openapi
from shop.http.views import Request, Response, View
from shop.operations import dispatch

DATED = "`t` may be five minutes ago or, for clocks differ, five minutes ahead; beyond that it is refused."
SIGNATURES = [
    OpenApiParameter(
        name,
        str,
        OpenApiParameter.HEADER,
        description=f"{whose}: `t=<unix seconds>,v1=<hex HMAC-SHA256>`. {DATED}",
    )
    for name, whose in {"Firstcome-Signature": "The simulator's", "Stripe-Signature": "Stripe's"}.items()
]
EVENT = {"type": "object", "description": "An event, as the gateway writes it."}


class Webhooks(View):
    authentication_classes = []
    permission_classes = [AllowAny]

    @extend_schema(
        summary="Tell what has happened to a charge (gateways)",
        parameters=SIGNATURES,
        request={"application/json": EVENT},
        responses={200: ReceivedBody} | openapi.refusals({400: ["signature_invalid"], 404: ["not_found"]}),
    )
    def post(self, request: Request, gateway: str) -> Response:
        """Signed over the very bytes.

        Whatever is signed is 200: an event seen before, one of an unknown type, and what is no event at all.
        When an event says it was created is no matter.
        """
        event = webhooks.receive(gateway=gateway, headers=request.headers, body=request.body)
        if event and event.handled_at is None:
            dispatch.enqueue(tasks.handle_webhook, event.id)
        return Response({"received": True})
