from http import HTTPStatus
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.get_webhook_endpoints_endpoint_id_deliveries_status import (
    GetWebhookEndpointsEndpointIdDeliveriesStatus,
)
from ...models.problem import Problem
from ...models.webhook_delivery_body_page import WebhookDeliveryBodyPage
from ...types import UNSET, Response, Unset


def _get_kwargs(
    endpoint_id: UUID,
    *,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    status: GetWebhookEndpointsEndpointIdDeliveriesStatus | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(firstcome_account, Unset):
        headers["Firstcome-Account"] = firstcome_account

    params: dict[str, Any] = {}

    params["cursor"] = cursor

    params["limit"] = limit

    json_status: str | Unset = UNSET
    if not isinstance(status, Unset):
        json_status = status.value

    params["status"] = json_status

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/v1/webhook-endpoints/{endpoint_id}/deliveries".format(
            endpoint_id=quote(str(endpoint_id), safe=""),
        ),
        "params": params,
    }

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | WebhookDeliveryBodyPage | None:
    if response.status_code == 200:
        response_200 = WebhookDeliveryBodyPage.from_dict(response.json())

        return response_200

    if response.status_code == 400:
        response_400 = Problem.from_dict(response.json())

        return response_400

    if response.status_code == 401:
        response_401 = Problem.from_dict(response.json())

        return response_401

    if response.status_code == 403:
        response_403 = Problem.from_dict(response.json())

        return response_403

    if response.status_code == 404:
        response_404 = Problem.from_dict(response.json())

        return response_404

    if response.status_code == 429:
        response_429 = Problem.from_dict(response.json())

        return response_429

    if response.status_code == 503:
        response_503 = Problem.from_dict(response.json())

        return response_503

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[Problem | WebhookDeliveryBodyPage]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    endpoint_id: UUID,
    *,
    client: AuthenticatedClient,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    status: GetWebhookEndpointsEndpointIdDeliveriesStatus | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[Problem | WebhookDeliveryBodyPage]:
    """The deliveries to a webhook endpoint, newest first (staff)

     Those of the data platform are the journal's events, as long as the journal has them;
    `response_status` is then that of a refusal.

    Args:
        endpoint_id (UUID):
        cursor (str | Unset):
        limit (int | Unset):
        status (GetWebhookEndpointsEndpointIdDeliveriesStatus | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | WebhookDeliveryBodyPage]
    """

    kwargs = _get_kwargs(
        endpoint_id=endpoint_id,
        cursor=cursor,
        limit=limit,
        status=status,
        firstcome_account=firstcome_account,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    endpoint_id: UUID,
    *,
    client: AuthenticatedClient,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    status: GetWebhookEndpointsEndpointIdDeliveriesStatus | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Problem | WebhookDeliveryBodyPage | None:
    """The deliveries to a webhook endpoint, newest first (staff)

     Those of the data platform are the journal's events, as long as the journal has them;
    `response_status` is then that of a refusal.

    Args:
        endpoint_id (UUID):
        cursor (str | Unset):
        limit (int | Unset):
        status (GetWebhookEndpointsEndpointIdDeliveriesStatus | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | WebhookDeliveryBodyPage
    """

    return sync_detailed(
        endpoint_id=endpoint_id,
        client=client,
        cursor=cursor,
        limit=limit,
        status=status,
        firstcome_account=firstcome_account,
    ).parsed


async def asyncio_detailed(
    endpoint_id: UUID,
    *,
    client: AuthenticatedClient,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    status: GetWebhookEndpointsEndpointIdDeliveriesStatus | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[Problem | WebhookDeliveryBodyPage]:
    """The deliveries to a webhook endpoint, newest first (staff)

     Those of the data platform are the journal's events, as long as the journal has them;
    `response_status` is then that of a refusal.

    Args:
        endpoint_id (UUID):
        cursor (str | Unset):
        limit (int | Unset):
        status (GetWebhookEndpointsEndpointIdDeliveriesStatus | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | WebhookDeliveryBodyPage]
    """

    kwargs = _get_kwargs(
        endpoint_id=endpoint_id,
        cursor=cursor,
        limit=limit,
        status=status,
        firstcome_account=firstcome_account,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    endpoint_id: UUID,
    *,
    client: AuthenticatedClient,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    status: GetWebhookEndpointsEndpointIdDeliveriesStatus | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Problem | WebhookDeliveryBodyPage | None:
    """The deliveries to a webhook endpoint, newest first (staff)

     Those of the data platform are the journal's events, as long as the journal has them;
    `response_status` is then that of a refusal.

    Args:
        endpoint_id (UUID):
        cursor (str | Unset):
        limit (int | Unset):
        status (GetWebhookEndpointsEndpointIdDeliveriesStatus | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | WebhookDeliveryBodyPage
    """

    return (
        await asyncio_detailed(
            endpoint_id=endpoint_id,
            client=client,
            cursor=cursor,
            limit=limit,
            status=status,
            firstcome_account=firstcome_account,
        )
    ).parsed
