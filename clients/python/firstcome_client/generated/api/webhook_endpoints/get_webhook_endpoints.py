from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.problem import Problem
from ...models.webhook_endpoint_body_page import WebhookEndpointBodyPage
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(firstcome_account, Unset):
        headers["Firstcome-Account"] = firstcome_account

    params: dict[str, Any] = {}

    params["cursor"] = cursor

    params["limit"] = limit

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/v1/webhook-endpoints",
        "params": params,
    }

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | WebhookEndpointBodyPage | None:
    if response.status_code == 200:
        response_200 = WebhookEndpointBodyPage.from_dict(response.json())

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
) -> Response[Problem | WebhookEndpointBodyPage]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[Problem | WebhookEndpointBodyPage]:
    """Webhook endpoints, newest first (staff)

     The data platform is one of them. It is set up by the settings, and sent batches by its own
    protocol. What may be a key in a URL is hidden: one endpoint is read with the whole.

    Args:
        cursor (str | Unset):
        limit (int | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | WebhookEndpointBodyPage]
    """

    kwargs = _get_kwargs(
        cursor=cursor,
        limit=limit,
        firstcome_account=firstcome_account,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Problem | WebhookEndpointBodyPage | None:
    """Webhook endpoints, newest first (staff)

     The data platform is one of them. It is set up by the settings, and sent batches by its own
    protocol. What may be a key in a URL is hidden: one endpoint is read with the whole.

    Args:
        cursor (str | Unset):
        limit (int | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | WebhookEndpointBodyPage
    """

    return sync_detailed(
        client=client,
        cursor=cursor,
        limit=limit,
        firstcome_account=firstcome_account,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[Problem | WebhookEndpointBodyPage]:
    """Webhook endpoints, newest first (staff)

     The data platform is one of them. It is set up by the settings, and sent batches by its own
    protocol. What may be a key in a URL is hidden: one endpoint is read with the whole.

    Args:
        cursor (str | Unset):
        limit (int | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | WebhookEndpointBodyPage]
    """

    kwargs = _get_kwargs(
        cursor=cursor,
        limit=limit,
        firstcome_account=firstcome_account,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Problem | WebhookEndpointBodyPage | None:
    """Webhook endpoints, newest first (staff)

     The data platform is one of them. It is set up by the settings, and sent batches by its own
    protocol. What may be a key in a URL is hidden: one endpoint is read with the whole.

    Args:
        cursor (str | Unset):
        limit (int | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | WebhookEndpointBodyPage
    """

    return (
        await asyncio_detailed(
            client=client,
            cursor=cursor,
            limit=limit,
            firstcome_account=firstcome_account,
        )
    ).parsed
