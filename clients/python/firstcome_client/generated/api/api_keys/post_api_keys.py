from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.api_key_secret_body import ApiKeySecretBody
from ...models.create_api_key_input import CreateApiKeyInput
from ...models.problem import Problem
from ...types import Response


def _get_kwargs(
    *,
    body: CreateApiKeyInput,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/v1/api-keys",
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> ApiKeySecretBody | Problem | None:
    if response.status_code == 201:
        response_201 = ApiKeySecretBody.from_dict(response.json())

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

    if response.status_code == 503:
        response_503 = Problem.from_dict(response.json())

        return response_503

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[ApiKeySecretBody | Problem]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient,
    body: CreateApiKeyInput,
) -> Response[ApiKeySecretBody | Problem]:
    """Make an API key (staff)

     The secret is shown this once, and sent as `Authorization: Bearer fck_…`.

    A key may never do more than the account that made it may at the moment of each call. The scope
    `act`
    needs the permission `shop.act_apikey`.

    Args:
        body (CreateApiKeyInput): A new key. Without `expires_at` it is valid until it is revoked.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ApiKeySecretBody | Problem]
    """

    kwargs = _get_kwargs(
        body=body,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient,
    body: CreateApiKeyInput,
) -> ApiKeySecretBody | Problem | None:
    """Make an API key (staff)

     The secret is shown this once, and sent as `Authorization: Bearer fck_…`.

    A key may never do more than the account that made it may at the moment of each call. The scope
    `act`
    needs the permission `shop.act_apikey`.

    Args:
        body (CreateApiKeyInput): A new key. Without `expires_at` it is valid until it is revoked.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ApiKeySecretBody | Problem
    """

    return sync_detailed(
        client=client,
        body=body,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient,
    body: CreateApiKeyInput,
) -> Response[ApiKeySecretBody | Problem]:
    """Make an API key (staff)

     The secret is shown this once, and sent as `Authorization: Bearer fck_…`.

    A key may never do more than the account that made it may at the moment of each call. The scope
    `act`
    needs the permission `shop.act_apikey`.

    Args:
        body (CreateApiKeyInput): A new key. Without `expires_at` it is valid until it is revoked.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ApiKeySecretBody | Problem]
    """

    kwargs = _get_kwargs(
        body=body,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient,
    body: CreateApiKeyInput,
) -> ApiKeySecretBody | Problem | None:
    """Make an API key (staff)

     The secret is shown this once, and sent as `Authorization: Bearer fck_…`.

    A key may never do more than the account that made it may at the moment of each call. The scope
    `act`
    needs the permission `shop.act_apikey`.

    Args:
        body (CreateApiKeyInput): A new key. Without `expires_at` it is valid until it is revoked.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ApiKeySecretBody | Problem
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
        )
    ).parsed
