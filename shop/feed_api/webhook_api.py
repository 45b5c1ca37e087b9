"""The HTTP edge of webhook endpoints and their deliveries."""

from typing import Any, get_args
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema

from shop.accounts.authentication import Account
from shop.api_keys.scopes import Resource, required_scope
from shop.feed_api import schemas
from shop.http.openapi import api_doc
from shop.http.pagination import paginate
from shop.http.permissions import READ_EVENTS, require_staff_permission
from shop.http.validation import Nothing, read, read_query
from shop.http.views import Request, Response, View
from shop.webhook_endpoints import deliveries, endpoints

STAFF_ONLY = api_doc.refusals({403: ["permission_denied"]})
OF_ONE = api_doc.refusals({403: ["permission_denied"], 404: ["not_found"]})
BUILT_IN = api_doc.refusals({409: ["built_in_endpoint"]})
READ_SCOPE = required_scope(Resource.EVENTS, "GET")


class WebhookEndpoints(View):
    resource = Resource.WEBHOOKS
    further_scopes = {"POST": READ_SCOPE}

    @extend_schema(
        summary="Webhook endpoints, newest first (staff)",
        description="The data platform is one of them. It is set up by the settings, and sent batches by its "
        "own protocol. What may be a key in a URL is hidden: one endpoint is read with the whole.",
        parameters=api_doc.PAGING,
        responses={200: api_doc.Page[schemas.WebhookEndpointBody]} | STAFF_ONLY,
    )
    def get(self, request: Request) -> Response:
        require_staff_permission(request, "shop.view_webhookendpoint")
        return paginate(request, endpoints.find(), schemas.listed_endpoint_body)

    @extend_schema(
        summary="Create a webhook endpoint (staff)",
        description="It is sent each event of these types from now on, signed as Standard Webhooks says, at "
        "least once and in order for each order. `secret` is shown this once. The URL begins with https, and "
        "its host has public addresses alone, which is checked again for each delivery. It is sent events "
        "while the account that made it may read them, and the API key, if one made it, is not revoked.",
        parameters=[api_doc.LOCATION],
        request=schemas.CreateWebhookEndpointInput,
        responses={201: schemas.NewWebhookEndpointBody}
        | STAFF_ONLY
        | api_doc.refusals({409: ["too_many_endpoints"]}),
    )
    def post(self, request: Request) -> Response:
        account_id = require_staff_permission(request, "shop.add_webhookendpoint", READ_EVENTS)
        given = read(schemas.CreateWebhookEndpointInput, request)
        endpoint = endpoints.create(
            url=given.url,
            events=given.events,
            description=given.description,
            owner=_owner(request, account_id),
        )
        address = f"{request.path}/{endpoint.pk}"
        return Response(schemas.new_endpoint_body(endpoint), status=201, headers={"Location": address})


class OneWebhookEndpoint(View):
    resource = Resource.WEBHOOKS
    further_scopes = {"PATCH": READ_SCOPE}

    @extend_schema(
        summary="One webhook endpoint (staff)", responses={200: schemas.WebhookEndpointBody} | OF_ONE
    )
    def get(self, request: Request, endpoint_id: UUID) -> Response:
        require_staff_permission(request, "shop.view_webhookendpoint")
        return Response(schemas.endpoint_body(endpoints.get(endpoint_id=endpoint_id)))

    @extend_schema(
        summary="Change a webhook endpoint (staff)",
        description="What is pending is tried at once. An endpoint that is enabled again gets what happened "
        "meanwhile, as far as events are kept. From then on it is sent events for the account, and the "
        "API key, by which it was changed.",
        request=schemas.ChangeWebhookEndpointInput,
        responses={200: schemas.WebhookEndpointBody} | OF_ONE | BUILT_IN,
    )
    def patch(self, request: Request, endpoint_id: UUID) -> Response:
        account_id = require_staff_permission(request, "shop.change_webhookendpoint", READ_EVENTS)
        given: dict[str, Any] = read(schemas.ChangeWebhookEndpointInput, request).model_dump(
            exclude_none=True
        )
        enabled = given.pop("enabled", None)
        owner = _owner(request, account_id)
        endpoint = endpoints.change(endpoint_id=endpoint_id, is_enabled=enabled, owner=owner, **given)
        return Response(schemas.endpoint_body(endpoint))

    @extend_schema(
        summary="Delete a webhook endpoint (staff)",
        description="Its deliveries are deleted with it. A request that is under way may still arrive.",
        responses={204: None} | OF_ONE | BUILT_IN,
    )
    def delete(self, request: Request, endpoint_id: UUID) -> Response:
        require_staff_permission(request, "shop.change_webhookendpoint")
        endpoints.delete(endpoint_id=endpoint_id)
        return Response(status=204)


class RotateWebhookSecret(View):
    resource = Resource.WEBHOOKS
    further_scopes = {"POST": READ_SCOPE}

    @extend_schema(
        summary="Give a webhook endpoint another secret (staff)",
        description="`secret` is shown this once. For 24 hours deliveries bear the signatures of both, and "
        "then that of the new one alone.",
        request=Nothing,
        responses={200: schemas.NewWebhookEndpointBody}
        | OF_ONE
        | api_doc.refusals({409: ["built_in_endpoint", "too_many_secrets"]}),
    )
    def post(self, request: Request, endpoint_id: UUID) -> Response:
        require_staff_permission(request, "shop.change_webhookendpoint", READ_EVENTS)
        read(Nothing, request)
        return Response(schemas.new_endpoint_body(endpoints.rotate_secret(endpoint_id=endpoint_id)))


class WebhookDeliveries(View):
    resource = Resource.WEBHOOKS

    @extend_schema(
        summary="The deliveries to a webhook endpoint, newest first (staff)",
        description="Those of the data platform are the journal's events, as long as the journal has them; "
        "`response_status` is then that of a refusal.",
        parameters=[
            OpenApiParameter("status", str, enum=get_args(schemas.DeliveryStatus)),
            *api_doc.PAGING,
        ],
        responses={200: api_doc.Page[schemas.WebhookDeliveryBody]} | OF_ONE,
    )
    def get(self, request: Request, endpoint_id: UUID) -> Response:
        require_staff_permission(request, "shop.view_webhookdelivery")
        query = read_query(schemas.DeliveriesQuery, request)
        rows = deliveries.find(endpoint_id=endpoint_id, status=query.status or "")
        return paginate(request, rows, schemas.delivery_body)


class ResendDelivery(View):
    resource = Resource.WEBHOOKS

    @extend_schema(
        summary="Send an event to a webhook endpoint again (staff)",
        description="With the same id. It is sent at once, and then tried as a new one is. It may then come "
        "after later events of its order.",
        request=schemas.ResendInput,
        responses={202: schemas.WebhookDeliveryBody}
        | OF_ONE
        | api_doc.refusals({409: ["endpoint_disabled", "event_expired"]}),
    )
    def post(self, request: Request, endpoint_id: UUID, delivery_id: int) -> Response:
        require_staff_permission(request, "shop.change_webhookendpoint")
        reason = read(schemas.ResendInput, request).reason
        row = deliveries.resend(endpoint_id=endpoint_id, delivery_id=delivery_id, reason=reason)
        return Response(schemas.delivery_body(row), status=202)


class TestWebhookEndpoint(View):
    resource = Resource.WEBHOOKS

    @extend_schema(
        summary="Send a test to a webhook endpoint (staff)",
        description="An event of the type `webhook.test`, which is sent at once; the list of deliveries "
        "shows what came of it.",
        request=Nothing,
        responses={202: schemas.WebhookDeliveryBody}
        | OF_ONE
        | api_doc.refusals({409: ["built_in_endpoint", "endpoint_disabled", "too_many_tests"]}),
    )
    def post(self, request: Request, endpoint_id: UUID) -> Response:
        require_staff_permission(request, "shop.change_webhookendpoint")
        read(Nothing, request)
        row = deliveries.send_test(endpoint_id=endpoint_id)
        return Response(schemas.delivery_body(row), status=202)


def _owner(request: Request, account_id: int) -> endpoints.Owner:
    """The caller, as the one for whom the endpoint gets events from now on."""
    key = request.user.key if isinstance(request.user, Account) else None
    return endpoints.Owner(account_id, key_id=key.id if key else None)
