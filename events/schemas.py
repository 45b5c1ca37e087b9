"""The bodies of the event feed, of webhook endpoints and of their deliveries."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from events.models import WebhookDelivery, WebhookEndpoint
from events.webhooks import endpoints
from foundation.http.json_format import JsonObject
from foundation.http.openapi import api_doc
from foundation.http.validation import UNCHANGED, ChangeInput, Input, Query, body
from foundation.outbound import public_addresses
from foundation.values import Values


class EventsQuery(api_doc.SizedQuery):
    """Which events are read."""

    after: str = ""
    type: str = ""


class FeedEventBody(BaseModel):
    """Something that happened."""

    id: UUID
    type: str
    at: datetime
    data: Values


class FeedPageBody(BaseModel):
    """Some events in their order."""

    results: list[FeedEventBody]
    next: str


Url = Annotated[str, Field(min_length=1, max_length=public_addresses.LONGEST_URL)]
Patterns = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=64)]],
    Field(min_length=1, max_length=endpoints.MOST_PATTERNS),
]
Description = Annotated[str, Field(max_length=255)]
DeliveryStatus = Literal["pending", "delivered", "failed"]


class CreateWebhookEndpointInput(Input):
    """A new endpoint."""

    url: Url
    events: Patterns
    description: Description = ""


class ChangeWebhookEndpointInput(ChangeInput):
    """Changes of an endpoint. Only the given fields change."""

    url: Url = UNCHANGED
    events: Patterns = UNCHANGED
    description: Description | None = UNCHANGED
    enabled: bool = UNCHANGED


class ResendInput(Input):
    """Why an event is sent again."""

    reason: Description = ""


class DeliveriesQuery(Query):
    """Which deliveries are listed."""

    status: DeliveryStatus | None = None


class WebhookEndpointBody(BaseModel):
    """An endpoint, to which events are sent."""

    id: UUID
    kind: Literal["program", "data_platform"]
    url: str
    events: list[str]
    description: str
    enabled: bool
    created_at: datetime
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_by: Literal["staff", "failures", "rights"] | None


class NewWebhookEndpointBody(WebhookEndpointBody):
    """An endpoint with its new secret."""

    secret: str | None


class WebhookDeliveryBody(BaseModel):
    """An event that was sent to an endpoint, or is to be."""

    id: int
    event: UUID
    type: str
    status: DeliveryStatus
    attempts: int
    response_status: int | None
    error: str
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    created_at: datetime


def endpoint_body(endpoint: WebhookEndpoint) -> JsonObject:
    return body(
        WebhookEndpointBody,
        endpoint,
        url=endpoints.address_of(endpoint),
        enabled=endpoint.is_enabled,
        disabled_by=endpoint.disabled_by or None,
    )


def listed_endpoint_body(endpoint: WebhookEndpoint) -> JsonObject:
    """As lists have it."""
    return endpoint_body(endpoint) | {"url": public_addresses.shown(endpoints.address_of(endpoint))}


def new_endpoint_body(endpoint: WebhookEndpoint) -> JsonObject:
    return endpoint_body(endpoint) | {"secret": endpoint.secret}


def delivery_body(row: WebhookDelivery) -> JsonObject:
    return body(WebhookDeliveryBody, row, event=row.event_id)
