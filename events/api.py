"""The HTTP edge of the event feed, of webhook endpoints and of their deliveries."""

import time
from contextlib import suppress
from functools import partial
from uuid import UUID

from django.db import DatabaseError

from accounts.api_keys import keys
from events import schemas
from events.feed import reading, sequencing
from events.feed.reading import READ_EVENTS
from events.webhooks import deliveries, endpoints, ranges, sending
from foundation.account import Account
from foundation.concurrency.event_loop import run_in_thread, sleep
from foundation.errors import Unavailable
from foundation.http import preferences
from foundation.http.messages import caller_id
from foundation.http.openapi import api_doc
from foundation.http.openapi.api_doc import STAFF_ONLY, extend_schema
from foundation.http.pagination import paginate
from foundation.http.permissions import require_claim_of_staff, require_staff_permission
from foundation.http.validation import Nothing, changes, read, read_query
from foundation.http.views import JSONResponse, Request, Response, View, burst
from foundation.redis import completion_notifications
from foundation.scopes import Resource, required_scope

MOST_WAITING = 8
"""Calls of one account that wait for an event in a process; a further one is answered at once."""
CHECK_SECONDS = 1.0
"""Between two reads of a call that waits: events of other types wake it too."""
OF_ONE = STAFF_ONLY | {404: ["not_found"]}
BUILT_IN = {409: ["built_in_endpoint"]}
READ_SCOPE = required_scope(Resource.EVENTS, "GET")


class Events(View):
    resource = Resource.EVENTS

    @extend_schema(
        operation_id="listEvents",
        summary="What happened, each event once (staff)",
        description="A reader sends the `next` of each answer as `after` of the following call, and gets "
        "every event once, in an order that never changes: positions are given after the commit, so none is "
        "skipped. An event that is sent twice, because an answer was lost, has the same `id`. Events are "
        "kept for seven days at least; without `after` the oldest is the first. The events of an order come "
        "in the sequence in which they happened. With `Prefer: wait=N` a page without events is answered "
        "once there is one, or after N seconds.",
        parameters=[api_doc.PREFER_WAIT],
        query=[schemas.EventsQuery],
        responses={200: schemas.FeedPageBody},
        refused={403: ["permission_denied"], 410: ["cursor_expired"]},
    )
    @burst
    async def get(self, request: Request) -> JSONResponse:
        caller = caller_id(request)
        require_claim_of_staff(request)
        await run_in_thread(require_staff_permission, request, READ_EVENTS, group="staff", member=caller)
        query = read_query(schemas.EventsQuery, request)
        reading.check_pattern(query.type)
        after = reading.decode_cursor(query.after) if query.after else None

        async def read_page(after: reading.Cursor | None) -> reading.Page:
            return await run_in_thread(_read, query, after, group="staff", member=caller)

        page = await read_page(after)
        read_at = float("-inf")
        seconds = preferences.wait_seconds(request.header("Prefer"))
        if seconds and page.is_end and not page.events:

            async def has_events() -> bool:
                nonlocal page, read_at
                await sleep(max(0.0, read_at + CHECK_SECONDS - time.monotonic()))
                page = await read_page(page.cursor)
                read_at = time.monotonic()
                return bool(page.events)

            await completion_notifications.wait(
                sequencing.NOTIFICATION,
                is_settled=has_events,
                seconds=seconds,
                owner=caller,
                most_of_owner=MOST_WAITING,
            )
            if page.events:
                await run_in_thread(_require_right_still, request, group="staff", member=caller)
        results = [sending.body_of(event) for event in page.events]
        return JSONResponse({"results": results, "next": reading.encode_cursor(page.cursor)})


def _require_right_still(request: Request) -> None:
    """Raises `NotAllowed`, and `TokenInvalid` for a key that was revoked while the call waited."""
    require_staff_permission(request, READ_EVENTS)
    if isinstance(request.user, Account) and request.user.key is not None:
        keys.require_usable(request.user.key.id)


def _read(query: schemas.EventsQuery, after: reading.Cursor | None) -> reading.Page:
    # A database that can't be written now may be read.
    with suppress(DatabaseError, Unavailable):
        sequencing.sequence(most_batches=1)
    return reading.read_page(
        after=after and after.position,
        generation=after and after.generation,
        patterns=[query.type] if query.type else [],
        limit=query.limit,
    )


class WebhookView(View):
    resource = Resource.WEBHOOKS


class WebhookEndpoints(WebhookView):
    further_scopes = {"POST": READ_SCOPE}

    @extend_schema(
        operation_id="listWebhookEndpoints",
        summary="Webhook endpoints, newest first (staff)",
        description="The data platform is one of them. It is set up by the settings, and sent batches by its "
        "own protocol. What may be a key in a URL is hidden: one endpoint is read with the whole.",
        page_of=schemas.WebhookEndpointBody,
        refused=STAFF_ONLY,
    )
    def get(self, request: Request) -> Response:
        require_staff_permission(request, "events.view_webhookendpoint")
        return paginate(request, endpoints.find(), schemas.listed_endpoint_body)

    @extend_schema(
        operation_id="createWebhookEndpoint",
        summary="Create a webhook endpoint (staff)",
        description="It is sent each event of these types from now on, signed as Standard Webhooks says, at "
        "least once and in order for each order. `secret` is shown this once. The URL begins with https, and "
        "its host has public addresses alone, which is checked again for each delivery. It is sent events "
        "while the account that made it may read them, and the API key, if one made it, is not revoked.",
        parameters=[api_doc.LOCATION],
        request=schemas.CreateWebhookEndpointInput,
        responses={201: schemas.NewWebhookEndpointBody},
        refused=STAFF_ONLY | {409: ["too_many_endpoints"]},
    )
    def post(self, request: Request) -> Response:
        account_id = require_staff_permission(request, "events.add_webhookendpoint", READ_EVENTS)
        given = read(schemas.CreateWebhookEndpointInput, request)
        endpoint = endpoints.create(**given.model_dump(), owner=_owner(request, account_id))
        address = f"{request.path}/{endpoint.pk}"
        return Response(schemas.new_endpoint_body(endpoint), status=201, headers={"Location": address})


class OneWebhookEndpoint(WebhookView):
    further_scopes = {"PATCH": READ_SCOPE}

    @extend_schema(
        operation_id="getWebhookEndpoint",
        summary="One webhook endpoint (staff)",
        responses={200: schemas.WebhookEndpointBody},
        refused=OF_ONE,
    )
    def get(self, request: Request, endpoint_id: UUID) -> Response:
        """With the whole URL, which lists hide in part."""
        require_staff_permission(request, "events.view_webhookendpoint")
        return Response(schemas.endpoint_body(endpoints.get(endpoint_id=endpoint_id)))

    @extend_schema(
        operation_id="updateWebhookEndpoint",
        summary="Change a webhook endpoint (staff)",
        description="What is pending is tried at once. An endpoint that is enabled again gets what happened "
        "meanwhile, as far as events are kept, and before that `events.skipped` if some were deleted. From "
        "then on it is sent events for the account, and the API key, by which it was changed.",
        request=schemas.ChangeWebhookEndpointInput,
        responses={200: schemas.WebhookEndpointBody},
        refused=OF_ONE | BUILT_IN,
    )
    def patch(self, request: Request, endpoint_id: UUID) -> Response:
        account_id = require_staff_permission(request, "events.change_webhookendpoint", READ_EVENTS)
        given = changes(read(schemas.ChangeWebhookEndpointInput, request), description="")
        enabled = given.pop("enabled", None)
        owner = _owner(request, account_id)
        endpoint = endpoints.change(endpoint_id=endpoint_id, is_enabled=enabled, owner=owner, **given)
        return Response(schemas.endpoint_body(endpoint))

    @extend_schema(
        operation_id="deleteWebhookEndpoint",
        summary="Delete a webhook endpoint (staff)",
        description="Its deliveries are deleted with it. A request that is under way may still arrive.",
        responses={204: None},
        refused=OF_ONE | BUILT_IN,
    )
    def delete(self, request: Request, endpoint_id: UUID) -> Response:
        require_staff_permission(request, "events.change_webhookendpoint")
        endpoints.delete(endpoint_id=endpoint_id)
        return Response(status=204)


class RotateWebhookSecret(WebhookView):
    further_scopes = {"POST": READ_SCOPE}

    @extend_schema(
        operation_id="rotateWebhookSecret",
        summary="Give a webhook endpoint another secret (staff)",
        description="`secret` is shown this once. For 24 hours deliveries bear the signatures of both, and "
        "then that of the new one alone.",
        request=Nothing,
        responses={200: schemas.NewWebhookEndpointBody},
        refused=OF_ONE | {409: ["built_in_endpoint", "too_many_secrets"]},
    )
    def post(self, request: Request, endpoint_id: UUID) -> Response:
        require_staff_permission(request, "events.change_webhookendpoint", READ_EVENTS)
        read(Nothing, request)
        return Response(schemas.new_endpoint_body(endpoints.rotate_secret(endpoint_id=endpoint_id)))


class WebhookDeliveries(WebhookView):
    @extend_schema(
        operation_id="listDeliveries",
        summary="The deliveries to a webhook endpoint, newest first (staff)",
        query=[schemas.DeliveriesQuery],
        page_of=schemas.WebhookDeliveryBody,
        refused=OF_ONE,
    )
    def get(self, request: Request, endpoint_id: UUID) -> Response:
        """What was sent or is to be, the test events too."""
        require_staff_permission(request, "events.view_webhookdelivery")
        query = read_query(schemas.DeliveriesQuery, request)
        rows = deliveries.find(endpoint_id=endpoint_id, status=query.status or "")
        return paginate(request, rows, schemas.delivery_body, walk=partial(ranges.walk, rows))


class ResendDelivery(WebhookView):
    @extend_schema(
        operation_id="resendDelivery",
        summary="Send an event to a webhook endpoint again (staff)",
        description="With the same id. It is sent at once, and then tried as a new one is. It may then come "
        "after later events of its order.",
        request=schemas.ResendInput,
        responses={202: schemas.WebhookDeliveryBody},
        refused=OF_ONE | {409: ["endpoint_disabled", "event_expired"]},
    )
    def post(self, request: Request, endpoint_id: UUID, delivery_id: int) -> Response:
        require_staff_permission(request, "events.change_webhookendpoint")
        reason = read(schemas.ResendInput, request).reason
        row = deliveries.resend(endpoint_id=endpoint_id, delivery_id=delivery_id, reason=reason)
        return Response(schemas.delivery_body(row), status=202)


class TestWebhookEndpoint(WebhookView):
    @extend_schema(
        operation_id="testWebhookEndpoint",
        summary="Send a test to a webhook endpoint (staff)",
        description="An event of the type `webhook.test`, which is sent at once; the list of deliveries "
        "shows what came of it.",
        request=Nothing,
        responses={202: schemas.WebhookDeliveryBody},
        refused=OF_ONE | {409: ["built_in_endpoint", "endpoint_disabled", "too_many_tests"]},
    )
    def post(self, request: Request, endpoint_id: UUID) -> Response:
        require_staff_permission(request, "events.change_webhookendpoint")
        read(Nothing, request)
        return Response(schemas.delivery_body(deliveries.send_test(endpoint_id=endpoint_id)), status=202)


def _owner(request: Request, account_id: int) -> endpoints.Owner:
    """The caller, as the one for whom the endpoint gets events from now on."""
    key = request.user.key if isinstance(request.user, Account) else None
    return endpoints.Owner(account_id, key_id=key.id if key else None)
