from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.create_webhook_endpoint_input import CreateWebhookEndpointInput
from ...models.new_webhook_endpoint_body import NewWebhookEndpointBody
from ...models.problem import Problem
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    body: CreateWebhookEndpointInput,
    firstcome_account: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(firstcome_account, Unset):
        headers["Firstcome-Account"] = firstcome_account

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/v1/webhook-endpoints",
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> NewWebhookEndpointBody | Problem | None:
    if response.status_code == 201:
        response_201 = NewWebhookEndpointBody.from_dict(response.json())

        return response_201

    if response.status_code == 400:
        response_400 = Problem.from_dict(response.json())

        return response_400

    if response.status_code == 401:
        response_401 = Problem.from_dict(response.json())

        return response_401

    if response.status_code == 403:
        response_403 = Problem.from_dict(response.json())

        return response_403

    if response.status_code == 408:
        response_408 = Problem.from_dict(response.json())

        return response_408

    if response.status_code == 409:
        response_409 = Problem.from_dict(response.json())

        return response_409

    if response.status_code == 413:
        response_413 = Problem.from_dict(response.json())

        return response_413

    if response.status_code == 415:
        response_415 = Problem.from_dict(response.json())

        return response_415

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
) -> Response[NewWebhookEndpointBody | Problem]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient,
    body: CreateWebhookEndpointInput,
    firstcome_account: str | Unset = UNSET,
) -> Response[NewWebhookEndpointBody | Problem]:
    """Create a webhook endpoint (staff)

     It is sent each event of these types from now on, signed as Standard Webhooks says, at least once
    and in order for each order. `secret` is shown this once. The URL begins with https, and its host
    has public addresses alone, which is checked again for each delivery. It is sent events while the
    account that made it may read them, and the API key, if one made it, is not revoked.

    Args:
        firstcome_account (str | Unset):
        body (CreateWebhookEndpointInput): `events` are types, or beginnings of types such as
            `order.*`.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[NewWebhookEndpointBody | Problem]
    """

    kwargs = _get_kwargs(
        body=body,
        firstcome_account=firstcome_account,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient,
    body: CreateWebhookEndpointInput,
    firstcome_account: str | Unset = UNSET,
) -> NewWebhookEndpointBody | Problem | None:
    """Create a webhook endpoint (staff)

     It is sent each event of these types from now on, signed as Standard Webhooks says, at least once
    and in order for each order. `secret` is shown this once. The URL begins with https, and its host
    has public addresses alone, which is checked again for each delivery. It is sent events while the
    account that made it may read them, and the API key, if one made it, is not revoked.

    Args:
        firstcome_account (str | Unset):
        body (CreateWebhookEndpointInput): `events` are types, or beginnings of types such as
            `order.*`.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        NewWebhookEndpointBody | Problem
    """

    return sync_detailed(
        client=client,
        body=body,
        firstcome_account=firstcome_account,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient,
    body: CreateWebhookEndpointInput,
    firstcome_account: str | Unset = UNSET,
) -> Response[NewWebhookEndpointBody | Problem]:
    """Create a webhook endpoint (staff)

     It is sent each event of these types from now on, signed as Standard Webhooks says, at least once
    and in order for each order. `secret` is shown this once. The URL begins with https, and its host
    has public addresses alone, which is checked again for each delivery. It is sent events while the
    account that made it may read them, and the API key, if one made it, is not revoked.

    Args:
        firstcome_account (str | Unset):
        body (CreateWebhookEndpointInput): `events` are types, or beginnings of types such as
            `order.*`.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[NewWebhookEndpointBody | Problem]
    """

    kwargs = _get_kwargs(
        body=body,
        firstcome_account=firstcome_account,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient,
    body: CreateWebhookEndpointInput,
    firstcome_account: str | Unset = UNSET,
) -> NewWebhookEndpointBody | Problem | None:
    """Create a webhook endpoint (staff)

     It is sent each event of these types from now on, signed as Standard Webhooks says, at least once
    and in order for each order. `secret` is shown this once. The URL begins with https, and its host
    has public addresses alone, which is checked again for each delivery. It is sent events while the
    account that made it may read them, and the API key, if one made it, is not revoked.

    Args:
        firstcome_account (str | Unset):
        body (CreateWebhookEndpointInput): `events` are types, or beginnings of types such as
            `order.*`.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        NewWebhookEndpointBody | Problem
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
            firstcome_account=firstcome_account,
        )
    ).parsed
