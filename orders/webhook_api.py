"""The webhook that gateways call: it records an event, which a worker handles afterwards."""

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.permissions import AllowAny

from orders import tasks
from payments import webhooks
from payments.gateways import GATEWAYS
from payments.gateways.events import TOLERANCE_SECONDS
from payments.schemas import ReceivedBody
from shop.api_keys.scopes import Resource
from shop.http.openapi import api_doc
from shop.http.views import Request, Response, View
from shop.operations import dispatch

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
EVENT = {"type": "object", "description": "An event in the gateway's format."}


class Webhooks(View):
    resource = Resource.NONE
    authentication_classes = []
    permission_classes = [AllowAny]

    @extend_schema(
        summary="Receive an event about a charge (gateways)",
        parameters=SIGNATURES,
        request={"application/json": EVENT},
        responses={200: ReceivedBody} | api_doc.refusals({400: ["signature_invalid"], 404: ["not_found"]}),
    )
    def post(self, request: Request, gateway: str) -> Response:
        """The signature covers the exact bytes of the body.

        Every signed body is 200: also an event that was received before, one of an unknown type, and a body
        that is no event. The creation time in an event is ignored.
        """
        event = webhooks.receive(gateway=gateway, headers=request.headers, body=request.body)
        if event and event.handled_at is None:
            dispatch.enqueue(tasks.handle_webhook, event.id)
        return Response({"received": True})
